//! `[[operation]]`: parameters, how rows are found, fields.

use super::batch;
use super::count;
use super::date_format::{self, Of};
use super::def::{
    Access, CodeTable, Compared, FieldDef, OperationDef, OperationKind, PageDef, ParamDef, ParamType,
    SourceDef, WhereDef, WhereValue,
};
use super::fault::Faults;
use super::field;
use super::order::{self, OrderDef};
use super::paging;
use super::read::{Node, Table, id, kind, one_of, shown, text};
use super::service::ParamPlace;
use super::service_operation::{self, CALL_KEYS, SEARCH_KEYS};
use super::sql_text::scan;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;
use toml::de::DeValue;
use yiwang_proto::contract::Scalar;
use yiwang_proto::ids::FieldName;
use yiwang_proto::limits::{ARGUMENTS_MAX, FIELDS_MAX, ROWS_MAX};
use yiwang_proto::nearest::{did_you_mean, meant};

/// Rows of an answer where a mapping does not say: what somebody reads. A cut is said in the answer.
pub const LIMIT: u32 = 20;
/// What a source may take where a mapping does not say: whoever asks waits for it.
pub const TIMEOUT: Duration = Duration::from_secs(2);

const KEYS: [&str; 12] = [
    "name", "kind", "subject", "params", "sql", "where", "order", "key", "pages", "limit", "timeout",
    "fields",
];
/// Keys of sources that have neither statements nor columns.
const PLAIN_KEYS: [&str; 7] = ["name", "kind", "subject", "params", "limit", "timeout", "fields"];

pub(crate) fn read(
    table: &Table<'_, '_>,
    source: Option<&SourceDef>,
    codes: &BTreeMap<String, Arc<CodeTable>>,
    faults: &mut Faults<'_>,
) -> Option<OperationDef> {
    if table
        .get("kind")
        .is_some_and(|node| matches!(node.get_ref(), DeValue::String(kind) if kind == "batch"))
    {
        return batch::read(table, source, codes, faults);
    }
    if table
        .get("kind")
        .is_some_and(|node| matches!(node.get_ref(), DeValue::String(kind) if kind == "count"))
    {
        return count::read(table, source, codes, faults);
    }
    match source {
        Some(SourceDef::Http(_)) => table.only(&[&PLAIN_KEYS[..], &CALL_KEYS].concat(), faults),
        Some(SourceDef::Fhir(_)) => table.only(&[&PLAIN_KEYS[..], &SEARCH_KEYS].concat(), faults),
        _ => table.only(&KEYS, faults),
    }
    let name_span = table.get("name").map_or_else(|| table.span.clone(), toml::Spanned::span);
    let name = table.need_text("name", faults).and_then(|text| id(text, name_span.clone(), "name", faults));
    let choices = [
        ("lookup", OperationKind::Lookup),
        ("search", OperationKind::Search),
        ("count", OperationKind::Count),
        ("batch", OperationKind::Batch),
    ];
    let kind = table.need("kind", faults).and_then(|node| one_of(node, "kind", &choices, faults));
    let called = matches!(source, Some(SourceDef::Http(_) | SourceDef::Fhir(_)));
    let params = table.get("params").map(|node| params(node, called, faults)).unwrap_or_default();
    let subject = subject(table, &params, faults);
    let access = access(table, source, &params, faults);
    let order = order::read(table, source, faults);
    let page = paging::read(table, source, kind, (&params, &order), faults);
    // Also where it is asked without pages, as on the command line.
    let by_key = |page: &PageDef| vec![OrderDef { column: Arc::clone(&page.key), descending: false }];
    let order = page.as_ref().map_or(order, by_key);
    let limit = match table.get("limit") {
        None => Some(i64::from(LIMIT)),
        Some(_) => table.integer("limit", 1..i64::from(ROWS_MAX) + 1, faults),
    };
    let help = "an exchange has 30 s at most, the way there and back included";
    let timeout = timeout(table, help, faults);
    let (fields, as_of) = fields(table, source, codes, faults);
    Some(OperationDef {
        name: name?,
        kind: kind?,
        subject,
        params,
        access: access?,
        limit: u32::try_from(limit?).unwrap_or(1),
        timeout: timeout?,
        fields,
        as_of,
        order,
        count: None,
        page,
        span: name_span,
    })
}

