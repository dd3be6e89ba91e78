//! Apps that go on asking whatever breaks: counts, the last answer, and what was acknowledged, for the oracle.

use super::network::Network;
use crate::fail::Failure;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;
use yiwang_audit::reconcile::{Reconciled, Sources, reconcile};
use yiwang_client::client::Client;
use yiwang_client::error::ClientError;
use yiwang_client::exchange::{Ask, Ending};
use yiwang_proto::ambient::Clock;
use yiwang_proto::body::Arguments;
use yiwang_proto::contract::Contract;
use yiwang_proto::ids::{CaseId, Operation};
use yiwang_proto::note::VerifierKey;

/// Pause after a refusal or failure: a tenth of what a restart takes, and little for a machine to bear.
const AGAIN: Duration = Duration::from_millis(20);
/// Longer than any deadline of an exchange: the bench's contract allows five seconds.
const PATIENCE: Duration = Duration::from_secs(15);
/// Acknowledged entries that are kept for the oracle, about a kilobyte each; of more, every second one, and so on.
const ACKNOWLEDGED_MAX: usize = 20_000;

/// When the newest answer's request was sent, and when it came, monotonic microseconds.
#[derive(Debug, Clone, Copy, Default)]
pub struct Answered {
    pub sent_us: u64,
    pub done_us: u64,
}

/// What came of the asking.
#[derive(Default)]
pub struct Seen {
    /// Exchanges with records.
    pub answered: AtomicU64,
    /// Refused or failed by a code, with or without an entry.
    pub refused: AtomicU64,
    /// Connection gone, or nothing came in time.
    pub lost: AtomicU64,
    /// Answers that do not verify: never right, whatever breaks.
    pub unverified: AtomicU64,
    kept: Mutex<Kept>,
}

struct Kept {
    entries: BTreeMap<u64, Bytes>,
    every: u64,
}

impl Default for Kept {
    fn default() -> Self {
        Self { entries: BTreeMap::new(), every: 1 }
    }
}

impl Seen {
    fn keep(&self, index: u64, entry: &yiwang_proto::pb::Entry) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if !index.is_multiple_of(kept.every) {
            return;
        }
        if let Ok(bytes) = yiwang_proto::entry::encode(entry) {
            kept.entries.insert(index, bytes);
        }
        if kept.entries.len() > ACKNOWLEDGED_MAX {
            kept.every *= 2;
            let every = kept.every;
            kept.entries.retain(|index, _| index.is_multiple_of(every));
        }
    }

    /// Entries that somebody has a verified receipt of.
    pub fn acknowledged(&self) -> Vec<(u64, Bytes)> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.entries.iter().map(|(index, bytes)| (*index, bytes.clone())).collect()
    }
}

/// What is asked in turn.
#[derive(Clone)]
pub struct Question {
    pub contract: Arc<Contract>,
    pub case: CaseId,
    pub subjects: Vec<String>,
    pub operation: Operation,
}

impl Question {
    pub fn of(network: &Network) -> Result<Self, Failure> {
        Ok(Self {
            contract: Arc::clone(&network.contract),
            case: network.case.clone(),
            subjects: network.subjects.clone(),
            operation: Operation::parse("person.by_id").map_err(Failure::environment)?,
        })
    }

    pub fn ask(&self, number: u64) -> Ask {
        let at = usize::try_from(number).unwrap_or_default() % self.subjects.len().max(1);
        Ask {
            operation: self.operation.clone(),
            fields: self.contract.text.fields.clone(),
            case: self.case.clone(),
            officer: None,
            subject: self.subjects.get(at).cloned().unwrap_or_default(),
            arguments: Arguments::new(),
            retry_of: None,
        }
    }
}

/// How one request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Came {
    Answer,
    Refusal,
    Nothing,
}

/// Sends one request and counts how it ended.
pub async fn ask_once(client: &Client, question: &Question, number: u64, seen: &Seen) -> Came {
    let signed = client.sign(&question.contract, &question.ask(number));
    let sent = tokio::time::timeout(PATIENCE, client.exchange(&question.contract, &signed));
    let came = match sent.await {
        Ok(Ok(exchanged)) => {
            seen.keep(exchanged.receipt.index, &exchanged.receipt.entry);
            if matches!(exchanged.ending, Ending::Answered { .. }) { Came::Answer } else { Came::Refusal }
        }
        Ok(Err(ClientError::Hub { .. })) => Came::Refusal,
        Ok(Err(ClientError::Unverified(what))) => {
            eprintln!("an answer does not verify: {what}");
            seen.unverified.fetch_add(1, Ordering::Relaxed);
            Came::Nothing
        }
        Ok(Err(ClientError::Transport(_) | ClientError::Ask(_) | ClientError::Resume { .. })) | Err(_) => {
            Came::Nothing
        }
    };
    let count = match came {
        Came::Answer => &seen.answered,
        Came::Refusal => &seen.refused,
        Came::Nothing => &seen.lost,
    };
    count.fetch_add(1, Ordering::Relaxed);
    came
}

