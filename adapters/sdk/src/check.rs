//! `adapter check` as a library, in three layers: shape (the parser's faults), names and codes against the
//! catalogue and the mapping's own tests, and the live source.

mod constants;
mod names;

use crate::mapping::{
    Access, FieldDef, FieldType, Mapping, MappingFault, OperationDef, OperationKind, ParamType, SourceDef,
    UnknownCode, is_ordered,
};
use crate::source::Source;
use yiwang_policies::{Catalogue, RecordDef, SubjectKind};
use yiwang_proto::nearest::did_you_mean;

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
    /// Byte range in the mapping file, where the finding is about a place in it.
    pub span: Option<std::ops::Range<usize>>,
}

impl Finding {
    /// A finding without help or place.
    pub fn new(severity: Severity, code: &'static str, message: impl Into<String>) -> Self {
        Self { severity, code, message: message.into(), help: None, span: None }
    }

    /// Adds what to do next.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Adds the place in the mapping file.
    #[must_use]
    pub fn at(mut self, span: std::ops::Range<usize>) -> Self {
        self.span = Some(span);
        self
    }
}

/// A finding for a terminal, with the line of the mapping file that it is about.
pub fn render(finding: &Finding, mapping: &Mapping, text: &str) -> String {
    let severity = match finding.severity {
        Severity::Note => "note",
        Severity::Warning => "warning",
        Severity::Error => "error",
    };
    let message = format!("{severity} {}: {}", finding.code, finding.message);
    match &finding.span {
        Some(span) => {
            let (line, column) = crate::mapping::position(text, span.start);
            let fault = MappingFault {
                file: mapping.file().to_path_buf(),
                span: span.clone(),
                line,
                column,
                message,
                help: finding.help.clone(),
            };
            crate::mapping::render(&fault, text)
        }
        None => {
            let help = finding.help.iter().map(|help| format!("  = help: {help}\n")).collect::<String>();
            format!("{}: {message}\n{help}", mapping.file().display())
        }
    }
}

/// How the finding of a probe that failed begins.
const PROBE: &str = "probe: ";

/// How far a check goes.
#[derive(Clone, Copy)]
pub enum Level<'a> {
    /// Without the source.
    Offline,
    /// With the opened source.
    Live {
        /// The source, opened from this mapping.
        source: &'a dyn Source,
        /// The wall clock, milliseconds.
        now_ms: i64,
    },
}

/// Checks a mapping that parsed, against the catalogue that comes with the program.
pub async fn check(mapping: &Mapping, level: Level<'_>) -> Vec<Finding> {
    match Catalogue::builtin() {
        Ok(catalogue) => check_by(mapping, &catalogue, level).await,
        Err(error) => vec![Finding::new(Severity::Error, "A-MAP-001", error.to_string())],
    }
}

/// Checks a mapping that parsed, against a catalogue that may have record types which members added.
pub async fn check_by(mapping: &Mapping, catalogue: &Catalogue, level: Level<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    catalogued(mapping, catalogue, &mut findings);
    tests(mapping, &mut findings);
    if let Level::Live { source, now_ms } = level {
        let told = source.check(mapping.operations().to_vec()).await;
        let fresh = freshness(mapping, source, now_ms).await;
        // A source that is not reached says so to the check and to the probe, and it is one thing to mend.
        let is_told = |error: &str| {
            told.iter().any(|one| one.severity == Severity::Error && one.message.contains(error))
        };
        let again = fresh.message.strip_prefix(PROBE).is_some_and(is_told);
        findings.extend(told);
        findings.extend((!again).then_some(fresh));
    }
    findings
}

fn catalogued(mapping: &Mapping, catalogue: &Catalogue, findings: &mut Vec<Finding>) {
    names::judge(mapping, findings);
    constants::judge(mapping, findings);
    forgotten_order(mapping, findings);
    let Some(record) = catalogue.record(mapping.record()) else {
        findings.push(unknown_record(mapping, catalogue));
        return;
    };
    for operation in mapping.operations() {
        let counts = operation.kind == OperationKind::Count;
        if record.subject == SubjectKind::Person && operation.subject.is_none() && !counts {
            let message = format!(
                "operation {}: `{}` is about a person, and no `subject` is named",
                operation.name, record.name
            );
            let finding = Finding::new(Severity::Error, "A-MAP-008", message).at(operation.span.clone());
            findings.push(finding.help(
                "name the parameter that takes the person's identifier; records about persons are not listed",
            ));
        }
        findings.extend(unasked(operation, record));
        for field in &operation.fields {
            against_catalogue(operation, field, record, findings);
        }
        listed_values(operation, record, findings);
        if operation.as_of.is_none() && !counts {
            let message =
                format!("operation {}: no `as_of`; records are as old as nobody knows", operation.name);
            let finding = Finding::new(Severity::Warning, "A-MAP-004", message).at(operation.span.clone());
            findings.push(finding.help("name the column that says when a row was last good"));
        }
    }
}

