//! The parts that need the disk: sources and the adapter with its journal.

use super::Surroundings;
use crate::config::{AdapterPart, Config};
use crate::error::HostError;
use crate::names;
use crate::sources::{Watched, read_mappings};
use std::sync::Arc;
use yiwang_adapter_sdk::adapter::{Adapter, AdapterConfig, AdapterLimits};
use yiwang_adapter_sdk::decide::ContractPolicy;
use yiwang_adapter_sdk::mapping::OperationKind;
use yiwang_adapter_sdk::source::SourceError;
use yiwang_client::folder::Folder;
use yiwang_policies::Decider;
use yiwang_proto::checkpoint::CheckpointVerifier;
use yiwang_proto::delegation::Role;

/// Checkpoints remembered: as many as arrive while one answer is made.
const CHECKPOINTS_KNOWN: usize = 64;

/// How long the hub is asked to hold requests when the host is stopped: five seconds for what runs, as long again for the
/// next process. No hub holds them for longer.
const BACK_MS: u32 = 10_000;
/// How long a new process waits for the journal of the one that it replaces: that one has the grace time of its host, eight
/// seconds, and a slow disk some for the last sync.
const JOURNAL_WAIT_MS: u64 = 15_000;
/// What a live check says of a batch's key that is not fit.
const UNFIT_KEY: &str = "A-SQL-019";

/// Reads the mappings and opens their sources; files are read off the runtime's threads.
pub(crate) async fn open_sources(
    part: &AdapterPart,
    surroundings: &Surroundings,
) -> Result<Vec<Arc<Watched>>, HostError> {
    let (files, environment) = (part.mappings.clone(), Arc::clone(&surroundings.environment));
    let opening = tokio::task::spawn_blocking(move || {
        let mappings = read_mappings(&files)?;
        mappings
            .into_iter()
            .map(|mapping| Watched::open(mapping, Arc::clone(&environment)).map(Arc::new))
            .collect()
    });
    let opened: Vec<Arc<Watched>> = opening.await.unwrap_or(Err(HostError::Died("opening of sources")))?;
    for source in &opened {
        sound_batches(source).await?;
    }
    Ok(opened)
}

/// A batch whose key the source does not compare as it stands would lose rows: such a mapping does not start. A source
/// that is away is not waited for; it proves the key before its first page.
async fn sound_batches(source: &Watched) -> Result<(), HostError> {
    let mapping = source.mapped.mapping();
    let batches = mapping.operations().iter().filter(|operation| operation.kind == OperationKind::Batch);
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

/// What the adapter of a configuration is made from.
fn adapter_config(part: &AdapterPart, folder: &Folder) -> Result<AdapterConfig, HostError> {
    let enrolled = folder.enrolled()?;
    let (role, name) = (Role::Adapter, &part.name);
    let not_loaded = |error| names::not_loaded(folder, role, name, error);
    let (delegation, _) = folder.load_delegation(role, name).map_err(not_loaded)?;
    let key = enrolled.verifier_key().clone();
    let contracts = match &part.only_contracts {
        None => ContractPolicy::SignedByOwnRoot,
        Some(digests) => ContractPolicy::Only(digests.clone()),
    };
    Ok(AdapterConfig {
        member: folder.member().clone(),
        adapter: part.name.clone(),
        root: folder.root_public(),
        key: folder.load_key(role, name).map_err(not_loaded)?,
        delegation,
        tag_key: folder.tag_key()?,
        ledger: Arc::new(CheckpointVerifier::new(key, enrolled.origin(), CHECKPOINTS_KNOWN)),
        journal_dir: part.journal.clone(),
        contracts,
        limits: AdapterLimits { segment_bytes: part.segment_bytes, ..AdapterLimits::default() },
        witness: part.witness.then(|| folder.witness_key()).transpose()?,
        // Beside the journal: `journal` keeps its evidence in `journal.evidence`.
        evidence_dir: part.journal.with_added_extension("evidence"),
    })
}

fn decider() -> Result<Arc<Decider>, HostError> {
    Decider::builtin().map(Arc::new).map_err(|error| HostError::Rules(error.to_string()))
}

pub(super) async fn open_adapter(
    part: &AdapterPart,
    folder: &Folder,
    sources: &[Arc<Watched>],
    surroundings: &Surroundings,
) -> Result<Adapter, HostError> {
    let (mut config, decider) = (adapter_config(part, folder)?, decider()?);
    config.limits.back_ms = BACK_MS;
    config.limits.journal_wait_ms = JOURNAL_WAIT_MS;
    let mapped = sources.iter().map(|source| source.mapped.clone()).collect();
    let (clock, entropy) = (Arc::clone(&surroundings.clock), Arc::clone(&surroundings.entropy));
    let opening = tokio::task::spawn_blocking(move || Adapter::open(config, mapped, decider, clock, entropy));
    let adapter = opening.await.map_err(|_| HostError::Died("opening of the adapter"))??;
    Ok(match folder.load_sealing(&part.name)? {
        Some((key, document)) => adapter.with_sealing(key, document)?,
        None => adapter,
    })
}

/// Journals that the operator accepts the present clock; see [`Adapter::accept_clock`].
pub(crate) async fn accept_clock(
    config: &Config,
    surroundings: &Surroundings,
) -> Result<Option<i64>, HostError> {
    let Some(part) = &config.adapter else { return Ok(None) };
    let folder = Folder::open(&config.member_folder)?;
    let (config, decider) = (adapter_config(part, &folder)?, decider()?);
    let (clock, entropy) = (Arc::clone(&surroundings.clock), Arc::clone(&surroundings.entropy));
    let accepting =
        tokio::task::spawn_blocking(move || Adapter::accept_clock(config, decider, clock, entropy));
    Ok(accepting.await.map_err(|_| HostError::Died("accepting the clock"))??)
}
