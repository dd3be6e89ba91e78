//! Tables of the index. Repeated texts stand once: what an exchange has in common with many others is its
//! shape, and few shapes make a search over any combination of them short.

use super::Fault;
use crate::accesses::{Access, Found};
use rusqlite::{Connection, OptionalExtension as _, params};
use std::collections::HashMap;
use yiwang_proto::tag::Tag;

/// Changes with every change of tables or of what a row means.
pub(super) const FORMAT: &str = "yiwang-search/4";

/// Is there where the time of an exchange is before that of an earlier one.
pub(super) const WENT_BACK: &str = "went_back";

/// Tables; on a rebuild the SQL indexes follow when all rows are in.
pub(super) const TABLES: &str = "
    CREATE TABLE meta (name TEXT PRIMARY KEY, value BLOB NOT NULL);
    CREATE TABLE shapes (
        id INTEGER PRIMARY KEY, peer TEXT NOT NULL, consumer TEXT NOT NULL, app TEXT NOT NULL,
        provider TEXT NOT NULL, contract TEXT NOT NULL, purpose TEXT NOT NULL, record TEXT NOT NULL,
        outcome TEXT NOT NULL, code TEXT NOT NULL
    );
    CREATE TABLE officers (id INTEGER PRIMARY KEY, name TEXT NOT NULL);
    CREATE TABLE exchanges (
        idx INTEGER PRIMARY KEY, time_ms INTEGER NOT NULL, shape INTEGER NOT NULL, officer INTEGER, case_id BLOB
    );
    CREATE TABLE tags (prefix INTEGER NOT NULL, idx INTEGER NOT NULL);
";

pub(super) const INDEXES: &str = "
    CREATE INDEX exchanges_shape ON exchanges (shape);
    CREATE INDEX exchanges_time ON exchanges (time_ms);
    CREATE INDEX exchanges_officer ON exchanges (officer) WHERE officer IS NOT NULL;
    CREATE INDEX exchanges_case ON exchanges (case_id) WHERE case_id IS NOT NULL;
    CREATE INDEX tags_prefix ON tags (prefix, idx);
";

/// What many exchanges have in common: peer, consumer, app, provider, contract, purpose, record, outcome, code.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Shape(pub [String; 9]);

impl Shape {
    pub fn of(found: &Found) -> Self {
        let row = &found.access;
        Self([
            row.peer.clone(),
            row.consumer.clone(),
            row.app.clone(),
            row.provider.clone(),
            row.contract.clone(),
            row.purpose.clone(),
            row.record.clone(),
            row.outcome.clone(),
            row.code.clone(),
        ])
    }

    /// An exchange of this shape, for filters.
    pub fn example(&self) -> Found {
        let [peer, consumer, app, provider, contract, purpose, record, outcome, code] = self.0.clone();
        let access = Access {
            peer,
            consumer,
            app,
            provider,
            contract,
            purpose,
            record,
            outcome,
            code,
            ..Access::default()
        };
        Found { access, ..Found::default() }
    }
}

/// Counts stay far below the limit of the database's signed numbers.
pub(super) fn word(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// The part of a tag that is indexed; the whole tag is compared when the entry is read again.
pub(super) fn prefix(tag: &Tag) -> i64 {
    let [a, b, c, d, e, f, g, h, ..] = *tag;
    i64::from_be_bytes([a, b, c, d, e, f, g, h])
}

/// Stands among the tags of a page of a batch that has the root over its tags only, so that such pages are counted where
/// a tag is looked for. A tag with this prefix is told from it when the entry is read again.
pub(super) const ROOTED: i64 = 0;

/// The prefixes of an exchange's tags, each once.
pub(super) fn prefixes(found: &Found) -> Vec<i64> {
    let mut prefixes: Vec<i64> = found.tags.iter().map(prefix).collect();
    prefixes.extend(found.page.map(|_| ROOTED));
    prefixes.sort_unstable();
    prefixes.dedup();
    prefixes
}

/// The 16 bytes of a case id; none where the request is not kept.
pub(super) fn case_bytes(text: &str) -> Option<[u8; 16]> {
    let digits = text.bytes().filter(|byte| *byte != b'-');
    let mut number = 0_u128;
    let mut count = 0;
    for digit in digits {
        number = (number << 4) | u128::from(char::from(digit).to_digit(16)?);
        count += 1;
    }
    (count == 32).then(|| number.to_be_bytes())
}

pub(super) fn meta(db: &Connection, name: &str) -> Result<Option<Vec<u8>>, Fault> {
    let value = db.query_row("SELECT value FROM meta WHERE name = ?1", [name], |row| row.get(0));
    Ok(value.optional()?)
}

pub(super) fn set_meta(db: &Connection, name: &str, value: &[u8]) -> Result<(), Fault> {
    db.execute("INSERT OR REPLACE INTO meta (name, value) VALUES (?1, ?2)", params![name, value])?;
    Ok(())
}

/// The ledger size that the rows reflect.
pub(super) fn size(db: &Connection) -> Result<u64, Fault> {
    meta(db, "size")?
        .and_then(|bytes| bytes.try_into().ok())
        .map(u64::from_be_bytes)
        .ok_or_else(|| Fault::Doubt("it does not say what it reflects".to_owned()))
}

pub(super) fn shapes(db: &Connection) -> Result<HashMap<Shape, i64>, Fault> {
    let mut select = db.prepare(
        "SELECT id, peer, consumer, app, provider, contract, purpose, record, outcome, code FROM shapes",
    )?;
    let rows = select.query_map([], |row| {
        let mut texts: [String; 9] = Default::default();
        for (place, text) in texts.iter_mut().enumerate() {
            *text = row.get(place + 1)?;
        }
        Ok((Shape(texts), row.get(0)?))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

pub(super) fn officers(db: &Connection) -> Result<HashMap<String, i64>, Fault> {
    let mut select = db.prepare("SELECT name, id FROM officers")?;
    let rows = select.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}