/// An order that MariaDB forgets: the adapter asks for columns of the statement, and in a table that is made of a
/// statement rows have none.
fn forgotten_order(mapping: &Mapping, findings: &mut Vec<Finding>) {
    if !matches!(mapping.source(), SourceDef::Mariadb(_)) {
        return;
    }
    for operation in mapping.operations() {
        let asked = matches!(operation.kind, OperationKind::Lookup | OperationKind::Search);
        if asked
            && operation.order.is_empty()
            && let Access::Sql(statement) = &operation.access
            && is_ordered(statement)
        {
            let message = format!(
                "operation {}: MariaDB forgets the `order by` of its statement: rows come in any order, and a limit leaves out any",
                operation.name
            );
            let finding = Finding::new(Severity::Warning, "A-MAP-017", message).at(operation.span.clone());
            findings.push(finding.help(
                "take it out of the statement, select its columns there, and write order = [\"COLUMN desc\", …] below",
            ));
        }
    }
}

fn unknown_record(mapping: &Mapping, catalogue: &Catalogue) -> Finding {
    let message = format!("record `{}` is not in the catalogue", mapping.record());
    let known = catalogue.records().map(|record| record.name.as_str());
    let help = did_you_mean(mapping.record().as_str(), known).unwrap_or_else(|| {
        "`yiwang catalogue list` names those that there are; one that members added is named with --record-type"
            .to_owned()
    });
    Finding::new(Severity::Error, "A-MAP-003", message).at(mapping.record_span()).help(help)
}

/// What is asked about a subject and declares none, so that it refuses whoever asks. Apps tell by the operation's name
/// whether they name one, and a contract lets nothing personal out without.
fn unasked(operation: &OperationDef, record: &RecordDef) -> Option<Finding> {
    let asked = matches!(operation.kind, OperationKind::Lookup | OperationKind::Search);
    if !asked || operation.subject.is_some() || record.subject == SubjectKind::Person {
        return None;
    }
    let name = operation.name.as_str();
    let is_personal = |field: &FieldDef| record.field(&field.name).is_some_and(|known| known.class >= 2);
    let why = if name.ends_with("by_id") || name.ends_with("by_person") {
        "apps name a subject to what is called by_id or by_person"
    } else if operation.kind == OperationKind::Lookup && operation.fields.iter().any(is_personal) {
        "contracts let fields of class 2 and above out only about a subject"
    } else {
        return None;
    };
    let message = format!("operation {name}: {why}, and no `subject` is declared: whoever asks is refused");
    let param = operation.params.iter().find(|param| param.kind == ParamType::String && !param.optional);
    let help = match param {
        Some(param) => format!(
            "write subject = \"{}\" below its name if that parameter says whom or what a row is about, else declare one that does",
            param.name
        ),
        None => "declare a parameter of type string that says whom or what a row is about, and write subject = \"its name\""
            .to_owned(),
    };
    Some(Finding::new(Severity::Warning, "A-MAP-016", message).at(operation.span.clone()).help(help))
}

fn against_catalogue(
    operation: &OperationDef,
    field: &FieldDef,
    record: &RecordDef,
    findings: &mut Vec<Finding>,
) {
    let place = format!("operation {}, field `{}`", operation.name, field.name);
    let Some(known) = record.field(&field.name) else {
        let mut finding = Finding::new(
            Severity::Error,
            "A-MAP-005",
            format!("{place}: record `{}` of the catalogue has no such field", record.name),
        )
        .at(field.span.clone());
        finding.help = did_you_mean(field.name.as_str(), record.fields.keys().map(|name| name.as_str()));
        findings.push(finding);
        return;
    };
    if !fits(field.kind, known.kind) {
        let (has, wants) = (field.kind.as_str(), known.kind.as_str());
        let message = format!("{place}: is of type {has} here and of type {wants} in the catalogue");
        findings.push(Finding::new(Severity::Error, "A-MAP-006", message).at(field.span.clone()));
    }
    if let Some(table) = field.codes.as_ref().filter(|_| !known.codes.is_empty()) {
        let listed = |word: &&String| known.codes.contains(*word);
        if let Some(word) = table.words.values().find(|word| !listed(word)) {
            let message = format!(
                "{place}: table `{}` gives a word that the catalogue's codes do not have",
                table.name
            );
            let mut finding = Finding::new(Severity::Error, "A-MAP-012", message).at(table.span.clone());
            finding.help = did_you_mean(word, known.codes.iter().map(String::as_str));
            findings.push(finding);
        }
        if table.unknown == UnknownCode::Keep {
            let message = format!(
                "{place}: table `{}` keeps codes that the catalogue's list does not have",
                table.name
            );
            let finding = Finding::new(Severity::Error, "A-MAP-013", message).at(table.span.clone());
            findings.push(finding.help("write unknown = \"fail\" or \"null\""));
        }
    }
    if field.kind == FieldType::String && !known.codes.is_empty() && operation.kind != OperationKind::Count {
        let message = format!(
            "{place}: is a text as the source has it, and the catalogue lists the words that it may be"
        );
        let finding = Finding::new(Severity::Warning, "A-MAP-015", message).at(field.span.clone());
        findings.push(finding.help(format!(
            "hold it against them: type = \"code\", codes = {{ \"…\" = \"{}\", …, unknown = \"fail\" }}",
            known.codes.first().map_or("…", String::as_str)
        )));
    }
    if let Some(class) = field.class.filter(|class| *class < known.class) {
        let message = format!("{place}: class {class} is under class {} of the catalogue", known.class);
        let finding = Finding::new(Severity::Error, "A-MAP-007", message).at(field.span.clone());
        findings.push(finding.help("a mapping can raise a class, never lower it"));
    }
}

