//! Auditors: enrolled with a scope, which is an entry; what they read and search is an entry before it is
//! answered. The scope is the registry's, so a new enrolment widens or narrows it at once, whatever the
//! certificate says.

mod search;

pub use search::{SEARCH_MAX, search};

use crate::context::Hub;
use crate::ledger::{Draft, Ledger, Linear, ReadFor};
use bytes::Bytes;
use std::collections::HashMap;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use yiwang_audit::SearchIndex;
use yiwang_proto::audit_scope::AuditScope;
use yiwang_proto::codes::Code;
use yiwang_proto::entry::{self, Kind};
use yiwang_proto::ids::AppId;
use yiwang_proto::merkle::leaf_hash;
use yiwang_proto::pb;

/// An auditor's reading counts as one session while it pauses less than this.
const SESSION_MS: i64 = 10 * 60 * 1000;
/// Sessions remembered; an office of auditors has far fewer. Above it all are forgotten, and begin anew as entries.
const SESSIONS_MAX: usize = 10_000;
/// Entries of one answer: a bundle of the log.
pub const LINES_MAX: u32 = 256;
/// Bytes of entries in one answer: half of what a message may have.
const LINES_BYTES: usize = 4 * 1024 * 1024;

/// What the hub remembers of auditors; all of it may be lost.
pub struct Auditors {
    sessions: Mutex<HashMap<(AppId, &'static str), i64>>,
    index: Mutex<Option<SearchIndex>>,
    path: PathBuf,
}

impl Auditors {
    /// With the place of the search index.
    pub fn new(path: PathBuf) -> Self {
        Self { sessions: Mutex::default(), index: Mutex::new(None), path }
    }

    /// Whether this reading goes on with a session of the auditor that is recorded.
    fn reads_on(&self, auditor: &AppId, what: &'static str, now_ms: i64) -> bool {
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        match sessions.get_mut(&(auditor.clone(), what)) {
            Some(last) if now_ms - *last < SESSION_MS => {
                *last = now_ms;
                true
            }
            _ => false,
        }
    }

    /// A session is an entry now. Before that nothing may be read in it.
    fn session_recorded(&self, auditor: &AppId, what: &'static str, now_ms: i64) {
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        if sessions.len() >= SESSIONS_MAX {
            sessions.clear();
        }
        sessions.insert((auditor.clone(), what), now_ms);
    }
}

/// An auditor that was enrolled.
pub struct AuditorDraft {
    /// Who.
    pub auditor: AppId,
    /// What it may see.
    pub scope: AuditScope,
}

impl Draft for AuditorDraft {
    fn finish(self: Box<Self>, _at: &Linear<'_>) -> Result<Kind, Code> {
        let scope = Some(self.scope.to_pb());
        Ok(Kind::Auditor(pb::AuditorEntry { auditor: self.auditor.as_str().to_owned(), scope }))
    }
}

/// An auditor's session, search, or look at single entries.
pub struct LookupDraft {
    /// The entry.
    pub entry: pb::LookupEntry,
}

impl Draft for LookupDraft {
    fn finish(self: Box<Self>, _at: &Linear<'_>) -> Result<Kind, Code> {
        Ok(Kind::Lookup(self.entry))
    }
}

impl Hub {
    /// What an auditor may see; nothing where it was never enrolled with a scope.
    pub fn scope_of(&self, auditor: &AppId) -> AuditScope {
        self.ledger.views().auditor(auditor).map(|view| view.scope.clone()).unwrap_or_default()
    }

    /// Records one look before it is answered.
    pub async fn record_look(
        &self,
        auditor: &AppId,
        what: &'static str,
        (from_index, to_index): (u64, u64),
        query: String,
    ) -> Result<(), Code> {
        let auditor = auditor.as_str().to_owned();
        let entry = pb::LookupEntry { auditor, what: what.to_owned(), from_index, to_index, query };
        self.ledger.append(Box::new(LookupDraft { entry })).await.map(drop)
    }

    /// Records the beginning of a session of reading; what follows without a long pause belongs to it.
    pub async fn record_session(
        &self,
        auditor: &AppId,
        what: &'static str,
        range: (u64, u64),
    ) -> Result<(), Code> {
        if self.auditors.reads_on(auditor, what, self.clock.now_ms()) {
            return Ok(());
        }
        self.record_look(auditor, what, range, String::new()).await?;
        self.auditors.session_recorded(auditor, what, self.clock.now_ms());
        Ok(())
    }

    /// Entries as an auditor may see them: the others as leaf hashes.
    pub async fn audit_lines(
        &self,
        auditor: &AppId,
        from: u64,
        limit: u32,
    ) -> Result<pb::ListEntriesResponse, Code> {
        if !(1..=LINES_MAX).contains(&limit) {
            return Err(Code::TooLarge);
        }
        let size = self.ledger.checkpoint().size;
        let end = from.saturating_add(u64::from(limit)).min(size);
        if from >= end {
            return Ok(pb::ListEntriesResponse { lines: Vec::new(), size });
        }
        let place = self.ledger.place(ReadFor::Caller)?;
        self.record_session(auditor, "entries", (from, end - 1)).await?;
        let (scope, auditor) = (self.scope_of(auditor), auditor.clone());
        let lines = self.ledger.reading_at(place, move |ledger| lines(ledger, &scope, &auditor, from..end));
        Ok(pb::ListEntriesResponse { lines: lines.await?, size })
    }

    /// One entry as an auditor may see it.
    pub fn audit_entry(&self, auditor: &AppId, index: u64) -> Result<pb::GetEntryResponse, Code> {
        let appended = self.ledger.receipt(index)?;
        let mut receipt = appended.to_receipt();
        let mut leaf = Bytes::new();
        if !is_shown(&self.scope_of(auditor), auditor, &appended.entry) {
            leaf = Bytes::copy_from_slice(&leaf_hash(&appended.entry));
            receipt.entry = Bytes::new();
        }
        Ok(pb::GetEntryResponse { receipt: Some(receipt), leaf_hash: leaf })
    }
}

/// The entries of a range as an auditor may see them, until an answer is full.
fn lines(
    ledger: &Ledger,
    scope: &AuditScope,
    auditor: &AppId,
    range: Range<u64>,
) -> Result<Vec<pb::AuditLine>, Code> {
    let (mut lines, mut bytes) = (Vec::new(), 0);
    let read = ledger.reader().scan(range.start, &mut |index, entry, leaf| {
        let shown = if is_shown(scope, auditor, &entry) { entry } else { Bytes::new() };
        bytes += shown.len();
        let leaf_hash = Bytes::copy_from_slice(&leaf);
        lines.push(pb::AuditLine { index, leaf_hash, entry: shown });
        index + 1 < range.end && bytes < LINES_BYTES
    });
    read.map_err(|error| {
        tracing::error!(%error, "entries could not be read");
        Code::Internal
    })?;
    Ok(lines)
}

/// Whether a scope shows an entry. What does not decode is shown to nobody.
pub fn is_shown(scope: &AuditScope, auditor: &AppId, bytes: &Bytes) -> bool {
    scope.all || entry::decode(bytes).is_ok_and(|entry| scope.shows(auditor.as_str(), &entry))
}
