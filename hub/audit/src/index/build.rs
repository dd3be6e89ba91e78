//! Filling the index: from nothing, in one transaction with the SQL indexes last; or from where it ended.

use super::schema::{self, FORMAT, INDEXES, Shape, TABLES, WENT_BACK, case_bytes, prefixes, set_meta, word};
use super::{Fault, number};
use crate::accesses::{Found, glance};
use crate::error::AuditError;
use crate::parallel;
use crate::source::Entries;
use bytes::Bytes;
use rusqlite::{Connection, OpenFlags, Statement, TransactionBehavior, params};
use std::collections::HashMap;
use std::fs::File;
use std::path::Path;
use std::sync::mpsc;
use yiwang_proto::merkle::Hash;

/// Entries that are read and taken apart at once, and committed at once while catching up.
const CHUNK: usize = 8192;
/// Chunks that wait for the database: it is the slower half, so one being made and one waiting will do.
const WAITING: usize = 2;

/// A run of entries, taken apart.
struct Chunk {
    found: Vec<Found>,
    /// Entries up to here, and the leaf hash of the last.
    end: u64,
    last: Hash,
}

/// Builds beside and renames, so that a half-made index is never found.
pub(super) fn on_disk(path: &Path, entries: &dyn Entries) -> Result<(), Fault> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    // The process in the name: another one may build the same index now, and the last rename wins.
    name.push(format!(".{}.new", std::process::id()));
    let new = path.with_file_name(name);
    let io = |error: std::io::Error| Fault::Doubt(error.to_string());
    match std::fs::remove_file(&new) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(io(error)),
        _ => {}
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
    let mut db = Connection::open_with_flags(&new, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    // Nothing of a build that was interrupted is kept, so it needs no journal of its own.
    db.execute_batch("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -65536;")?;
    fill_new(&mut db, entries)?;
    db.close().map_err(|(_, error)| Fault::from(error))?;
    File::open(&new).and_then(|file| file.sync_all()).map_err(io)?;
    // What belongs to the old file must not be taken for the new one's.
    let mut old = path.as_os_str().to_owned();
    old.push("-journal");
    match std::fs::remove_file(old) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(io(error)),
        _ => {}
    }
    std::fs::rename(&new, path).map_err(io)
}

/// Fills an empty database with everything.
pub(super) fn fill_new(db: &mut Connection, entries: &dyn Entries) -> Result<(), Fault> {
    let transaction = db.transaction()?;
    transaction.execute_batch(TABLES)?;
    set_meta(&transaction, "format", FORMAT.as_bytes())?;
    set_meta(&transaction, "size", &entries.oldest().to_be_bytes())?;
    let (mut shapes, mut officers) = (HashMap::new(), HashMap::new());
    fill(&transaction, &mut shapes, &mut officers, entries, u64::MAX)?;
    transaction.execute_batch(INDEXES)?;
    transaction.commit()?;
    Ok(())
}

/// Takes up to `most` entries more, chunk by chunk; another program may do the same at the same time.
pub(super) fn catch_up(
    db: &mut Connection,
    shapes: &mut HashMap<Shape, i64>,
    officers: &mut HashMap<String, i64>,
    entries: &dyn Entries,
    most: u64,
) -> Result<(), Fault> {
    let target = schema::size(db)?.saturating_add(most).min(entries.size());
    while schema::size(db)? < target {
        let transaction = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        // Somebody else may have added shapes and rows before this transaction began.
        (*shapes, *officers) = (schema::shapes(&transaction)?, schema::officers(&transaction)?);
        let before = schema::size(&transaction)?;
        let part = target.saturating_sub(before).min(CHUNK as u64 * 4);
        fill(&transaction, shapes, officers, entries, part)?;
        let after = schema::size(&transaction)?;
        transaction.commit()?;
        if after <= before {
            break;
        }
    }
    Ok(())
}

