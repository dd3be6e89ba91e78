//! The `[source.<kind>]` table.

use super::date_format::{self, Of};
use super::def::{
    ColumnDef, ColumnType, CsvDef, Encoding, FreshnessDef, HealthDef, SourceCommon, SourceDef, SqliteDef,
};
use super::fault::Faults;
use super::read::{Node, Table, kind, one_of, shown, text};
use super::server;
use super::service_read;
use super::sql_text::scan;
use crate::source::Setting;
use crate::value::zone;
use jiff::tz::TimeZone;
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use toml::de::DeValue;
use yiwang_proto::nearest::{did_you_mean, meant};

/// What of a folder is read where a mapping does not say.
pub const FILES: &str = "*.csv";

const KINDS: [&str; 6] = ["sqlite", "postgres", "mariadb", "csv", "http", "fhir"];

pub(crate) fn read(node: &Node<'_>, faults: &mut Faults<'_>) -> Option<SourceDef> {
    let all = Table::of(node, "source", faults)?;
    let entries = all.entries();
    let [(kind, span, node)] = entries.as_slice() else {
        let help = format!("one of: [source.{}]", KINDS.join("], [source."));
        faults.add(node.span(), "source names not exactly one kind of source", Some(help));
        return None;
    };
    match *kind {
        "sqlite" => sqlite(&Table::of(node, "source.sqlite", faults)?, faults),
        "csv" => csv(&Table::of(node, "source.csv", faults)?, faults),
        "postgres" => {
            server::read(&Table::of(node, "source.postgres", faults)?, faults).map(SourceDef::Postgres)
        }
        "mariadb" => {
            server::read(&Table::of(node, "source.mariadb", faults)?, faults).map(SourceDef::Mariadb)
        }
        "http" => service_read::http(&Table::of(node, "source.http", faults)?, faults),
        "fhir" => service_read::fhir(&Table::of(node, "source.fhir", faults)?, faults),
        other => {
            let help = match meant(other, KINDS) {
                _ if other == "mysql" => "write [source.mariadb]: MySQL speaks the same protocol".to_owned(),
                _ if other == "postgresql" => "did you mean `postgres`?".to_owned(),
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("known sources: {}", KINDS.join(", ")),
            };
            faults.add(span.clone(), format!("source kind `{}` is not known", shown(other)), Some(help));
            None
        }
    }
}

fn sqlite(table: &Table<'_, '_>, faults: &mut Faults<'_>) -> Option<SourceDef> {
    table.only(&["path", "read_only", "time_zone", "health", "freshness"], faults);
    let path = table.need("path", faults).and_then(|node| setting(node, "path", faults));
    read_only(table, faults);
    let common = common(table, true, faults);
    Some(SourceDef::Sqlite(SqliteDef { path: path?, common }))
}

pub(super) fn read_only(table: &Table<'_, '_>, faults: &mut Faults<'_>) {
    if table.boolean("read_only", faults) == Some(false) {
        faults.add(
            table.key_span("read_only"),
            "a source is always read only",
            Some("write read_only = true, or leave it out".to_owned()),
        );
    }
}

fn csv(table: &Table<'_, '_>, faults: &mut Faults<'_>) -> Option<SourceDef> {
    table.only(
        &["folder", "files", "encoding", "time_zone", "key", "columns", "health", "freshness", "read_only"],
        faults,
    );
    let folder = table.need("folder", faults).and_then(|node| setting(node, "folder", faults));
    let files = match table.get("files") {
        None => Some(FILES),
        Some(_) => table.text("files", faults),
    };
    if files.is_some_and(|files| {
        files.is_empty() || files.len() > 128 || files.starts_with('.') || files.contains(['/', '\\', '\0'])
    }) {
        faults.add(
            table.key_span("files"),
            "`files` is not a file name",
            Some("a name with * and ?, without folders".to_owned()),
        );
    }
    let encoding = table.need("encoding", faults).and_then(|node| {
        let choices = [("utf-8", Encoding::Utf8), ("gbk", Encoding::Gbk)];
        one_of(node, "encoding", &choices, faults)
    });
    let columns = columns(table.need("columns", faults)?, faults);
    let key = table.text("key", faults).map(Arc::<str>::from);
    if let Some(key) = &key
        && !columns.contains_key(key)
    {
        let help = did_you_mean(key, columns.keys().map(AsRef::as_ref));
        let span = table.get("key").map_or(0..0, toml::Spanned::span);
        faults.add(span, format!("`key` names `{}`, which is no column", shown(key)), help);
    }
    let common = common(table, false, faults);
    Some(SourceDef::Csv(CsvDef {
        folder: folder?,
        files: files?.to_owned(),
        encoding: encoding?,
        key,
        columns,
        common,
    }))
}

