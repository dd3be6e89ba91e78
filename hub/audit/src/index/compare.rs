//! The index held against every entry that it reflects.

use super::schema::{self, prefixes};
use super::{Fault, SearchIndex, number};
use crate::accesses::find;
use crate::source::Entries;
use rusqlite::params;
use serde::Serialize;

/// Differences that are listed one by one; more are only counted.
const LISTED: usize = 1000;

/// One row that is not what the ledger says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The entry; none where the file as a whole is damaged.
    pub index: Option<u64>,
    /// What is missing or wrong.
    pub what: String,
}

/// All of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Differences {
    /// Ledger size that the index reflects.
    pub size: u64,
    /// Exchanges that were looked up.
    pub exchanges: u64,
    /// The differences, at most 1,000.
    pub listed: Vec<Difference>,
    /// All differences.
    pub total: u64,
}

impl Differences {
    fn add(&mut self, index: Option<u64>, what: impl Into<String>) {
        self.total += 1;
        if self.listed.len() < LISTED {
            self.listed.push(Difference { index, what: what.into() });
        }
    }
}

pub(super) fn compare(index: &SearchIndex, entries: &dyn Entries) -> Result<Differences, Fault> {
    let size = schema::size(&index.db)?;
    let mut differences = Differences { size, ..Differences::default() };
    let mut has_tag = index.db.prepare("SELECT count(*) FROM tags WHERE prefix = ?1 AND idx = ?2")?;
    let (mut tags, mut fault) = (0_u64, None);
    entries.each(entries.oldest(), &mut |at, bytes, _| {
        if at >= size {
            return false;
        }
        let mut one = || -> Result<(), Fault> {
            let Some(found) = find(at, &bytes)? else { return Ok(()) };
            differences.exchanges += 1;
            if let Some(what) = index.row_fault(&found)? {
                differences.add(Some(at), what);
            }
            for prefix in prefixes(&found) {
                tags += 1;
                let count: i64 = has_tag.query_row(params![prefix, number(at)], |row| row.get(0))?;
                if count != 1 {
                    differences
                        .add(Some(at), if count == 0 { "a tag is missing" } else { "a tag stands twice" });
                }
            }
            Ok(())
        };
        fault = one().err();
        fault.is_none()
    })?;
    if let Some(fault) = fault {
        return Err(fault);
    }
    let count = |sql: &str| index.db.query_row(sql, [], |row| row.get::<_, i64>(0));
    let rows = [
        (count("SELECT count(*) FROM exchanges NOT INDEXED")?, differences.exchanges, "rows"),
        (count("SELECT count(*) FROM tags NOT INDEXED")?, tags, "tags"),
    ];
    for (held, right, what) in rows {
        if held != number(right) {
            differences.add(None, format!("it holds {held} {what}, the ledger gives {right}"));
        }
    }
    // Whether a search by each column would find what the tables hold.
    let check: String = index.db.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
    if check != "ok" {
        differences.add(None, check);
    }
    Ok(differences)
}
