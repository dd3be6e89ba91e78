//! The stored form of the views: sled trees that hold nothing but indexes of entries, with the ledger size
//! they reflect and a seal over all of it. sled is not durable on return, and need not be: any doubt = drop it and
//! rebuild.

use super::Views;
use super::seal::{SealKey, Sum};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use yiwang_journal::ground::Workers;
use yiwang_proto::ids::{CaseId, MemberId};

/// Why views cannot be stored, not even in memory.
#[derive(Debug, thiserror::Error)]
#[error("views cannot be opened: {0}")]
pub struct PersistError(#[from] sled::Error);

/// The trees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Table {
    Origin,
    Members,
    Delegations,
    RecordTypes,
    Contracts,
    Policy,
    Auditors,
    Mappings,
    Dismissals,
    Cases,
    Parties,
    Revocations,
    Standings,
}

impl Table {
    /// Those whose rows point at one entry each, in the order in which they are read back.
    pub(super) const POINTS: [Table; 11] = [
        Table::Origin,
        Table::Members,
        Table::Delegations,
        // Before the contracts that pin them.
        Table::RecordTypes,
        Table::Contracts,
        Table::Policy,
        Table::Auditors,
        Table::Mappings,
        Table::Dismissals,
        Table::Revocations,
        Table::Standings,
    ];

    /// First byte of the table's keys. All rows share one tree: sled writes a batch whole or not at all only
    /// within one.
    fn prefix(self) -> u8 {
        match self {
            Table::Origin => 1,
            Table::Members => 2,
            Table::Delegations => 3,
            Table::Contracts => 4,
            Table::Policy => 5,
            Table::Cases => 6,
            Table::Parties => 7,
            Table::Auditors => 8,
            Table::Mappings => 9,
            Table::Dismissals => 28,
            Table::RecordTypes => 29,
            Table::Revocations => 20,
            Table::Standings => 21,
        }
    }

    fn key(self, key: &[u8]) -> Vec<u8> {
        [&[self.prefix()], key].concat()
    }
}

/// One row to be written.
pub(super) struct Row {
    table: Table,
    key: Vec<u8>,
    value: Vec<u8>,
}

impl Row {
    pub(super) fn point(table: Table, key: Vec<u8>, index: u64) -> Self {
        Self { table, key, value: index.to_be_bytes().to_vec() }
    }

    pub(super) fn case(id: &CaseId, entries: &[u64], closed: bool) -> Self {
        let mut value = vec![u8::from(closed)];
        value.extend(entries.iter().flat_map(|index| index.to_be_bytes()));
        Self { table: Table::Cases, key: id.as_str().as_bytes().to_vec(), value }
    }
}

/// Below all prefixes of tables.
const SIZE_KEY: &[u8] = b"\0ledger_size";

/// The open database.
#[derive(Clone)]
pub struct Persisted {
    database: sled::Db,
    key: SealKey,
    /// Over all rows; `None` if the last write left it unknown.
    sum: Arc<Mutex<Option<Sum>>>,
}

fn number(bytes: &[u8]) -> u64 {
    bytes.try_into().map(u64::from_be_bytes).unwrap_or(u64::MAX)
}

impl Persisted {
    /// Opens the folder; a database that does not open, is not as this hub wrote it, or reflects more than the
    /// ledger holds, is dropped and begins empty; where the disk refuses even that, it lives in memory until the next start.
    pub fn open(dir: &Path, ledger_size: u64, key: &SealKey) -> Result<Self, PersistError> {
        match Self::open_at(Some(dir), key) {
            Ok(stored) if !stored.is_whole() => {
                tracing::warn!("views are incomplete or were changed: rebuilt");
                drop(stored);
            }
            Ok(stored) if stored.size() <= ledger_size => return Ok(stored),
            Ok(stored) => {
                tracing::warn!(views = stored.size(), ledger_size, "views are ahead of the ledger: rebuilt");
                drop(stored);
            }
            Err(error) => tracing::warn!(%error, "views do not open: rebuilt"),
        }
        Self::drop_at(dir);
        match Self::open_at(Some(dir), key) {
            Ok(stored) => Ok(stored),
            Err(error) => {
                tracing::warn!(%error, "views cannot be stored: they live in memory until the next start");
                Self::open_at(None, key)
            }
        }
    }