/// Reading and taking apart runs beside the insertion.
fn fill(
    db: &Connection,
    shapes: &mut HashMap<Shape, i64>,
    officers: &mut HashMap<String, i64>,
    entries: &dyn Entries,
    most: u64,
) -> Result<(), Fault> {
    let from = schema::size(db)?;
    let end = from.saturating_add(most).min(entries.size());
    if from >= end {
        return Ok(());
    }
    if from == entries.oldest() {
        set_meta(db, "first_leaf", &entries.entry(from)?.1)?;
    }
    let mut newest_ms: i64 =
        db.query_row("SELECT coalesce(max(time_ms), ?1) FROM exchanges", [i64::MIN], |row| row.get(0))?;
    let mut went_back = false;
    let mut rows = Inserts::new(db, shapes, officers)?;
    let (sender, chunks) = mpsc::sync_channel(WAITING);
    let done = std::thread::scope(|scope| {
        let reading = scope.spawn(move || read(entries, from, end, &sender));
        let mut last = None;
        for chunk in chunks {
            let chunk: Chunk = chunk;
            for found in &chunk.found {
                rows.insert(found)?;
                went_back |= found.time_ms < newest_ms;
                newest_ms = newest_ms.max(found.time_ms);
            }
            last = Some((chunk.end, chunk.last));
        }
        reading.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        Ok::<_, Fault>(last)
    })?;
    if went_back {
        set_meta(db, WENT_BACK, &[])?;
    }
    if let Some((end, leaf)) = done {
        set_meta(db, "size", &end.to_be_bytes())?;
        set_meta(db, "last_leaf", &leaf)?;
    }
    Ok(())
}

fn read(entries: &dyn Entries, from: u64, end: u64, to: &mpsc::SyncSender<Chunk>) -> Result<(), AuditError> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(16);
    let mut run: Vec<(u64, Bytes)> = Vec::with_capacity(CHUNK);
    let mut last = Hash::default();
    let mut result = Ok(());
    let hand_over = |run: &mut Vec<(u64, Bytes)>, end: u64, last: Hash| -> Result<bool, AuditError> {
        let parts = parallel::map(std::mem::take(run), threads, |(index, bytes)| glance(index, &bytes));
        let mut found = Vec::with_capacity(parts.len());
        for part in parts {
            found.extend(part?);
        }
        // The other half is gone only after an error of its own.
        Ok(to.send(Chunk { found, end, last }).is_ok())
    };
    entries.each(from, &mut |index, bytes, leaf| {
        run.push((index, bytes));
        last = leaf;
        if run.len() < CHUNK && index + 1 < end {
            return true;
        }
        match hand_over(&mut run, index + 1, last) {
            Ok(more) => more && index + 1 < end,
            Err(error) => {
                result = Err(error);
                false
            }
        }
    })?;
    result
}

/// The statements that insert, prepared once.
struct Inserts<'a> {
    exchange: Statement<'a>,
    tag: Statement<'a>,
    shape: Statement<'a>,
    officer: Statement<'a>,
    shapes: &'a mut HashMap<Shape, i64>,
    officers: &'a mut HashMap<String, i64>,
}

impl<'a> Inserts<'a> {
    fn new(
        db: &'a Connection,
        shapes: &'a mut HashMap<Shape, i64>,
        officers: &'a mut HashMap<String, i64>,
    ) -> Result<Self, Fault> {
        Ok(Self {
            exchange: db.prepare(
                "INSERT INTO exchanges (idx, time_ms, shape, officer, case_id) VALUES (?1, ?2, ?3, ?4, ?5)",
            )?,
            tag: db.prepare("INSERT INTO tags (prefix, idx) VALUES (?1, ?2)")?,
            shape: db.prepare("INSERT INTO shapes VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)")?,
            officer: db.prepare("INSERT INTO officers (id, name) VALUES (?1, ?2)")?,
            shapes,
            officers,
        })
    }

    fn insert(&mut self, found: &Found) -> Result<(), Fault> {
        let index = number(found.access.index);
        let shape = self.shape_of(found)?;
        let officer = self.officer_of(&found.access.officer)?;
        let case = case_bytes(&found.access.case);
        self.exchange.execute(params![
            index,
            found.time_ms,
            shape,
            officer,
            case.as_ref().map(|id| &id[..])
        ])?;
        for prefix in prefixes(found) {
            self.tag.execute(params![prefix, index])?;
        }
        Ok(())
    }

    fn shape_of(&mut self, found: &Found) -> Result<i64, Fault> {
        let shape = Shape::of(found);
        if let Some(id) = self.shapes.get(&shape) {
            return Ok(*id);
        }
        let id = word(self.shapes.len() as u64) + 1;
        let [peer, consumer, app, provider, contract, purpose, record, outcome, code] = &shape.0;
        self.shape
            .execute(params![id, peer, consumer, app, provider, contract, purpose, record, outcome, code])?;
        self.shapes.insert(shape, id);
        Ok(id)
    }

    fn officer_of(&mut self, name: &str) -> Result<Option<i64>, Fault> {
        if name.is_empty() {
            return Ok(None);
        }
        if let Some(id) = self.officers.get(name) {
            return Ok(Some(*id));
        }
        let id = word(self.officers.len() as u64) + 1;
        self.officer.execute(params![id, name])?;
        self.officers.insert(name.to_owned(), id);
        Ok(Some(id))
    }
}
