//! `key` and `pages` of a search: its rows come page by page in the order of a column, and each answer says what the
//! next page is asked for with. Without them a search ends at its limit.

use super::batch;
use super::def::{OperationKind, PageDef, ParamDef, SourceDef};
use super::fault::Faults;
use super::order::OrderDef;
use super::read::Table;
use crate::batch::RESUME;
use yiwang_proto::limits::ARGUMENTS_MAX;

/// Pages of one question where a mapping does not say. A search is what somebody reads; who needs all rows has a
/// contract for batches.
const PAGES: u32 = 10;
/// Pages that a mapping may allow: more is no question.
const PAGES_MAX: i64 = 20;

pub(super) fn read(
    table: &Table<'_, '_>,
    source: Option<&SourceDef>,
    kind: Option<OperationKind>,
    (params, order): (&[ParamDef], &[OrderDef]),
    faults: &mut Faults<'_>,
) -> Option<PageDef> {
    let pages = table.integer("pages", 1..PAGES_MAX + 1, faults);
    if table.get("key").is_none() {
        if table.get("pages").is_some() {
            let help = "add key = \"…\", a column of the statement whose values are unique and never null";
            faults.add(table.key_span("pages"), "`pages` says nothing without `key`", Some(help.to_owned()));
        }
        return None;
    }
    let span = table.key_span("key");
    let database = matches!(source?, SourceDef::Sqlite(_) | SourceDef::Postgres(_) | SourceDef::Mariadb(_));
    if !database {
        let help = "take `key` out: only a database can go on after a key".to_owned();
        faults.add(span, "this kind of source has no pages", Some(help));
        return None;
    }
    if kind.is_some_and(|kind| kind != OperationKind::Search) {
        let help =
            "make it kind = \"search\", or take `key` out: what is looked up comes in one answer".to_owned();
        faults.add(span, "only a search or a batch has a `key`", Some(help));
        return None;
    }
    if !order.is_empty() {
        let help = "take `order` out, or `key`: pages come in the order of their key".to_owned();
        faults.add(table.key_span("order"), "`order` does not go with `key`", Some(help));
    }
    for param in params.iter().filter(|param| param.name.as_str() == RESUME) {
        let message = format!("parameter `{}` has the name by which a next page is asked for", param.name);
        faults.add(table.key_span("params"), message, Some("call it otherwise".to_owned()));
    }
    // A search without a question would be a batch, which has a contract of its own.
    if params.iter().all(|param| param.optional) {
        let help = "give it a parameter that is not optional; who needs all rows has kind = \"batch\" and a contract for it";
        faults.add(
            table.key_span("key"),
            "pages need a question: every parameter is optional, or there is none",
            Some(help.to_owned()),
        );
    }
    if params.len() >= ARGUMENTS_MAX {
        let message = format!("a search in pages has at most {} parameters", ARGUMENTS_MAX - 1);
        faults.add(
            table.key_span("params"),
            message,
            Some("the next page is asked for with one more".to_owned()),
        );
    }
    let most = pages.and_then(|pages| u32::try_from(pages).ok()).unwrap_or(PAGES);
    Some(PageDef { key: batch::key(table, faults)?, subject: None, most })
}
