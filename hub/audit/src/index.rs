//! The auditor's index: a SQLite file over the exchanges of one ledger, so that a search needs no pass over
//! all entries. It is a view and never trusted: it names the ledger size that it reflects, catches up from
//! there, and on any doubt is dropped and made again from the entries. What a search shows is read again from
//! the ledger and held against the row.

mod build;
mod compare;
mod find;
mod schema;

pub use compare::{Difference, Differences};
pub use find::Page;

use crate::accesses::Filter;
use crate::error::AuditError;
use crate::named::{Named, is_by_name};
use crate::source::Entries;
use rusqlite::{Connection, OpenFlags};
use schema::{Shape, meta, word};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a second program waits for the one that catches up: longer than a chunk takes.
const BUSY: Duration = Duration::from_secs(20);

/// Why the index cannot be used as it is.
#[derive(Debug)]
enum Fault {
    /// What the index holds is not what the ledger holds, or cannot be read.
    Doubt(String),
    /// The ledger itself, or the output, fails.
    Ledger(AuditError),
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Self::Doubt(error.to_string())
    }
}

impl From<AuditError> for Fault {
    fn from(error: AuditError) -> Self {
        Self::Ledger(error)
    }
}

/// See the module. One value for one file and one ledger.
pub struct SearchIndex {
    db: Connection,
    path: PathBuf,
    shapes: HashMap<Shape, i64>,
    officers: HashMap<String, i64>,
    dropped: Option<String>,
}

impl SearchIndex {
    /// Where the index of a ledger folder lies when nothing else is said: beside the folder, which is only read.
    #[must_use]
    pub fn beside(ledger: &Path) -> PathBuf {
        let mut name = ledger.file_name().unwrap_or_default().to_owned();
        name.push(".search.sqlite");
        ledger.with_file_name(name)
    }

    /// Opens the index and lets it catch up by up to `most` entries; makes it again where there is none, or any
    /// doubt about it. Where the disk takes no file, the index lives in memory for this once.
    ///
    /// # Errors
    /// [`AuditError`] where the ledger cannot be read, or no index can be made.
    pub fn open(path: &Path, entries: &dyn Entries, most: u64) -> Result<Self, AuditError> {
        match Self::held(path, entries)
            .and_then(|mut index| index.catch_up_once(entries, most).map(|()| index))
        {
            Ok(index) => Ok(index),
            Err(Fault::Ledger(error)) => Err(error),
            Err(Fault::Doubt(why)) => Self::rebuild_because(path, entries, path.exists().then_some(why)),
        }
    }

    /// Opens the index without changing it.
    ///
    /// # Errors
    /// [`AuditError::Index`] where it cannot be read or is of another ledger.
    pub fn open_as_it_is(path: &Path, entries: &dyn Entries) -> Result<Self, AuditError> {
        Self::held(path, entries).map_err(|fault| match fault {
            Fault::Ledger(error) => error,
            Fault::Doubt(fault) => AuditError::Index { path: path.to_owned(), fault },
        })
    }