fn columns(node: &Node<'_>, faults: &mut Faults<'_>) -> BTreeMap<Arc<str>, ColumnDef> {
    let mut columns = BTreeMap::new();
    if let DeValue::Array(names) = node.get_ref() {
        return strings(names, faults);
    }
    let Some(table) = Table::of(node, "source.csv.columns", faults) else { return columns };
    for (name, span, node) in table.entries() {
        if !is_column(name, span, faults) {
            continue;
        }
        let (kind, format) = match node.get_ref() {
            DeValue::Table(_) => {
                let what = format!("column `{}`", shown(name));
                let Some(inner) = Table::of(node, what, faults) else { continue };
                inner.only(&["type", "format"], faults);
                let kind = inner.need("type", faults).and_then(|node| column_type(name, node, faults));
                let written = match kind {
                    Some(ColumnType::Date) => Some(Of::Day),
                    Some(ColumnType::Timestamp) => Some(Of::Moment),
                    _ => None,
                };
                (kind, date_format::of_values(&inner, written, faults))
            }
            _ => (column_type(name, node, faults), None),
        };
        let Some(kind) = kind else { continue };
        if format.is_some() && !matches!(kind, ColumnType::Date | ColumnType::Timestamp) {
            faults.add(node.span(), "only a date or timestamp has a format", None);
        }
        columns.insert(Arc::from(name), ColumnDef { kind, format });
    }
    columns
}

