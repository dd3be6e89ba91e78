//! From a mapping's text to its source: the same at a start and when the file changes.

use super::Served;
use crate::error::HostError;
use crate::sources::{Watched, read_mapping};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use yiwang_adapter_sdk::adapter::Adapter;
use yiwang_adapter_sdk::check::{Finding, Level, Severity, check_by};
use yiwang_adapter_sdk::fetch::MappedSource;
use yiwang_adapter_sdk::mapping::{Mapping, MappingFault, fault_at};
use yiwang_adapter_sdk::source::{Environment, SourceError};
use yiwang_policies::Catalogue;
use yiwang_proto::ids::MemberId;
use yiwang_proto::{Digest, sha256};

/// Faults of a file that are told: one slip often makes two or three.
const FAULTS_TOLD: usize = 3;
/// What a live check says of a batch's key that is not fit.
const UNFIT_KEY: &str = "A-SQL-019";

/// A mapping that does not serve since the start.
#[derive(Debug)]
pub(crate) struct LeftOut {
    pub(crate) file: PathBuf,
    /// Of its text; none where it cannot be read.
    pub(crate) digest: Option<Digest>,
    pub(crate) error: HostError,
}

/// What a start finds: the mappings that hold, and those that do not.
#[derive(Default)]
pub(crate) struct Found {
    pub(crate) served: Vec<Served>,
    pub(crate) left_out: Vec<LeftOut>,
}

impl Found {
    /// Opens all mappings of a configuration, each by itself: one that does not hold keeps no other from serving.
    ///
    /// # Errors
    /// Where none is left: why.
    pub(crate) async fn open(
        files: &[PathBuf],
        member: &MemberId,
        catalogue: &Catalogue,
        environment: &Arc<dyn Environment>,
    ) -> Result<Self, HostError> {
        let mut found = Self::default();
        for file in files {
            let path = file.clone();
            let read = tokio::task::spawn_blocking(move || read_mapping(&path)).await;
            let read = read.unwrap_or(Err(HostError::Died("reading of a mapping")));
            let digest = read.as_ref().ok().map(|text| sha256(text.as_bytes()));
            let opened = match read {
                Ok(text) => open(file, &text, catalogue, environment).await,
                Err(error) => Err(error),
            };
            match opened.and_then(|source| found.fit(source, member)) {
                Ok(source) => found.served.push(Served { file: file.clone(), source }),
                Err(error) => found.left_out.push(LeftOut { file: file.clone(), digest, error }),
            }
        }
        match found.served.is_empty() {
            true => found.none_left(),
            false => Ok(found),
        }
    }

    /// Whether it may serve beside those that do.
    fn fit(&self, source: Arc<Watched>, member: &MemberId) -> Result<Arc<Watched>, HostError> {
        let others = self.served.iter().map(|served| &served.source);
        let all: Vec<MappedSource> = others.chain([&source]).map(|source| source.mapped.clone()).collect();
        Adapter::would_serve(all, member)?;
        Ok(source)
    }

    /// All faults of all files, or the first thing that is wrong.
    fn none_left(self) -> Result<Self, HostError> {
        let mut faults = Vec::new();
        let mut first = None;
        for LeftOut { error, .. } in self.left_out {
            match error {
                HostError::Mapping(found) => faults.extend(found),
                error => first = first.or(Some(error)),
            }
        }
        match first {
            _ if !faults.is_empty() => Err(HostError::Mapping(faults)),
            Some(error) => Err(error),
            None => Ok(Self::default()),
        }
    }
}

/// Layers 1 and 2 of `check`, the source, and the keys of its batches.
pub(super) async fn open(
    file: &Path,
    text: &str,
    catalogue: &Catalogue,
    environment: &Arc<dyn Environment>,
) -> Result<Arc<Watched>, HostError> {
    let mapping = Mapping::parse(text, file).map_err(HostError::Mapping)?;
    let findings = check_by(&mapping, catalogue, Level::Offline).await;
    let bad: Vec<MappingFault> = findings
        .into_iter()
        .filter(|finding| finding.severity == Severity::Error)
        .map(|finding| fault(file, text, finding))
        .collect();
    if !bad.is_empty() {
        return Err(HostError::Mapping(bad));
    }
    let (mapping, environment) = (Arc::new(mapping), Arc::clone(environment));
    let opening = tokio::task::spawn_blocking(move || Watched::open(mapping, environment));
    let opened = Arc::new(opening.await.unwrap_or(Err(HostError::Died("opening of a source")))?);
    sound_batches(&opened).await?;
    Ok(opened)
}

fn fault(file: &Path, text: &str, finding: Finding) -> MappingFault {
    // What a test shows are made-up values, but they are values.
    let message = match finding.code {
        "A-MAP-010" => "A-MAP-010 a test of it fails".to_owned(),
        code => format!("{code} {}", finding.message),
    };
    let help = match finding.code {
        "A-MAP-010" => Some("run `yiwang-adapter test` over it".to_owned()),
        _ => finding.help,
    };
    fault_at(file, text, finding.span.unwrap_or(0..0), &message, help)
}

/// What is paged by a key that the source does not compare as it stands would lose rows: such a mapping does not serve. A source
/// that is away is not waited for; it proves the key before its first page.
async fn sound_batches(source: &Watched) -> Result<(), HostError> {
    let mapping = source.mapped.mapping();
    let batches = mapping.operations().iter().filter(|operation| operation.page.is_some());
    let batches: Vec<_> = batches.cloned().collect();
    if batches.is_empty() {
        return Ok(());
    }
    let findings = source.mapped.source().check(batches).await;
    match findings.into_iter().find(|finding| finding.code == UNFIT_KEY) {
        None => Ok(()),
        Some(finding) => {
            let help = finding.help.map(|help| format!("; {help}")).unwrap_or_default();
            let what = format!("{}: {}{help}", finding.code, finding.message);
            Err(HostError::Source { mapping: mapping.name().to_owned(), source: SourceError::Drift(what) })
        }
    }
}

/// Whether a setting is missing, which comes without a change of the mapping.
pub(super) const fn lacks_setting(error: &HostError) -> bool {
    matches!(error, HostError::Source { source: SourceError::Setting(_), .. })
}

/// Why a mapping does not hold, on one line: the first places, what is wrong there, and what to do.
pub(super) fn told(error: &HostError) -> String {
    let faults = match error {
        HostError::Mapping(faults) => faults,
        error if lacks_setting(error) => {
            return format!("{error}; it is looked for again every half a minute at the least");
        }
        error => return error.to_string(),
    };
    let one = |fault: &MappingFault| {
        let help = fault.help.as_ref().map(|help| format!(" ({help})")).unwrap_or_default();
        format!("{fault}{help}")
    };
    let told: Vec<String> = faults.iter().take(FAULTS_TOLD).map(one).collect();
    let more = faults.len().saturating_sub(told.len());
    let more = if more == 0 { String::new() } else { format!(" (and {more} more)") };
    format!("{}{more}", told.join("; "))
}