    /// Makes the index again from the entries.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn rebuild(path: &Path, entries: &dyn Entries) -> Result<Self, AuditError> {
        Self::rebuild_because(path, entries, None)
    }

    fn rebuild_because(path: &Path, entries: &dyn Entries, why: Option<String>) -> Result<Self, AuditError> {
        let failed = |fault| match fault {
            Fault::Ledger(error) => error,
            Fault::Doubt(fault) => AuditError::Index { path: path.to_owned(), fault },
        };
        let mut index = match build::on_disk(path, entries) {
            Ok(()) => Self::held(path, entries).map_err(failed)?,
            Err(Fault::Ledger(error)) => return Err(error),
            Err(Fault::Doubt(_)) => Self::in_memory(path, entries).map_err(failed)?,
        };
        index.dropped = why;
        Ok(index)
    }

    fn in_memory(path: &Path, entries: &dyn Entries) -> Result<Self, Fault> {
        let mut db = Connection::open_in_memory()?;
        build::fill_new(&mut db, entries)?;
        Self::over(db, path)
    }

    fn over(db: Connection, path: &Path) -> Result<Self, Fault> {
        let shapes = schema::shapes(&db)?;
        let officers = schema::officers(&db)?;
        Ok(Self { db, path: path.to_owned(), shapes, officers, dropped: None })
    }

    /// The file as it is, if it is an index of this ledger.
    fn held(path: &Path, entries: &dyn Entries) -> Result<Self, Fault> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let db = Connection::open_with_flags(path, flags)?;
        db.busy_timeout(BUSY)?;
        let index = Self::over(db, path)?;
        index.belongs_to(entries)?;
        Ok(index)
    }

    /// Checks that the index was made from this ledger: its format, and first and last entry that it reflects.
    fn belongs_to(&self, entries: &dyn Entries) -> Result<(), Fault> {
        let doubt = |what: &str| Fault::Doubt(what.to_owned());
        if meta(&self.db, "format")?.as_deref() != Some(schema::FORMAT.as_bytes()) {
            return Err(doubt("it was made by another version"));
        }
        let size = schema::size(&self.db)?;
        if size > entries.size() {
            return Err(doubt("it reflects more entries than the ledger has"));
        }
        if size > entries.oldest() {
            for (name, at) in [("first_leaf", entries.oldest()), ("last_leaf", size - 1)] {
                if meta(&self.db, name)?.as_deref() != Some(entries.entry(at)?.1.as_slice()) {
                    return Err(doubt("it was made from another ledger"));
                }
            }
        }
        Ok(())
    }

    /// Ledger size that the index reflects.
    ///
    /// # Errors
    /// [`AuditError::Index`] where the file fails.
    pub fn size(&self) -> Result<u64, AuditError> {
        schema::size(&self.db).map_err(|fault| self.failed(fault))
    }

    /// Why the file that was there before was dropped, if it was.
    #[must_use]
    pub fn dropped(&self) -> Option<&str> {
        self.dropped.as_deref()
    }

    /// Whether the index could not be written and is held in memory.
    #[must_use]
    pub fn is_in_memory(&self) -> bool {
        self.db.path().is_none_or(str::is_empty)
    }

    /// Takes up to `most` entries that came since.
    ///
    /// # Errors
    /// [`AuditError`] where the ledger cannot be read or no index can be made.
    pub fn catch_up(&mut self, entries: &dyn Entries, most: u64) -> Result<(), AuditError> {
        match self.belongs_to(entries).and_then(|()| self.catch_up_once(entries, most)) {
            Ok(()) => Ok(()),
            Err(Fault::Ledger(error)) => Err(error),
            Err(Fault::Doubt(why)) => self.make_again(entries, why),
        }
    }

    /// The exchanges that pass the filter, oldest first, after the entry `after`: at most `limit`, each read again from the
    /// ledger. A row that does not hold what the ledger holds makes the index again, once.
    ///
    /// # Errors
    /// [`AuditError`] where the ledger cannot be read or no index can be made.
    pub fn search(
        &mut self,
        entries: &dyn Entries,
        filter: &Filter,
        after: Option<u64>,
        limit: usize,
    ) -> Result<Page, AuditError> {
        match self.find(entries, filter, after, limit) {
            Ok(page) => return Ok(page),
            Err(Fault::Ledger(error)) => return Err(error),
            Err(Fault::Doubt(why)) => self.make_again(entries, why)?,
        }
        self.find(entries, filter, after, limit).map_err(|fault| self.failed(fault))
    }

    /// Holds every row against the ledger, up to the size that the index reflects.
    ///
    /// # Errors
    /// [`AuditError`] where the ledger or the file cannot be read.
    pub fn compare(&self, entries: &dyn Entries) -> Result<Differences, AuditError> {
        compare::compare(self, entries).map_err(|fault| self.failed(fault))
    }

    /// What the filter names and no exchange has, a sentence each; for a search that found nothing. No pass over the entries: the
    /// index has the names. A doubt about it was found by the search before.
    ///
    /// # Errors
    /// [`AuditError::Index`] where the file fails.
    pub(crate) fn unknown(&self, filter: &Filter) -> Result<Vec<String>, AuditError> {
        if !is_by_name(filter) {
            return Ok(Vec::new());
        }
        let mut named = Named::default();
        for shape in self.shapes.keys() {
            named.take(filter, &shape.example().access);
        }
        let case = filter.case.as_ref().map(|case| self.has_case(case.as_str())).transpose();
        let case = case.map_err(|fault| self.failed(fault))?.unwrap_or_default();
        let officer = filter.officer.as_ref();
        named.has(case, officer.is_some_and(|officer| self.officers.contains_key(officer.as_str())));
        Ok(named.unknown(filter))
    }

    fn has_case(&self, case: &str) -> Result<bool, Fault> {
        let sql = "SELECT EXISTS (SELECT 1 FROM exchanges WHERE case_id = ?1)";
        let Some(bytes) = schema::case_bytes(case) else { return Ok(false) };
        Ok(self.db.query_row(sql, [&bytes[..]], |row| row.get(0))?)
    }

    fn make_again(&mut self, entries: &dyn Entries, why: String) -> Result<(), AuditError> {
        *self = Self::rebuild_because(&self.path, entries, Some(why))?;
        Ok(())
    }

    fn failed(&self, fault: Fault) -> AuditError {
        match fault {
            Fault::Ledger(error) => error,
            Fault::Doubt(fault) => AuditError::Index { path: self.path.clone(), fault },
        }
    }

    fn catch_up_once(&mut self, entries: &dyn Entries, most: u64) -> Result<(), Fault> {
        build::catch_up(&mut self.db, &mut self.shapes, &mut self.officers, entries, most)
    }
}

/// An index over entries as the database counts them.
fn number(index: u64) -> i64 {
    word(index)
}
