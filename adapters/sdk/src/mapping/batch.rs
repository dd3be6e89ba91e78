//! `[[operation]]` of kind `batch`: all rows of a statement, page by page in the order of a key. It has no parameter:
//! which rows may leave is the contract's.

use super::def::{Access, CodeTable, OperationDef, OperationKind, PageDef, SourceDef};
use super::fault::Faults;
use super::operation::{fields, sql, timeout};
use super::read::{Table, id, shown};
use std::collections::BTreeMap;
use std::sync::Arc;
use yiwang_proto::limits::ROWS_MAX;
use yiwang_proto::nearest::did_you_mean;

const KEYS: [&str; 8] = ["name", "kind", "key", "subject", "sql", "limit", "timeout", "fields"];

/// The column whose order pages follow.
pub(super) fn key(table: &Table<'_, '_>, faults: &mut Faults<'_>) -> Option<Arc<str>> {
    let key = table.need_text("key", faults).map(Arc::<str>::from);
    if key.as_ref().is_some_and(|key| key.is_empty() || key.len() > 128 || key.contains('\0')) {
        let help = "name a column of the statement whose values are unique and never null".to_owned();
        faults.add(table.key_span("key"), "`key` is no name of a column", Some(help));
    }
    key
}

pub(crate) fn read(
    table: &Table<'_, '_>,
    source: Option<&SourceDef>,
    codes: &BTreeMap<String, Arc<CodeTable>>,
    faults: &mut Faults<'_>,
) -> Option<OperationDef> {
    let server = match source? {
        SourceDef::Sqlite(_) => false,
        SourceDef::Postgres(_) | SourceDef::Mariadb(_) => true,
        SourceDef::Csv(_) | SourceDef::Http(_) | SourceDef::Fhir(_) => {
            let help = "hand batches over from a database, which can go on after a key".to_owned();
            faults.add(table.key_span("kind"), "this kind of source has no batches", Some(help));
            return None;
        }
    };
    if table.get("params").is_some() {
        let help = "take it out: which rows may leave is said in the contract".to_owned();
        faults.add(table.key_span("params"), "a batch has no `params`", Some(help));
    }
    table.only(&[&KEYS[..], &["params"]].concat(), faults);
    let span = table.get("name").map_or_else(|| table.span.clone(), toml::Spanned::span);
    let name = table.need_text("name", faults).and_then(|given| id(given, span.clone(), "name", faults));
    let key = key(table, faults);
    let statement = table.need("sql", faults).and_then(|node| sql(node, &[], server, faults));
    table.need("limit", faults);
    let limit = table.integer("limit", 1..i64::from(ROWS_MAX) + 1, faults);
    let timeout = timeout(table, "an exchange has 30 s at most; a page can have fewer rows", faults);
    let (fields, as_of) = fields(table, source, codes, faults);
    // Whose row it is: a tag of each subject stands in the statement, so that nobody is handed over unseen.
    let subject = table.text("subject", faults).and_then(|given| {
        let found = fields.iter().find(|field| field.name.as_str() == given && field.expr.is_none());
        if found.is_none() {
            let near = did_you_mean(given, fields.iter().map(|field| field.name.as_str()));
            let help = near.unwrap_or_else(|| {
                "name the field with the identifier; it is read, and leaves only where it is granted"
                    .to_owned()
            });
            let message =
                format!("`subject` names `{}`, which is no field that a column gives", shown(given));
            faults.add(table.key_span("subject"), message, Some(help));
        }
        found.map(|field| field.name.clone())
    });
    Some(OperationDef {
        name: name?,
        kind: OperationKind::Batch,
        subject: subject.clone(),
        params: Vec::new(),
        access: Access::Sql(statement?),
        limit: u32::try_from(limit?).unwrap_or(1),
        timeout: timeout?,
        fields,
        as_of,
        count: None,
        order: Vec::new(),
        page: Some(PageDef { key: key?, subject, most: u32::MAX }),
        span,
    })
}
