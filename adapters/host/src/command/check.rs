//! `check`: shape, then names and codes and tests, then the live source.

use super::report::{LIVE, NAMES, Report, SHAPE, Section};
use super::{Check, fault_at, folder_check};
use crate::config::{Config, ConfigError};
use crate::record_types;
use crate::run::Surroundings;
use crate::sources::{open, read_mapping};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use toml_parser::lexer::TokenKind;
use yiwang_adapter_sdk::check::{Finding, Level, Severity, check_by};
use yiwang_adapter_sdk::mapping::{Mapping, render, render_masked};
use yiwang_adapter_sdk::source::{Source, SourceError};
use yiwang_adapter_sdk::words::cleaned;
use yiwang_policies::Catalogue;
use yiwang_proto::plural::counted;

/// The mark of `init`; the heading of its proposals, which tells of the mark, has no blank after it.
const CHOOSE: &str = "choose: ";
/// Characters of what there is to choose: proposals have fewer, but for long lists of columns.
const CHOICE_MAX: usize = 300;

pub(super) async fn check(
    arguments: &Check,
    surroundings: &Surroundings,
    out: &mut (dyn Write + Send),
) -> std::io::Result<u8> {
    let mut report = Report::default();
    let (files, record_types) = match &arguments.config {
        None => (arguments.files.clone(), arguments.record_types.clone()),
        Some(path) => configuration(path, arguments.offline, surroundings, &mut report).await,
    };
    let Some(catalogue) = catalogue(&record_types, &mut report) else {
        return report.write(arguments.output, out);
    };
    for file in files {
        mapping(&file, &catalogue, arguments.offline, surroundings, &mut report).await;
    }
    report.write(arguments.output, out)
}

/// The catalogue with the record types of these files; none where one does not hold, or there is no catalogue.
fn catalogue(files: &[PathBuf], report: &mut Report) -> Option<Catalogue> {
    let builtin = match Catalogue::builtin() {
        Ok(builtin) => builtin,
        Err(error) => {
            let mut section = Section::new("catalogue".to_owned(), NAMES);
            section.bad(error.to_string());
            report.0.push(section);
            return None;
        }
    };
    let mut catalogue = builtin.clone();
    let mut taken = std::collections::BTreeSet::new();
    let mut sound = true;
    for file in files {
        let mut section = Section::new(file.display().to_string(), SHAPE);
        match record_types::read(file) {
            Ok(version) if taken.insert(version.text.record.clone()) => {
                let text = &version.text;
                section.good(format!(
                    "record type {}, version {}, {}, signed by {}",
                    text.record,
                    text.version,
                    counted(text.fields.len(), "field"),
                    match text.providers.len() {
                        1 => "its 1 provider".to_owned(),
                        providers => format!("all {providers} providers"),
                    }
                ));
                catalogue = catalogue.with(version.def);
            }
            Ok(version) => {
                section.bad(record_types::second(&version));
                sound = false;
            }
            Err(error) => {
                section.bad(error);
                sound = false;
            }
        }
        report.0.push(section);
    }
    sound.then_some(catalogue)
}

/// The configuration with all that is around it; yields the mapping files and record types that it names.
async fn configuration(
    path: &Path,
    offline: bool,
    surroundings: &Surroundings,
    report: &mut Report,
) -> (Vec<PathBuf>, Vec<PathBuf>) {
    let mut shape = Section::new(path.display().to_string(), SHAPE);
    let config = match Config::read(path) {
        Ok(config) => config,
        Err(error) => {
            match &error {
                ConfigError::Read { .. } => shape.bad(error.to_string()),
                ConfigError::Faults { faults, text } => {
                    for fault in faults {
                        shape.fault(Severity::Error, None, fault, render_masked(fault, text));
                    }
                }
            }
            report.0.push(shape);
            return (Vec::new(), Vec::new());
        }
    };
    let named = config.adapter.as_ref().map(|part| (part.mappings.clone(), part.record_types.clone()));
    let (files, record_types) = named.unwrap_or_default();
    let apps = config.gateway.as_ref().map_or(0, |part| part.apps.len());
    shape.good(format!("{}, {}", counted(files.len(), "mapping"), counted(apps, "app")));
    report.0.push(shape);
    folder_check::check(&config, offline, surroundings, report).await;
    (files, record_types)
}

