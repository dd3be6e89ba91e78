//! A mapping file as a whole.

use super::def::{CodeTable, OperationDef, OperationKind, UnknownCode};
use super::fault::{Faults, MappingFault};
use super::read::{Table, id, one_of, text};
use super::{FORMAT, MAPPING_MAX, Mapping, operation, source, test_table};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use toml::de::{DeTable, DeValue};

/// How the format of an adapter.toml begins, which lies beside the mappings and is easily named instead of one.
const OF_HOST: &str = "adapter-host/";

pub(crate) fn parse(text: &str, file: &Path) -> Result<Mapping, Vec<MappingFault>> {
    let mut faults = Faults::new(file, text);
    if text.len() > MAPPING_MAX {
        faults.add(0..0, format!("mapping is over {MAPPING_MAX} bytes"), None);
        return Err(faults.finish());
    }
    let (document, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        for error in errors.iter().take(20) {
            faults.add(error.span().unwrap_or(0..0), format!("not TOML: {}", error.message()), None);
        }
        return Err(faults.finish());
    }
    let root = Table::root(document.get_ref());
    // Everything in it would be a fault, and none of them the one that was made.
    if let Some(node) = root.get("format")
        && matches!(node.get_ref(), DeValue::String(format) if format.starts_with(OF_HOST))
    {
        let help = "`yiwang adapter check --config FILE` checks it with the mappings that it lists";
        faults.add(node.span(), "this is an adapter.toml and no mapping", Some(help.to_owned()));
        return Err(faults.finish());
    }
    root.only(&["format", "mapping", "record", "owner", "source", "codes", "operation", "test"], &mut faults);
    let mapping = build(&root, &mut faults, file);
    match mapping {
        Some(mapping) if faults.is_empty() => Ok(mapping),
        _ => Err(faults.finish()),
    }
}

fn build(root: &Table<'_, '_>, faults: &mut Faults<'_>, file: &Path) -> Option<Mapping> {
    let format = root.need_text("format", faults);
    if format.is_some_and(|format| format != FORMAT) {
        let span = root.get("format").map_or(0..0, toml::Spanned::span);
        faults.add(span, "format is not known", Some(format!("this program reads `{FORMAT}`")));
    }
    let name = root.need_text("mapping", faults);
    if let (Some(name), Some(node)) = (name, root.get("mapping"))
        && !(3..=64).contains(&name.len())
    {
        faults.add(node.span(), "`mapping` is not a name of 3 to 64 characters", None);
    }
    let record = root
        .need_text("record", faults)
        .zip(root.get("record"))
        .and_then(|(text, node)| id(text, node.span(), "record", faults));
    let owner = root
        .need_text("owner", faults)
        .zip(root.get("owner"))
        .and_then(|(text, node)| id(text, node.span(), "owner", faults));
    let source = root.need("source", faults).and_then(|node| source::read(node, faults));
    let codes = root.get("codes").map(|node| code_tables(node, faults)).unwrap_or_default();
    let operations = operations(root, source.as_ref(), &codes, faults);
    let codes = with_inline(codes, &operations);
    let tests = test_table::read_all(root, &operations, source.as_ref(), faults);
    Some(Mapping {
        file: file.to_path_buf(),
        digest: yiwang_proto::sha256(faults.text().as_bytes()),
        name: name?.to_owned(),
        name_span: root.get("mapping").map_or(0..0, toml::Spanned::span),
        record: record?,
        record_span: root.get("record").map_or(0..0, toml::Spanned::span),
        owner: owner?,
        source: source?,
        codes,
        operations,
        tests,
    })
}

fn operations(
    root: &Table<'_, '_>,
    source: Option<&super::SourceDef>,
    codes: &BTreeMap<String, Arc<CodeTable>>,
    faults: &mut Faults<'_>,
) -> Vec<Arc<OperationDef>> {
    let Some(node) = root.need("operation", faults) else { return Vec::new() };
    let Some(list) = root.list("operation", faults) else { return Vec::new() };
    if !(1..=32).contains(&list.len()) {
        faults.add(node.span(), "a mapping has 1 to 32 operations", None);
    }
    let mut operations: Vec<Arc<OperationDef>> = Vec::new();
    for item in list {
        let Some(table) = Table::of(item, "an operation", faults) else { continue };
        let Some(operation) = operation::read(&table, source, codes, faults) else { continue };
        if operations.iter().any(|known| known.name == operation.name) {
            faults.add(operation.span.clone(), "an operation of this name is there already", None);
        }
        let counts = |known: &OperationDef| known.kind == OperationKind::Count;
        if counts(&operation) && operations.iter().any(|known| counts(known)) {
            let help = "keep one table; coarser answers follow from it, and what one suppresses another may give away";
            faults.add(operation.span.clone(), "a second count of the record", Some(help.to_owned()));
        }
        operations.push(Arc::new(operation));
    }
    operations
}

fn code_tables(node: &super::read::Node<'_>, faults: &mut Faults<'_>) -> BTreeMap<String, Arc<CodeTable>> {
    let mut tables = BTreeMap::new();
    let Some(all) = Table::of(node, "codes", faults) else { return tables };
    for (name, span, node) in all.entries() {
        let what = format!("codes.{}", super::read::shown(name));
        let Some(table) = Table::of(node, what, faults) else { continue };
        let codes = code_table(name, span, &table, faults);
        tables.insert(name.to_owned(), Arc::new(codes));
    }
    tables
}

/// Tables that stand in a field, under the names of operation and field, so that they are judged like the others.
fn with_inline(
    mut codes: BTreeMap<String, Arc<CodeTable>>,
    operations: &[Arc<OperationDef>],
) -> BTreeMap<String, Arc<CodeTable>> {
    for operation in operations {
        for field in &operation.fields {
            let inline =
                field.codes.as_ref().filter(|table| !codes.values().any(|known| Arc::ptr_eq(known, table)));
            if let Some(table) = inline.cloned() {
                // None that the file names is lost: all are judged.
                let mut name = format!("{}.{}", operation.name, field.name);
                while codes.contains_key(&name) {
                    name.push('\'');
                }
                codes.insert(name, table);
            }
        }
    }
    codes
}

pub(super) fn code_table(
    name: &str,
    span: std::ops::Range<usize>,
    table: &Table<'_, '_>,
    faults: &mut Faults<'_>,
) -> CodeTable {
    let mut words = BTreeMap::new();
    // A table with a fault is kept, so that fields that name it do not show a second one; the mapping is
    // refused all the same.
    let mut unknown = None;
    for (code, _, node) in table.entries() {
        if code == "unknown" {
            let choices =
                [("fail", UnknownCode::Fail), ("null", UnknownCode::Null), ("keep", UnknownCode::Keep)];
            unknown = one_of(node, "unknown", &choices, faults);
        } else if let Some(word) = text(node, code, faults) {
            words.insert(code.to_owned(), word.to_owned());
        }
    }
    if table.get("unknown").is_none() {
        faults.add(
            span.clone(),
            format!("{} lacks `unknown`", table.what),
            Some(
                "say what happens to codes that are not listed: unknown = \"fail\", \"null\" or \"keep\""
                    .into(),
            ),
        );
    }
    if words.is_empty() {
        faults.add(span.clone(), format!("{} lists no code", table.what), None);
    }
    CodeTable { name: name.to_owned(), words, unknown: unknown.unwrap_or(UnknownCode::Fail), span }
}
