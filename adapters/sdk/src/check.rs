//! `adapter check` as a library, in three layers: shape (the parser's faults), names and codes, and the
//! live source.

use crate::mapping::Mapping;
use crate::source::Source;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Good to know: what was proved.
    Note,
    /// Works, but should be looked at.
    Warning,
    /// Must be mended before the adapter serves this mapping.
    Error,
}

/// One result of a check. Names fields, columns and tables, never values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// Stable code, like `A-SQL-003`.
    pub code: &'static str,
    /// What was found.
    pub message: String,
    /// What to do next.
    pub help: Option<String>,
    /// Line and column in the mapping file, both from 1.
    pub place: Option<(usize, usize)>,
}

impl Finding {
    /// A finding without help or place.
    pub fn new(severity: Severity, code: &'static str, message: impl Into<String>) -> Self {
        Self { severity, code, message: message.into(), help: None, place: None }
    }

    /// Adds what to do next.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// How far a check goes.
pub enum Level<'a> {
    /// Without the source.
    Offline,
    /// With the opened source.
    Live(&'a dyn Source),
}

/// Checks a mapping that parsed.
pub async fn check(mapping: &Mapping, level: Level<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for result in crate::mapping::run_tests(mapping) {
        if let Some(failure) = result.failure {
            let message = format!("test `{}` fails: {failure}", result.name);
            findings.push(Finding::new(Severity::Error, "A-MAP-020", message));
        }
    }
    if let Level::Live(source) = level {
        findings.extend(source.check(mapping.operations().to_vec()).await);
    }
    findings
}