/// How long the source may take, if it is sound; [`TIMEOUT`] where nothing is said.
pub(super) fn timeout(table: &Table<'_, '_>, help: &str, faults: &mut Faults<'_>) -> Option<Duration> {
    if table.get("timeout").is_none() {
        return Some(TIMEOUT);
    }
    let timeout = table.duration("timeout", faults);
    if timeout.is_some_and(|timeout| timeout > Duration::from_secs(30)) {
        faults.add(table.key_span("timeout"), "`timeout` is over 30s", Some(help.to_owned()));
    }
    timeout
}

fn subject(table: &Table<'_, '_>, params: &[ParamDef], faults: &mut Faults<'_>) -> Option<FieldName> {
    let given = table.text("subject", faults)?;
    let span = table.get("subject").map_or(0..0, toml::Spanned::span);
    match params.iter().find(|param| param.name.as_str() == given) {
        Some(param) if param.kind == ParamType::String && !param.optional => Some(param.name.clone()),
        Some(_) => {
            faults.add(span, "the subject's parameter is not a required string", None);
            None
        }
        None => {
            let known = params.iter().map(|param| param.name.as_str());
            let help = did_you_mean(given, known);
            let message = format!("`subject` names `{}`, which is no parameter", shown(given));
            faults.add(span, message, help);
            None
        }
    }
}

fn params(node: &Node<'_>, called: bool, faults: &mut Faults<'_>) -> Vec<ParamDef> {
    let Some(all) = Table::of(node, "params", faults) else { return Vec::new() };
    let entries = all.entries();
    if entries.len() > ARGUMENTS_MAX {
        faults.add(node.span(), format!("an operation has at most {ARGUMENTS_MAX} parameters"), None);
    }
    entries.into_iter().filter_map(|(name, span, node)| param(name, span, node, called, faults)).collect()
}

fn param(
    name: &str,
    span: Range<usize>,
    node: &Node<'_>,
    called: bool,
    faults: &mut Faults<'_>,
) -> Option<ParamDef> {
    let table = Table::of(node, format!("parameter `{}`", shown(name)), faults)?;
    let keys = ["type", "pattern", "min", "max", "format", "optional", "in"];
    // Only a call has places.
    table.only(if called { &keys } else { keys.split_last().map_or(&[], |(_, rest)| rest) }, faults);
    let choices = [
        ("string", ParamType::String),
        ("integer", ParamType::Integer),
        ("number", ParamType::Number),
        ("bool", ParamType::Bool),
        ("date", ParamType::Date),
        ("timestamp", ParamType::Timestamp),
    ];
    let name = id(name, span, &shown(name), faults);
    let kind = table.need("type", faults).and_then(|node| one_of(node, "type", &choices, faults));
    let pattern = pattern(&table, kind, faults);
    let whole = i64::MIN..i64::MAX;
    let (min, max) = (table.integer("min", whole.clone(), faults), table.integer("max", whole, faults));
    let numeric = matches!(kind, Some(ParamType::Integer | ParamType::Number) | None);
    if (min.is_some() || max.is_some()) && !numeric {
        faults.add(table.span.clone(), "only a number has min and max", None);
    }
    let written = match kind {
        Some(ParamType::Date) => Some(Of::Day),
        Some(ParamType::Timestamp) => Some(Of::Moment),
        _ => None,
    };
    let format = date_format::of_parameter(&table, written, faults);
    if format.is_some() && !matches!(kind, Some(ParamType::Date | ParamType::Timestamp) | None) {
        faults.add(table.key_span("format"), "only a date or timestamp has a format", None);
    }
    let optional = table.boolean("optional", faults).unwrap_or(false);
    let places = [("body", ParamPlace::Body), ("path", ParamPlace::Path), ("query", ParamPlace::Query)];
    let place = table.get("in").and_then(|node| one_of(node, "in", &places, faults)).unwrap_or_default();
    Some(ParamDef { name: name?, kind: kind?, pattern, min, max, format, optional, place })
}