/// Columns that are texts, by their names alone.
fn strings(names: &[Node<'_>], faults: &mut Faults<'_>) -> BTreeMap<Arc<str>, ColumnDef> {
    let mut columns = BTreeMap::new();
    for node in names {
        let Some(name) = text(node, "columns", faults) else { continue };
        if !is_column(name, node.span(), faults) {
            continue;
        }
        let column = ColumnDef { kind: ColumnType::String, format: None };
        if columns.insert(Arc::from(name), column).is_some() {
            faults.add(node.span(), format!("column `{}` is listed twice", shown(name)), None);
        }
    }
    columns
}

fn is_column(name: &str, span: Range<usize>, faults: &mut Faults<'_>) -> bool {
    let fits = !name.is_empty() && name.len() <= 128 && !name.contains('@');
    if !fits {
        faults.add(span, "a column name has 1 to 128 bytes and no @", None);
    }
    fits
}

const COLUMN_TYPES: [(&str, ColumnType); 6] = [
    ("string", ColumnType::String),
    ("integer", ColumnType::Integer),
    ("number", ColumnType::Number),
    ("bool", ColumnType::Bool),
    ("date", ColumnType::Date),
    ("timestamp", ColumnType::Timestamp),
];

/// What databases and programs call these types.
const OTHER_NAMES: [(&str, &str); 9] = [
    ("text", "string"),
    ("varchar", "string"),
    ("char", "string"),
    ("int", "integer"),
    ("float", "number"),
    ("double", "number"),
    ("decimal", "number"),
    ("boolean", "bool"),
    ("datetime", "timestamp"),
];

fn column_type(column: &str, node: &Node<'_>, faults: &mut Faults<'_>) -> Option<ColumnType> {
    let column = shown(column);
    let DeValue::String(given) = node.get_ref() else {
        let message = format!("the type of column `{column}` is {}, not a text", kind(node.get_ref()));
        faults.add(node.span(), message, None);
        return None;
    };
    let found = COLUMN_TYPES.iter().find(|(name, _)| *name == &**given).map(|(_, kind)| *kind);
    if found.is_none() {
        let names = COLUMN_TYPES.map(|(name, _)| name);
        let word = given.split(|c: char| !c.is_ascii_alphabetic()).next().unwrap_or_default();
        let other = OTHER_NAMES.iter().find(|(other, _)| other.eq_ignore_ascii_case(word));
        let near = other.map(|(_, name)| *name).or_else(|| meant(given, names));
        let near = near.map(|near| format!("did you mean `{near}`? ")).unwrap_or_default();
        let help = format!("{near}a column is one of: {}", names.join(", "));
        // What is as long as no type's name may be anything.
        let is_short = given.len() <= 24 && given.bytes().all(|b| b.is_ascii_graphic());
        let written = if is_short { format!("the type `{given}`") } else { "a type".to_owned() };
        faults.add(node.span(), format!("column `{column}` has {written}, which is not known"), Some(help));
    }
    found
}

pub(super) fn common(table: &Table<'_, '_>, sql: bool, faults: &mut Faults<'_>) -> SourceCommon {
    SourceCommon {
        health: health(table, sql, faults),
        freshness: freshness(table, sql, faults),
        zone: zone_of(table, faults),
        span: table.span.clone(),
    }
}

/// The zone that a source must name.
pub(crate) fn zone_of(table: &Table<'_, '_>, faults: &mut Faults<'_>) -> TimeZone {
    let zone = match table.need("time_zone", faults).and_then(|node| text(node, "time_zone", faults)) {
        None => None,
        Some(name) => {
            let found = zone(name);
            if found.is_none() {
                let span = table.get("time_zone").map_or(0..0, toml::Spanned::span);
                let help = "write a name of the IANA table, like \"Asia/Shanghai\" or \"UTC\"";
                faults.add(span, "`time_zone` is not known", Some(help.to_owned()));
            }
            found
        }
    };
    // A zone that is not known is a fault already, so this UTC never serves.
    zone.unwrap_or(TimeZone::UTC)
}

fn health(table: &Table<'_, '_>, sql: bool, faults: &mut Faults<'_>) -> HealthDef {
    let every = Duration::from_secs(15);
    let fallback = HealthDef { probe: sql.then(|| "select 1".to_owned()), every, unhealthy_after: 3 };
    let Some(inner) = table.get("health").and_then(|node| Table::of(node, "health", faults)) else {
        return fallback;
    };
    inner.only(&["probe", "every", "unhealthy_after"], faults);
    HealthDef {
        probe: probe(&inner, sql, faults).or(fallback.probe),
        every: inner.duration("every", faults).unwrap_or(every),
        unhealthy_after: inner
            .integer("unhealthy_after", 1..101, faults)
            .and_then(|count| u32::try_from(count).ok())
            .unwrap_or(3),
    }
}

fn freshness(table: &Table<'_, '_>, sql: bool, faults: &mut Faults<'_>) -> Option<FreshnessDef> {
    let inner = table.get("freshness").and_then(|node| Table::of(node, "freshness", faults))?;
    inner.only(&["probe", "warn", "fail"], faults);
    if sql {
        inner.need("probe", faults);
    }
    inner.need("warn", faults);
    inner.need("fail", faults);
    let (warn, fail) = (inner.duration("warn", faults)?, inner.duration("fail", faults)?);
    if warn > fail {
        faults.add(inner.key_span("warn"), "freshness.warn is longer than freshness.fail", None);
    }
    Some(FreshnessDef { probe: probe(&inner, sql, faults), warn, fail })
}

fn probe(table: &Table<'_, '_>, sql: bool, faults: &mut Faults<'_>) -> Option<String> {
    let statement = table.text("probe", faults)?;
    let span = table.get("probe").map_or(0..0, toml::Spanned::span);
    if !sql {
        faults.add(span, "a folder of files has no probe", Some("leave `probe` out".to_owned()));
        return None;
    }
    let scanned = scan(statement);
    for fault in &scanned.faults {
        faults.add(span.clone(), *fault, None);
    }
    if !scanned.params.is_empty() {
        faults.add(span, "a probe has no parameters", None);
    }
    Some(statement.to_owned())
}

/// A setting: `{ env = "…" }`, `{ file = "…" }` or a plain path.
pub(crate) fn setting(node: &Node<'_>, key: &str, faults: &mut Faults<'_>) -> Option<Setting> {
    match node.get_ref() {
        DeValue::String(plain) if plain.contains("://") => {
            let help = "write { env = \"NAME\" } or { file = \"path\" }";
            faults.add(node.span(), format!("`{key}` is an address, not a path"), Some(help.to_owned()));
            None
        }
        DeValue::String(plain) => Some(Setting::Plain(plain.to_string())),
        DeValue::Table(_) => reference(node, key, faults),
        other => {
            faults.add(node.span(), format!("`{key}` is {}, not a path", kind(other)), None);
            None
        }
    }
}

/// `{ env = "…" }` or `{ file = "…" }`.
pub(super) fn reference(node: &Node<'_>, key: &str, faults: &mut Faults<'_>) -> Option<Setting> {
    let table = Table::of(node, format!("`{key}`"), faults)?;
    table.only(&["env", "file"], faults);
    match (table.text("env", faults), table.text("file", faults)) {
        (Some(name), None) if !name.is_empty() => Some(Setting::Env(name.to_owned())),
        (None, Some(path)) if !path.is_empty() => Some(Setting::File(PathBuf::from(path))),
        _ => {
            faults.add(node.span(), format!("`{key}` names not exactly one of env and file"), None);
            None
        }
    }
}
