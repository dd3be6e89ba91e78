//! What an adapter tells of itself: counts and states, never a name of a subject or a value.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use yiwang_proto::codes::Code;

/// Where the link to the hub stands.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum LinkState {
    /// No attempt yet, or stopped.
    #[default]
    Down,
    /// Dialling, or waiting to dial again.
    Connecting,
    /// Serving.
    Up,
    /// The hub showed a ledger that does not continue the one this adapter knows. Nothing is served.
    Alarm(String),
}

/// Counts since the start.
#[derive(Debug)]
pub struct Counters {
    answered: AtomicU64,
    denied: Vec<AtomicU64>,
    failed: Vec<AtomicU64>,
    unsigned: AtomicU64,
    in_flight: AtomicI64,
    receipted: AtomicU64,
    // On the adapter's clock; 0 before the first.
    last_receipt_us: AtomicU64,
    bad_receipts: AtomicU64,
    protocol_errors: AtomicU64,
    given_up: AtomicU64,
    link_starts: AtomicU64,
    alarms: AtomicU64,
    cosigned: AtomicU64,
    link: Mutex<LinkState>,
}

impl Default for Counters {
    fn default() -> Self {
        let zeros = || Code::ALL.iter().map(|_| AtomicU64::new(0)).collect();
        Self {
            answered: AtomicU64::new(0),
            denied: zeros(),
            failed: zeros(),
            unsigned: AtomicU64::new(0),
            in_flight: AtomicI64::new(0),
            receipted: AtomicU64::new(0),
            last_receipt_us: AtomicU64::new(0),
            bad_receipts: AtomicU64::new(0),
            protocol_errors: AtomicU64::new(0),
            given_up: AtomicU64::new(0),
            link_starts: AtomicU64::new(0),
            alarms: AtomicU64::new(0),
            cosigned: AtomicU64::new(0),
            link: Mutex::new(LinkState::Down),
        }
    }
}

/// One look at the counters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Requests answered with records, possibly none.
    pub answered: u64,
    /// Requests refused, by code.
    pub denied: BTreeMap<&'static str, u64>,
    /// Requests that failed, by code.
    pub failed: BTreeMap<&'static str, u64>,
    /// Bytes that were no statement, so that nothing could be signed about them.
    pub unsigned: u64,
    /// Exchanges under way.
    pub in_flight: u64,
    /// Where the link stands.
    pub link: LinkState,
    /// How often a link came up.
    pub link_starts: u64,
    /// Frames and chunks that broke the rules of the link.
    pub protocol_errors: u64,
    /// Exchanges that were over and whose hub had not said so.
    pub given_up: u64,
    /// Heads, proofs or receipts that contradict what this adapter knows.
    pub alarms: u64,
    /// Checkpoints cosigned as a witness.
    pub cosigned: u64,
    /// Entries in the newest head that was kept.
    pub head_size: u64,
    /// Milliseconds since that head was kept.
    pub head_age_ms: u64,
    /// Answers whose entry in the ledger was proved.
    pub receipted: u64,
    /// Milliseconds since the last of these proofs; none before the first.
    pub receipt_age_ms: Option<u64>,
    /// Answers that still lack it.
    pub unreceipted: u64,
    /// Why nothing is answered for want of receipts or their entries, if so.
    pub receipts_owed: Option<&'static str>,
    /// Receipts that did not hold.
    pub bad_receipts: u64,
    /// By how much the clock is off its own journal or most members, if that is over 30 s, milliseconds;
    /// negative where it is behind. Nothing is served then.
    pub clock_skew_ms: i64,
    /// Records of the journal that were read at the start.
    pub journal_read: u64,
    /// Counterparts whose standing is known.
    pub standings: u64,
    /// Milliseconds since the oldest of them was issued.
    pub standing_age_ms: u64,
    /// Whether the journal has no space.
    pub journal_full: bool,
    /// Whether the journal failed; only a new start helps.
    pub journal_dead: bool,
}

fn add(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

fn by_code(counters: &[AtomicU64]) -> BTreeMap<&'static str, u64> {
    Code::ALL
        .iter()
        .zip(counters)
        .map(|(code, count)| (code.as_str(), count.load(Ordering::Relaxed)))
        .filter(|(_, count)| *count > 0)
        .collect()
}

/// Counts one exchange as under way until dropped.
#[derive(Debug)]
pub(crate) struct InFlight<'a>(&'a Counters);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Counters {
    pub(crate) fn begin(&self) -> InFlight<'_> {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight(self)
    }

    pub(crate) fn answered(&self) {
        add(&self.answered);
    }

    pub(crate) fn denied(&self, code: Code) {
        if let Some(counter) = self.denied.get(code as usize) {
            add(counter);
        }
    }

    pub(crate) fn failed(&self, code: Code) {
        if let Some(counter) = self.failed.get(code as usize) {
            add(counter);
        }
    }

    pub(crate) fn unsigned(&self) {
        add(&self.unsigned);
    }

    pub(crate) fn receipted(&self, now_us: u64) {
        add(&self.receipted);
        self.last_receipt_us.store(now_us.max(1), Ordering::Relaxed);
    }

    pub(crate) fn receipt_age_ms(&self, now_us: u64) -> Option<u64> {
        let last_us = self.last_receipt_us.load(Ordering::Relaxed);
        (last_us > 0).then(|| now_us.saturating_sub(last_us) / 1000)
    }

    pub(crate) fn bad_receipt(&self) {
        add(&self.bad_receipts);
    }

    pub(crate) fn protocol_error(&self) {
        add(&self.protocol_errors);
    }

    pub(crate) fn given_up(&self) {
        add(&self.given_up);
    }

    pub(crate) fn alarm(&self) {
        add(&self.alarms);
    }

    pub(crate) fn cosigned(&self) {
        add(&self.cosigned);
    }

    pub(crate) fn link(&self, state: LinkState) {
        if state == LinkState::Up {
            add(&self.link_starts);
        }
        *self.link.lock().unwrap_or_else(PoisonError::into_inner) = state;
    }

    /// Where the link stands now.
    pub fn link_state(&self) -> LinkState {
        self.link.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// All counts; what the counters do not know is left zero.
    pub(crate) fn snapshot(&self) -> Snapshot {
        Snapshot {
            answered: self.answered.load(Ordering::Relaxed),
            denied: by_code(&self.denied),
            failed: by_code(&self.failed),
            unsigned: self.unsigned.load(Ordering::Relaxed),
            in_flight: u64::try_from(self.in_flight.load(Ordering::Relaxed)).unwrap_or(0),
            link: self.link_state(),
            link_starts: self.link_starts.load(Ordering::Relaxed),
            protocol_errors: self.protocol_errors.load(Ordering::Relaxed),
            given_up: self.given_up.load(Ordering::Relaxed),
            alarms: self.alarms.load(Ordering::Relaxed),
            cosigned: self.cosigned.load(Ordering::Relaxed),
            head_size: 0,
            head_age_ms: 0,
            receipted: self.receipted.load(Ordering::Relaxed),
            receipt_age_ms: None,
            unreceipted: 0,
            receipts_owed: None,
            bad_receipts: self.bad_receipts.load(Ordering::Relaxed),
            clock_skew_ms: 0,
            journal_read: 0,
            standings: 0,
            standing_age_ms: 0,
            journal_full: false,
            journal_dead: false,
        }
    }
}
