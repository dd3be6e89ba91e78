//! `order` of an operation on a database: in which order its rows come, and so which of them a limit leaves out. The
//! adapter asks for it outside of the mapping's statement, whose own `order by` a server may forget there.

use super::def::SourceDef;
use super::fault::Faults;
use super::read::{Table, text};
use std::sync::Arc;
use yiwang_proto::nearest::did_you_mean;

/// Columns of one order: more than tell rows apart are a mistake.
const COLUMNS_MAX: usize = 8;

/// A column by which rows are ordered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderDef {
    /// A column that the statement gives, whether a field reads it or not.
    pub column: Arc<str>,
    /// The largest first.
    pub descending: bool,
}

impl std::fmt::Display for OrderDef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}{}", self.column, if self.descending { " desc" } else { "" })
    }
}

pub(super) fn read(
    table: &Table<'_, '_>,
    source: Option<&SourceDef>,
    faults: &mut Faults<'_>,
) -> Vec<OrderDef> {
    let Some(node) = table.get("order") else { return Vec::new() };
    if matches!(source, Some(SourceDef::Csv(_))) {
        let help = "take it out: rows come as they stand in the files, the later file last".to_owned();
        faults.add(table.key_span("order"), "`order` does not fit this source", Some(help));
        return Vec::new();
    }
    let help = || Some("write it like order = [\"UPDATED desc\", \"ID\"]".to_owned());
    let Some(list) = table.list("order", faults) else { return Vec::new() };
    if !(1..=COLUMNS_MAX).contains(&list.len()) {
        faults.add(node.span(), format!("`order` has 1 to {COLUMNS_MAX} columns"), help());
    }
    let mut order: Vec<OrderDef> = Vec::new();
    for node in list {
        let Some(given) = text(node, "order", faults) else { continue };
        let (column, direction) =
            given.split_once(' ').map_or((given, "asc"), |(column, rest)| (column, rest));
        if !matches!(direction, "asc" | "desc") {
            let near = did_you_mean(direction, ["asc", "desc"]);
            faults.add(node.span(), "only asc and desc can follow a column of `order`", near.or_else(help));
        } else if !is_name(column) {
            let help = "name a column that the statement gives, in letters, digits and _; call it otherwise there: … as name";
            faults.add(node.span(), "`order` names no column", Some(help.to_owned()));
        } else if order.iter().any(|known| *known.column == *column) {
            faults.add(node.span(), "a column of `order` is listed twice", None);
        } else {
            order.push(OrderDef { column: Arc::from(column), descending: direction == "desc" });
        }
    }
    order
}

/// Letters of any script, as columns have them.
fn is_name(column: &str) -> bool {
    let mut letters = column.chars();
    column.len() <= 128
        && letters.next().is_some_and(|first| first.is_alphabetic() || first == '_')
        && letters.all(|c| c.is_alphanumeric() || c == '_')
}