async fn mapping(
    file: &Path,
    catalogue: &Catalogue,
    offline: bool,
    surroundings: &Surroundings,
    report: &mut Report,
) {
    let about = file.display().to_string();
    let mut shape = Section::new(about.as_str(), SHAPE);
    let text = match read_mapping(file) {
        Ok(text) => text,
        Err(error) => {
            shape.bad(error.to_string());
            report.0.push(shape);
            return;
        }
    };
    let mapping = match Mapping::parse(&text, file) {
        Ok(mapping) => Arc::new(mapping),
        Err(faults) => {
            for fault in &faults {
                shape.fault(Severity::Error, None, fault, render(fault, &text));
            }
            report.0.push(shape);
            return;
        }
    };
    let fields: usize = mapping.operations().iter().map(|operation| operation.fields.len()).sum();
    let (operations, tests) = (mapping.operations().len(), mapping.tests().len());
    shape.good(format!(
        "`{}`: record {}, {}, {}, {}",
        mapping.name(),
        mapping.record(),
        counted(operations, "operation"),
        counted(fields, "field"),
        counted(tests, "test")
    ));
    choices(&text, file, &mut shape);
    report.0.push(shape);
    let opened = if offline { None } else { Some(open_source(&mapping, surroundings).await) };
    let level = match &opened {
        Some(Ok(source)) => Level::Live { source: source.as_ref(), now_ms: surroundings.clock.now_ms() },
        _ => Level::Offline,
    };
    let findings = check_by(&mapping, catalogue, level).await;
    let (names, mut live): (Vec<Finding>, Vec<Finding>) =
        findings.into_iter().partition(|finding| finding.code.starts_with("A-MAP-"));
    if let Some(Err(error)) = &opened {
        live.push(Finding::new(Severity::Error, "A-SRC-000", error.to_string()));
    }
    let mut section = Section::new(about.as_str(), NAMES);
    if names.iter().all(|finding| finding.severity == Severity::Note) {
        section.good("every name and type is the catalogue's, every test passes");
    }
    add(names, file, &text, &mut section);
    report.0.push(section);
    if !offline {
        let mut section = Section::new(about, LIVE);
        add(live, file, &text, &mut section);
        report.0.push(section);
    }
}

/// What `init` left to whoever knows the source, and nobody has decided: a comment that still says so.
fn choices(text: &str, file: &Path, section: &mut Section) {
    for token in toml_parser::Source::new(text).lex() {
        let span = token.span().start()..token.span().end();
        let comment = text.get(span.clone()).unwrap_or_default();
        let Some((_, what)) = comment.split_once(CHOOSE).filter(|_| token.kind() == TokenKind::Comment)
        else {
            continue;
        };
        // The line is shown without its comments, and what there is to choose stands nowhere else.
        let message = format!("a choice is still open: {}", cleaned(what.trim_end(), CHOICE_MAX));
        let help = Some("decide it, then take `choose:` and what follows out".to_owned());
        let fault = fault_at(file, text, span, &message, help);
        section.fault(Severity::Warning, Some("A-MAP-014"), &fault, render(&fault, text));
    }
}

async fn open_source(
    mapping: &Arc<Mapping>,
    surroundings: &Surroundings,
) -> Result<Arc<dyn Source>, SourceError> {
    let (mapping, environment) = (Arc::clone(mapping), Arc::clone(&surroundings.environment));
    let opening = tokio::task::spawn_blocking(move || open(&mapping, &environment));
    opening.await.unwrap_or_else(|_| Err(SourceError::Unavailable("opening it failed".to_owned())))
}

fn add(findings: Vec<Finding>, file: &Path, text: &str, section: &mut Section) {
    for finding in findings {
        match finding.span.clone() {
            None => section.finding(finding),
            Some(span) => {
                let fault = fault_at(file, text, span, &finding.message, finding.help);
                section.fault(finding.severity, Some(finding.code), &fault, render(&fault, text));
            }
        }
    }
}