fn pattern(
    table: &Table<'_, '_>,
    kind: Option<ParamType>,
    faults: &mut Faults<'_>,
) -> Option<regex_lite::Regex> {
    let given = table.text("pattern", faults);
    let Some(given) = given else {
        if kind == Some(ParamType::String) && table.get("pattern").is_none() {
            let help = "say what is let in, like pattern = \"^[0-9]{6}$\"";
            faults.add(table.span.clone(), format!("{} lacks `pattern`", table.what), Some(help.to_owned()));
        }
        return None;
    };
    if kind.is_some_and(|kind| kind != ParamType::String) {
        faults.add(table.key_span("pattern"), "only a string has a pattern", None);
    }
    // The pattern holds for the whole text, whether or not its author wrote the anchors.
    let compiled = regex_lite::RegexBuilder::new(&format!(r"\A(?:{given})\z"))
        .size_limit(256 * 1024)
        .nest_limit(20)
        .build();
    match compiled {
        Ok(regex) => Some(regex),
        Err(error) => {
            let span = table.get("pattern").map_or(0..0, toml::Spanned::span);
            faults.add(span, format!("`pattern` does not parse: {error}"), None);
            None
        }
    }
}

fn access(
    table: &Table<'_, '_>,
    source: Option<&SourceDef>,
    params: &[ParamDef],
    faults: &mut Faults<'_>,
) -> Option<Access> {
    let (wanted, other) = match source? {
        SourceDef::Sqlite(_) | SourceDef::Postgres(_) | SourceDef::Mariadb(_) => ("sql", "where"),
        SourceDef::Csv(_) => ("where", "sql"),
        SourceDef::Http(_) => return service_operation::call(table, params, faults),
        SourceDef::Fhir(_) => return service_operation::search(table, params, faults),
    };
    if table.get(other).is_some() {
        let help = Some(format!("this source is asked with `{wanted}`"));
        faults.add(table.key_span(other), format!("`{other}` does not fit this source"), help);
    }
    let node = table.need(wanted, faults)?;
    match source? {
        SourceDef::Http(_) | SourceDef::Fhir(_) => None,
        SourceDef::Sqlite(_) => sql(node, params, false, faults).map(Access::Sql),
        SourceDef::Postgres(_) | SourceDef::Mariadb(_) => sql(node, params, true, faults).map(Access::Sql),
        SourceDef::Csv(csv) => {
            let inner = Table::of(node, "where", faults)?;
            let clauses: Vec<WhereDef> = inner
                .entries()
                .into_iter()
                .filter_map(|(key, span, node)| condition(key, span, node, csv, params, faults))
                .collect();
            if inner.entries().is_empty() {
                faults.add(node.span(), "where has no condition", None);
            }
            if clauses.len() < inner.entries().len() {
                return None;
            }
            let used: Vec<&str> = clauses
                .iter()
                .filter_map(|clause| match &clause.value {
                    WhereValue::Param(name) => Some(name.as_str()),
                    WhereValue::Constant(_) => None,
                })
                .collect();
            unused(&used, params, node.span(), faults);
            Some(Access::Where(clauses))
        }
    }
}

pub(super) fn sql(
    node: &Node<'_>,
    params: &[ParamDef],
    server: bool,
    faults: &mut Faults<'_>,
) -> Option<String> {
    let statement = text(node, "sql", faults)?;
    let scanned = scan(statement);
    if server && scanned.backslash {
        let help = "compare with a parameter, or say it without a backslash";
        faults.add(node.span(), "a backslash stands between quotes", Some(help.to_owned()));
    }
    for fault in &scanned.faults {
        faults.add(node.span(), *fault, None);
    }
    for name in &scanned.params {
        if !params.iter().any(|param| param.name.as_str() == name) {
            let help = match meant(name, params.iter().map(|param| param.name.as_str())) {
                Some(near) => format!("did you mean :{near}? Every parameter needs a type under params"),
                None => format!("declare it: params.{} = {{ type = … }}", shown(name)),
            };
            let span = within(faults.text(), node.span(), name);
            faults.add(span, format!("parameter :{} is not declared", shown(name)), Some(help));
        }
    }
    let used: Vec<&str> = scanned.params.iter().map(String::as_str).collect();
    // A misspelt name is one fault, not two.
    if used.iter().all(|name| params.iter().any(|param| param.name.as_str() == *name)) {
        unused(&used, params, node.span(), faults);
    }
    Some(statement.to_owned())
}

pub(crate) fn unused(used: &[&str], params: &[ParamDef], span: Range<usize>, faults: &mut Faults<'_>) {
    for param in params.iter().filter(|param| !used.contains(&param.name.as_str())) {
        let help = "use it, or take it out of params".to_owned();
        faults.add(span.clone(), format!("parameter :{} is declared but not used", param.name), Some(help));
    }
}