/// Values that a count lists itself, against the catalogue's closed lists.
fn listed_values(operation: &OperationDef, record: &RecordDef, findings: &mut Vec<Finding>) {
    let Some(count) = &operation.count else { return };
    for (field, values) in operation.fields.iter().zip(&count.values) {
        let Some(known) = record.field(&field.name).filter(|known| !known.codes.is_empty()) else { continue };
        let foreign =
            values.iter().flatten().find(|value| !known.codes.iter().any(|code| **code == ***value));
        if let Some(value) = foreign.filter(|_| field.codes.is_none()) {
            let place = format!("operation {}, dimension `{}`", operation.name, field.name);
            let message = format!("{place}: lists a value that the catalogue's codes do not have");
            let mut finding = Finding::new(Severity::Error, "A-MAP-012", message).at(field.span.clone());
            finding.help = did_you_mean(value, known.codes.iter().map(String::as_str));
            findings.push(finding);
        }
    }
}

/// Whether values of a mapping's type are values of the catalogue's. A source that already holds the
/// catalogue's words gives a code as a string.
fn fits(mapped: FieldType, known: yiwang_policies::FieldType) -> bool {
    use yiwang_policies::FieldType as Known;
    match (mapped, known) {
        (FieldType::String | FieldType::Code, Known::String | Known::Code) => true,
        (FieldType::Integer, Known::Number) => true,
        (mapped, known) => mapped.as_str() == known.as_str(),
    }
}

fn tests(mapping: &Mapping, findings: &mut Vec<Finding>) {
    for (result, test) in crate::mapping::run_tests(mapping).into_iter().zip(mapping.tests()) {
        if let Some(failure) = result.failure {
            let message = format!("test `{}` fails: {failure}", result.name);
            findings.push(Finding::new(Severity::Error, "A-MAP-010", message).at(test.span.clone()));
        }
    }
    for operation in mapping.operations() {
        if !mapping.tests().iter().any(|test| test.operation == operation.name) {
            let message = format!("operation {} has no test", operation.name);
            findings.push(Finding::new(Severity::Warning, "A-MAP-011", message).at(operation.span.clone()));
        }
    }
}

async fn freshness(mapping: &Mapping, source: &dyn Source, now_ms: i64) -> Finding {
    let newest = match source.probe().await {
        Ok(probe) => probe.newest_ms,
        Err(error) => return Finding::new(Severity::Error, "A-SRC-001", format!("{PROBE}{error}")),
    };
    let Some(limits) = &mapping.source().common().freshness else {
        return Finding::new(
            Severity::Note,
            "A-SRC-002",
            "the source answers its probe; no freshness is asked",
        );
    };
    let Some(newest) = newest else {
        return Finding::new(Severity::Error, "A-SRC-003", "the source cannot say how fresh it is");
    };
    let age_ms = u128::try_from(now_ms.saturating_sub(newest)).unwrap_or_default();
    let hours = age_ms / 3_600_000;
    let (severity, code) = if age_ms > limits.fail.as_millis() {
        (Severity::Error, "A-SRC-004")
    } else if age_ms > limits.warn.as_millis() {
        (Severity::Warning, "A-SRC-005")
    } else {
        (Severity::Note, "A-SRC-006")
    };
    Finding::new(severity, code, format!("the newest data is {hours} h old"))
}