    /// Removes stored views, so that the next opening rebuilds them.
    pub fn drop_at(dir: &Path) {
        if let Err(error) = std::fs::remove_dir_all(dir)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(%error, "old views cannot be removed");
        }
    }

    fn open_at(dir: Option<&Path>, key: &SealKey) -> Result<Self, PersistError> {
        let config = sled::Config::new().cache_capacity(16 << 20).flush_every_ms(None);
        let config = match dir {
            Some(dir) => config.path(dir),
            None => config.temporary(true),
        };
        let stored = Self { database: config.open()?, key: key.clone(), sum: Arc::default() };
        *stored.sum() = stored.count().ok();
        Ok(stored)
    }

    /// Ledger size that the rows reflect.
    pub fn size(&self) -> u64 {
        match self.database.get(SIZE_KEY) {
            Ok(Some(bytes)) => bytes.get(..8).map_or(u64::MAX, number),
            _ => 0,
        }
    }

    fn sum(&self) -> std::sync::MutexGuard<'_, Option<Sum>> {
        self.sum.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The sum over all rows that are there.
    fn count(&self) -> Result<Sum, sled::Error> {
        let mut sum = Sum::default();
        for row in self.database.iter() {
            let (row, value) = row?;
            if row.as_ref() != SIZE_KEY {
                sum.add(&self.key, &row, &value);
            }
        }
        Ok(sum)
    }

    /// Whether the seal is this hub's over exactly these rows and this size.
    fn is_whole(&self) -> bool {
        let Some(sum) = *self.sum() else { return false };
        match self.database.get(SIZE_KEY) {
            Ok(Some(mark)) => mark.get(8..) == Some(&sum.seal(&self.key, self.size())),
            Ok(None) => sum == Sum::default(),
            Err(_) => false,
        }
    }

    fn rows(&self, table: Table) -> impl Iterator<Item = (sled::IVec, sled::IVec)> + '_ {
        self.database.scan_prefix([table.prefix()]).filter_map(Result::ok)
    }

    /// Indexes in a table, ascending, so that newer cards and versions are applied last.
    pub(super) fn points(&self, table: Table) -> Vec<u64> {
        let mut points: Vec<u64> = self.rows(table).map(|(_, value)| number(&value)).collect();
        points.sort_unstable();
        points
    }

    pub(super) fn open_cases(&self) -> Vec<Vec<u64>> {
        self.rows(Table::Cases).filter_map(|(_, value)| case_entries(&value, false)).collect()
    }

    pub(super) fn closed_case(&self, id: &CaseId) -> Option<Vec<u64>> {
        let value = self.database.get(Table::Cases.key(id.as_str().as_bytes())).ok()??;
        case_entries(&value, true)
    }

    pub(super) fn parties(&self) -> HashMap<MemberId, u64> {
        self.rows(Table::Parties)
            .filter_map(|(key, value)| {
                let member = MemberId::parse(std::str::from_utf8(key.get(1..)?).ok()?).ok()?;
                Some((member, number(&value)))
            })
            .collect()
    }

    /// Rows and the size that they reflect go in one batch: an entry that is applied twice would not fit.
    fn write(&self, rows: &[Row], parties: &HashMap<MemberId, u64>, size: u64) -> Result<(), sled::Error> {
        let rows = rows.iter().map(|row| (row.table.key(&row.key), row.value.clone()));
        let parties = parties.iter().map(|(member, last)| {
            (Table::Parties.key(member.as_str().as_bytes()), last.to_be_bytes().to_vec())
        });
        // The newest of several rows with one key counts.
        let rows: BTreeMap<Vec<u8>, Vec<u8>> = rows.chain(parties).collect();
        let mut kept = self.sum();
        let mut sum = kept.take().map_or_else(|| self.count(), Ok)?;
        let mut batch = sled::Batch::default();
        for (key, value) in rows {
            if let Some(old) = self.database.get(&key)? {
                sum.remove(&self.key, &key, &old);
            }
            sum.add(&self.key, &key, &value);
            batch.insert(key, value);
        }
        let mut mark = size.to_be_bytes().to_vec();
        mark.extend(sum.seal(&self.key, size));
        batch.insert(SIZE_KEY, mark);
        self.database.apply_batch(batch)?;
        *kept = Some(sum);
        drop(kept);
        self.database.flush()?;
        Ok(())
    }
}

fn case_entries(value: &[u8], closed: bool) -> Option<Vec<u64>> {
    let (flag, entries) = value.split_first()?;
    (*flag == u8::from(closed)).then(|| entries.chunks_exact(8).map(number).collect())
}

/// Writes the views behind the ledger, in batches.
pub struct Persister {
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
    /// Where a task writes: whoever finishes writes the rest.
    stepped: Option<Arc<Views>>,
}

impl Persister {
    /// Starts the thread.
    pub fn start(views: Arc<Views>, workers: Workers) -> std::io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let asked = Arc::clone(&stop);
        if !workers.may_block() {
            let stepped = Some(Arc::clone(&views));
            let _task = workers.start("views-persist", async move {
                while !asked.load(Ordering::Relaxed) {
                    tokio::time::sleep(crate::limits::VIEWS_EVERY).await;
                    views.persist();
                }
            })?;
            return Ok(Self { stop, thread: None, stepped });
        }
        let thread = std::thread::Builder::new().name("views-persist".to_owned()).spawn(move || {
            while !asked.load(Ordering::Relaxed) {
                std::thread::sleep(crate::limits::VIEWS_EVERY);
                views.persist();
            }
            views.persist();
        })?;
        Ok(Self { stop, thread: Some(thread), stepped: None })
    }

    /// Writes what is pending and ends the thread.
    pub fn finish(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the writer of views ended by a panic; views are rebuilt at the next start");
        }
        if let Some(views) = self.stepped.take() {
            views.persist();
        }
    }
}

