//! Apps that ask without pause, and the list of what was acknowledged to them.

use crate::town::{FIELDS, Town};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::task::JoinHandle;
use yiwang_client::client::Client;
use yiwang_client::error::ClientError;
use yiwang_client::exchange::{Ask, Ending};
use yiwang_client::sealed::Manner;
use yiwang_proto::body::Arguments;
use yiwang_proto::contract::Contract;
use yiwang_proto::ids::{CaseId, FieldName, Operation};
use yiwang_proto::pb;

/// Exchanges at once, each by a worker of its own.
pub const IN_FLIGHT: usize = 64;
const SUBJECTS: u64 = 100;
/// An app that is refused does not hammer: what it would burn is wanted for coming back.
const AGAIN: Duration = Duration::from_millis(100);
/// Longer than any deadline of an exchange.
const ANSWER: Duration = Duration::from_secs(30);

/// What was acknowledged, and what was seen besides.
#[derive(Default)]
pub struct Seen {
    /// Entries by index, as their receipts held them.
    pub entries: BTreeMap<u64, pb::Entry>,
    /// Exchanges that were answered.
    pub answered: u64,
    /// What became of the others: how often, by code or error.
    pub others: BTreeMap<String, u64>,
    /// The largest head under which something was proved.
    pub head: u64,
    /// Broken promises, in words.
    pub violations: Vec<String>,
}

/// The running load.
pub struct Load {
    pub seen: Arc<Mutex<Seen>>,
    answered: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<()>>,
}

struct Worker {
    client: Arc<Client>,
    contract: Arc<Contract>,
    case: CaseId,
    subjects: Arc<Vec<String>>,
    seen: Arc<Mutex<Seen>>,
    answered: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    meeting: Arc<tokio::sync::Mutex<()>>,
}

impl Load {
    /// 64 exchanges in flight over two connections.
    pub async fn start(town: &Town) -> Self {
        Self::with(town, IN_FLIGHT).await
    }

    /// So many in flight.
    pub async fn with(town: &Town, in_flight: usize) -> Self {
        let subjects: Arc<Vec<String>> = Arc::new((0..SUBJECTS).map(|row| town.source.id(row)).collect());
        let mut clients = Vec::new();
        for _ in 0..2 {
            let client = Arc::new(town.client());
            client.meet().await.unwrap();
            clients.push(client);
        }
        let case = town.case(&clients[0], &subjects).await;
        let (seen, stop) = (Arc::new(Mutex::new(Seen::default())), Arc::new(AtomicBool::new(false)));
        let answered = Arc::new(AtomicU64::new(0));
        let meeting = Arc::new(tokio::sync::Mutex::new(()));
        let tasks = (0..in_flight).map(|number| {
            let worker = Worker {
                client: Arc::clone(&clients[number % clients.len()]),
                contract: Arc::clone(&town.contract),
                case: case.clone(),
                subjects: Arc::clone(&subjects),
                seen: Arc::clone(&seen),
                answered: Arc::clone(&answered),
                stop: Arc::clone(&stop),
                meeting: Arc::clone(&meeting),
            };
            tokio::spawn(worker.run(number))
        });
        Self { tasks: tasks.collect(), seen, answered, stop }
    }

    pub fn answered(&self) -> u64 {
        self.answered.load(Ordering::SeqCst)
    }

    /// Outcomes of any kind that were acknowledged.
    pub fn acknowledged(&self) -> u64 {
        self.seen.lock().unwrap().entries.len() as u64
    }

    /// Waits for outcomes of any kind.
    pub async fn until_acknowledged(&self, how_many: u64) {
        for _ in 0..12_000 {
            if self.acknowledged() >= how_many {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("nothing was acknowledged for two minutes: {:#?}", self.seen.lock().unwrap().others);
    }

    /// Waits for so many answers more; `false` if `ended` becomes true before.
    pub async fn more_unless(&self, how_many: u64, mut ended: impl FnMut() -> bool) -> bool {
        let wanted = self.answered() + how_many;
        for _ in 0..12_000 {
            if self.answered() >= wanted {
                return true;
            }
            if ended() {
                return false;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let seen = self.seen.lock().unwrap();
        panic!("nothing was answered for two minutes: {:#?}, {:#?}", seen.violations, seen.others);
    }

    pub async fn more(&self, how_many: u64) {
        self.more_unless(how_many, || false).await;
    }

    /// Ends the load; all that was acknowledged.
    pub async fn end(self) -> Seen {
        self.stop.store(true, Ordering::SeqCst);
        for task in self.tasks {
            task.abort();
            let _ = task.await;
        }
        std::mem::take(&mut self.seen.lock().unwrap())
    }
}

impl Worker {
    async fn run(self, number: usize) {
        let mut turn = number as u64;
        while !self.stop.load(Ordering::SeqCst) {
            turn += 1;
            if !self.ask(turn).await {
                tokio::time::sleep(AGAIN).await;
                // After a start the hub waits for its members' heads: one of all workers brings this app's.
                if let Ok(_alone) = self.meeting.try_lock()
                    && let Err(ClientError::Unverified(what)) = self.client.meet().await
                {
                    self.seen.lock().unwrap().violations.push(what);
                }
            }
        }
    }

    fn other(&self, how: &str) {
        *self.seen.lock().unwrap().others.entry(how.to_owned()).or_default() += 1;
    }

    async fn ask(&self, turn: u64) -> bool {
        let subject = &self.subjects[usize::try_from(turn).unwrap() % self.subjects.len()];
        let ask = Ask {
            operation: Operation::parse("person.by_id").unwrap(),
            fields: FIELDS.iter().map(|name| FieldName::parse(name).unwrap()).collect(),
            case: self.case.clone(),
            officer: None,
            subject: subject.clone(),
            arguments: Arguments::new(),
            retry_of: None,
        };
        let signed = self.client.prepare_together(&self.contract, &ask, Manner::default()).await;
        let exchanging = tokio::time::timeout(ANSWER, self.client.exchange(&self.contract, &signed));
        let exchanged = match exchanging.await {
            Ok(Ok(exchanged)) => exchanged,
            Ok(Err(ClientError::Unverified(what))) => {
                self.seen.lock().unwrap().violations.push(what);
                return false;
            }
            Ok(Err(error)) => {
                self.other(&error.to_string());
                return false;
            }
            Err(_) => {
                self.other("no answer at all");
                return false;
            }
        };
        if let Ending::Denied { code, .. } | Ending::Failed { code } = &exchanged.ending {
            self.other(code);
        }
        let is_answered = matches!(&exchanged.ending, Ending::Answered { .. });
        let mut seen = self.seen.lock().unwrap();
        if let Ending::Answered { records, .. } = &exchanged.ending {
            if !String::from_utf8_lossy(records).contains(subject.as_str()) {
                seen.violations.push(format!("entry {}: another subject's record", exchanged.receipt.index));
            }
            seen.answered += 1;
            self.answered.fetch_add(1, Ordering::SeqCst);
        }
        seen.head = seen.head.max(exchanged.receipt.head.size);
        if seen.entries.insert(exchanged.receipt.index, exchanged.receipt.entry).is_some() {
            seen.violations.push(format!("index {} was acknowledged twice", exchanged.receipt.index));
        }
        is_answered
    }
}