/// The running load.
pub struct Load {
    pub seen: Arc<Seen>,
    /// Everybody's moments are of this one clock.
    clock: Arc<dyn Clock>,
    newest: watch::Receiver<Answered>,
    clients: watch::Sender<Vec<Arc<Client>>>,
    stop: Arc<AtomicBool>,
    tasks: JoinSet<()>,
}

struct Worker {
    clients: watch::Receiver<Vec<Arc<Client>>>,
    question: Question,
    seen: Arc<Seen>,
    newest: watch::Sender<Answered>,
    stop: Arc<AtomicBool>,
    meeting: Arc<tokio::sync::Mutex<()>>,
    clock: Arc<dyn Clock>,
    pause: Duration,
}

impl Load {
    /// So many workers; each asks, then rests until its pause since the last question is over (none: without rest).
    pub fn start(
        clients: Vec<Arc<Client>>,
        question: &Question,
        (workers, pause): (u64, Duration),
        clock: Arc<dyn Clock>,
    ) -> Self {
        let seen = Arc::<Seen>::default();
        let (answered, newest) = watch::channel(Answered::default());
        let (clients, watched) = watch::channel(clients);
        let (stop, meeting) = (Arc::<AtomicBool>::default(), Arc::default());
        let mut tasks = JoinSet::new();
        for number in 0..workers {
            let worker = Worker {
                clients: watched.clone(),
                question: question.clone(),
                seen: Arc::clone(&seen),
                newest: answered.clone(),
                stop: Arc::clone(&stop),
                meeting: Arc::clone(&meeting),
                clock: Arc::clone(&clock),
                pause,
            };
            tasks.spawn(worker.run(number));
        }
        Self { seen, clock, newest, clients, stop, tasks }
    }

    /// Now, by the clock of the load, microseconds.
    pub fn now_us(&self) -> u64 {
        self.clock.monotonic_us()
    }

    /// Other clients from the next question on.
    pub fn use_clients(&self, clients: Vec<Arc<Client>>) {
        self.clients.send_replace(clients);
    }

    /// Waits for the first answer to a request that was sent after a moment; yields when it came.
    pub async fn answered_after(&self, since_us: u64, within: Duration) -> Option<u64> {
        let mut newest = self.newest.clone();
        let answer = newest.wait_for(|answered| answered.sent_us >= since_us);
        let answer = tokio::time::timeout(within, answer).await.ok()?;
        answer.ok().map(|answered| answered.done_us)
    }

    /// The newest answer.
    pub fn newest(&self) -> Answered {
        *self.newest.borrow()
    }

    pub async fn end(mut self) -> Arc<Seen> {
        self.stop.store(true, Ordering::Relaxed);
        while self.tasks.join_next().await.is_some() {}
        self.seen
    }
}

impl Worker {
    async fn run(self, number: u64) {
        // Spread, so that a rate is one and no pulse.
        tokio::time::sleep(
            self.pause.mul_f64(f64::from(u32::try_from(number % 64).unwrap_or_default()) / 64.0),
        )
        .await;
        let mut turn = number.wrapping_mul(7919);
        while !self.stop.load(Ordering::Relaxed) {
            turn = turn.wrapping_add(1);
            let client = self.pick(turn);
            let sent_us = self.clock.monotonic_us();
            match client {
                Some(client) => {
                    if ask_once(&client, &self.question, turn, &self.seen).await == Came::Answer {
                        let done_us = self.clock.monotonic_us();
                        self.newest.send_replace(Answered { sent_us, done_us });
                        let spent = Duration::from_micros(done_us.saturating_sub(sent_us));
                        tokio::time::sleep(self.pause.saturating_sub(spent)).await;
                        continue;
                    }
                    // After a start the hub waits for its members' heads: one of all workers brings this app's.
                    if let Ok(_alone) = self.meeting.try_lock() {
                        let _ = tokio::time::timeout(PATIENCE, client.meet()).await;
                    }
                }
                None => return,
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    fn pick(&self, turn: u64) -> Option<Arc<Client>> {
        let clients = self.clients.borrow();
        let at = usize::try_from(turn).unwrap_or_default() % clients.len().max(1);
        clients.get(at).cloned()
    }
}

/// The oracle over a network that is stopped: apps' receipts and folders, the ledger, the provider's journal.
pub fn judge(
    dir: &Path,
    acknowledged: Vec<(u64, Bytes)>,
    received: Vec<PathBuf>,
) -> Result<Reconciled, Failure> {
    let ledger = dir.join("hub/ledger");
    let key = std::fs::read_to_string(ledger.join("verifier.key")).map_err(Failure::environment)?;
    let key = VerifierKey::parse(key.trim()).map_err(Failure::environment)?;
    let options = yiwang_audit::Options { key: Some(key), ..yiwang_audit::Options::default() };
    let journals = vec![dir.join("members/provider/journal")];
    let sources = Sources { ledger, received, journals, acknowledged, heads: Vec::new() };
    reconcile(&sources, &options).map_err(Failure::environment)
}
