//! Which mappings serve. They change between two links and never during one: the hello of a link names what
//! serves on it, so that the hub has entered each mapping before anything is answered through it, and what
//! runs on a link is answered through the mappings that it began with.

use super::{Adapter, AdapterError};
use crate::count::counted_once;
use crate::fetch::MappedSource;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use yiwang_proto::ids::{MemberId, Operation, RecordType};

/// A source for each operation of a record.
pub(super) type Table = HashMap<(RecordType, Operation), MappedSource>;

/// What serves, and what will from the next link on.
pub(super) struct Serving(Mutex<Both>);

struct Both {
    now: Arc<Table>,
    next: Option<Arc<Table>>,
}

impl Serving {
    pub(super) fn new(table: Table) -> Self {
        Self(Mutex::new(Both { now: Arc::new(table), next: None }))
    }

    fn both(&self) -> MutexGuard<'_, Both> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What serves now; whoever holds it is not touched by a change.
    pub(super) fn now(&self) -> Arc<Table> {
        Arc::clone(&self.both().now)
    }

    /// The source of an operation.
    pub(super) fn source(&self, key: &(RecordType, Operation)) -> Option<MappedSource> {
        self.both().now.get(key).cloned()
    }
}

impl Adapter {
    /// Gives the adapter other mappings, each with its source, in place of all that it has. The link is changed
    /// for a new one, which serves them unless receipts are owed; until then nothing changes. Of several calls the
    /// last counts.
    ///
    /// # Errors
    /// A mapping of another member, or an operation that is served twice: then all stays as it is.
    pub fn replace_sources(&self, sources: Vec<MappedSource>) -> Result<(), AdapterError> {
        let table = table(sources, self.member())?;
        self.sources.both().next = Some(Arc::new(table));
        self.change_link();
        Ok(())
    }

    /// Whether these can serve together for a member.
    ///
    /// # Errors
    /// [`AdapterError::OtherOwner`], [`AdapterError::ServedTwice`], [`AdapterError::CountedTwice`].
    pub fn would_serve(sources: Vec<MappedSource>, member: &MemberId) -> Result<(), AdapterError> {
        table(sources, member).map(drop)
    }

    /// Whether what was last given to [`Adapter::replace_sources`] is what serves.
    pub fn sources_settled(&self) -> bool {
        self.sources.both().next.is_none()
    }

    /// Before a link is dialled: nothing is under way. While the entry of an answer is not proved it may not be
    /// written yet, and a mapping that is entered before it would replace the one that it names: then the next
    /// link still serves what the last one did, and whoever gave the sources changes it once more.
    pub(crate) fn adopt_sources(&self) {
        if self.watch.owed().len() > 0 {
            return;
        }
        let mut both = self.sources.both();
        if let Some(next) = both.next.take() {
            both.now = next;
        }
    }
}

pub(super) fn table(sources: Vec<MappedSource>, member: &MemberId) -> Result<Table, AdapterError> {
    counted_once(&sources).map_err(|record| AdapterError::CountedTwice { record })?;
    let mut table = HashMap::new();
    for source in sources {
        let mapping = Arc::clone(source.mapping());
        if mapping.owner() != member {
            return Err(AdapterError::OtherOwner {
                mapping: mapping.name().to_owned(),
                owner: mapping.owner().clone(),
            });
        }
        for operation in mapping.operations() {
            let (record, operation) = (mapping.record().clone(), operation.name.clone());
            if table.insert((record.clone(), operation.clone()), source.clone()).is_some() {
                return Err(AdapterError::ServedTwice { record, operation });
            }
        }
    }
    Ok(table)
}