impl Views {
    /// Writes what changed. A failure keeps the rows for the next attempt.
    ///
    /// Views change before their entry is durable; rows may therefore point behind the ledger's end after
    /// a crash. The stored size then is larger than the ledger, and the views are dropped and rebuilt.
    fn persist(&self) {
        let (rows, parties, size, closed) = {
            let mut changes = self.changes();
            if changes.size == self.stored.size() {
                return;
            }
            let closed: Vec<CaseId> = changes.closed.keys().cloned().collect();
            (std::mem::take(&mut changes.rows), changes.parties.clone(), changes.size, closed)
        };
        match self.stored.write(&rows, &parties, size) {
            Ok(()) => {
                let mut changes = self.changes();
                for id in closed {
                    changes.closed.remove(&id);
                }
            }
            Err(error) => {
                tracing::warn!(%error, "views are behind the ledger; they catch up by themselves");
                let mut changes = self.changes();
                let newer = std::mem::replace(&mut changes.rows, rows);
                changes.rows.extend(newer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEDGER: u64 = 1000;

    fn key() -> SealKey {
        SealKey::derive(&[3; 32])
    }

    fn case(name: &str) -> CaseId {
        CaseId::parse(name).unwrap()
    }

    /// Two versions of a contract, a closed case, an open case, two members' last entries.
    fn written(dir: &Path) {
        let stored = Persisted::open(dir, LEDGER, &key()).unwrap();
        let contract = |index| Row::point(Table::Contracts, b"contract".to_vec(), index);
        let parties = HashMap::from([(MemberId::parse("police").unwrap(), 7)]);
        stored
            .write(
                &[contract(4), Row::case(&case("01890000-0000-7000-8000-000000000001"), &[5], false)],
                &parties,
                10,
            )
            .unwrap();
        let closed = Row::case(&case("01890000-0000-7000-8000-000000000001"), &[5, 11], true);
        let open = Row::case(&case("01890000-0000-7000-8000-000000000002"), &[13], false);
        stored.write(&[contract(8), contract(12), closed, open], &parties, 20).unwrap();
    }

    /// sled gives its lock back a little after it was dropped, by a thread of its own.
    fn until_free(dir: &Path) {
        let database = std::fs::File::open(dir.join("db")).unwrap();
        for _ in 0..1000 {
            if database.try_lock().is_ok() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        panic!("the store was not given back");
    }

    fn changed(change: impl Fn(&sled::Db)) -> u64 {
        let dir = tempfile::tempdir().unwrap();
        written(dir.path());
        until_free(dir.path());
        let database = sled::Config::new().path(dir.path()).open().unwrap();
        change(&database);
        database.flush().unwrap();
        drop(database);
        until_free(dir.path());
        Persisted::open(dir.path(), LEDGER, &key()).unwrap().size()
    }

    #[test]
    fn whole_views_are_kept_over_any_number_of_writes() {
        let dir = tempfile::tempdir().unwrap();
        written(dir.path());
        until_free(dir.path());
        let stored = Persisted::open(dir.path(), LEDGER, &key()).unwrap();
        assert_eq!((stored.size(), stored.points(Table::Contracts)), (20, vec![12]));
        stored.write(&[Row::point(Table::Members, b"police".to_vec(), 21)], &HashMap::new(), 22).unwrap();
        drop(stored);
        until_free(dir.path());
        let stored = Persisted::open(dir.path(), LEDGER, &key()).unwrap();
        assert_eq!(
            (stored.size(), stored.closed_case(&case("01890000-0000-7000-8000-000000000001"))),
            (22, Some(vec![5, 11]))
        );
        assert_eq!(changed(|_| ()), 20);
    }

    #[test]
    fn views_with_a_row_lost_older_or_added_are_dropped() {
        let closed = Table::Cases.key(b"01890000-0000-7000-8000-000000000001");
        let contract = Table::Contracts.key(b"contract");
        assert_eq!(changed(|database| drop(database.remove(&closed).unwrap())), 0, "a closed case is lost");
        let reopened = Row::case(&case("01890000-0000-7000-8000-000000000001"), &[5], false).value;
        assert_eq!(changed(|database| drop(database.insert(&closed, reopened.clone()).unwrap())), 0);
        let older = 8_u64.to_be_bytes();
        assert_eq!(changed(|database| drop(database.insert(&contract, &older).unwrap())), 0);
        let strange = Table::Members.key(b"stranger");
        assert_eq!(changed(|database| drop(database.insert(&strange, &older).unwrap())), 0);
        let sealless = 20_u64.to_be_bytes();
        assert_eq!(changed(|database| drop(database.insert(SIZE_KEY, &sealless).unwrap())), 0);
        assert_eq!(changed(|database| drop(database.remove(SIZE_KEY).unwrap())), 0);
    }

    #[test]
    fn only_who_has_the_ledger_key_can_seal_views() {
        let dir = tempfile::tempdir().unwrap();
        written(dir.path());
        let other = SealKey::derive(&[4; 32]);
        assert_eq!(Persisted::open(dir.path(), LEDGER, &other).unwrap().size(), 0);
    }
}