/// Where `:name` stands in the raw text of a value.
fn within(text: &str, span: Range<usize>, name: &str) -> Range<usize> {
    let raw = text.get(span.clone()).unwrap_or_default();
    let token = format!(":{name}");
    raw.match_indices(&token)
        .find(|(at, _)| {
            let after = raw.get(at + token.len()..).and_then(|rest| rest.chars().next());
            !after.is_some_and(|c| c.is_alphanumeric() || c == '_')
        })
        .map_or(span.clone(), |(at, _)| span.start + at..span.start + at + token.len())
}

fn condition(
    key: &str,
    span: Range<usize>,
    node: &Node<'_>,
    csv: &super::CsvDef,
    params: &[ParamDef],
    faults: &mut Faults<'_>,
) -> Option<WhereDef> {
    let (column, part) = key.split_once('@').map_or((key, None), |(column, part)| (column, Some(part)));
    let Some((name, def)) = csv.columns.get_key_value(column) else {
        let known = csv.columns.keys().map(AsRef::as_ref);
        let help = did_you_mean(column, known);
        faults.add(span, format!("where names `{}`, which is no column", shown(column)), help);
        return None;
    };
    let compared = match part {
        None => Compared::Whole,
        Some("date") => Compared::Day,
        Some("id") => Compared::Identity,
        Some(_) => {
            faults.add(span, "only @date and @id can follow a column's name", None);
            return None;
        }
    };
    if compared == Compared::Day && def.kind != super::ColumnType::Timestamp {
        faults.add(span, "@date needs a column of type timestamp", None);
    } else if compared == Compared::Identity && def.kind != super::ColumnType::String {
        faults.add(span, "@id needs a column of texts", None);
    }
    let value = match node.get_ref() {
        DeValue::String(text) => match text.strip_prefix(':') {
            None => WhereValue::Constant(Scalar::Text(text.to_string())),
            Some(name) => match params.iter().find(|param| param.name.as_str() == name) {
                Some(param) => WhereValue::Param(param.name.clone()),
                None => {
                    let known = params.iter().map(|param| param.name.as_str());
                    let help = meant(name, known).map(|near| format!("did you mean :{near}?"));
                    let message = format!("parameter :{} is not declared", shown(name));
                    faults.add(node.span(), message, help);
                    return None;
                }
            },
        },
        DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => WhereValue::Constant(Scalar::Integer(number)),
            Err(_) => return None,
        },
        DeValue::Boolean(value) => WhereValue::Constant(Scalar::Bool(*value)),
        other => {
            let message =
                format!("where compares with {}, not with a text, number or :parameter", kind(other));
            faults.add(node.span(), message, None);
            return None;
        }
    };
    Some(WhereDef { column: Arc::clone(name), compared, value })
}

pub(super) fn fields(
    table: &Table<'_, '_>,
    source: Option<&SourceDef>,
    codes: &BTreeMap<String, Arc<CodeTable>>,
    faults: &mut Faults<'_>,
) -> (Vec<FieldDef>, Option<FieldDef>) {
    let (mut fields, mut as_of) = (Vec::new(), None);
    let Some(node) = table.need("fields", faults) else { return (fields, as_of) };
    let Some(all) = Table::of(node, "fields", faults) else { return (fields, as_of) };
    for (name, span, node) in all.entries() {
        let documents = source.is_some_and(SourceDef::gives_documents);
        let Some(field) = field::read(name, span, node, documents, codes, faults) else { continue };
        if let Some(SourceDef::Csv(csv)) = source {
            for column in field.columns().filter(|column| !csv.columns.contains_key(column)) {
                let known = csv.columns.keys().map(AsRef::as_ref);
                let help = did_you_mean(&column, known);
                let message =
                    format!("field `{}` reads `{}`, which is no column", field.name, shown(&column));
                faults.add(node.span(), message, help);
            }
        }
        if field.name.as_str() == "as_of" { as_of = Some(field) } else { fields.push(field) }
    }
    if fields.is_empty() && faults.is_empty() {
        faults.add(node.span(), "the operation has no fields", None);
    }
    if fields.len() > FIELDS_MAX {
        faults.add(node.span(), format!("an operation has at most {FIELDS_MAX} fields"), None);
    }
    (fields, as_of)
}
