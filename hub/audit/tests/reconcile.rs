//! Three-way reconciliation: clean when all three tell the truth, and each lie by its name.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

use bytes::Bytes;
use prost::Message as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;
use yiwang_audit::Options;
use yiwang_audit::fixture::{Exchange, World};
use yiwang_audit::reconcile::{Fault, Reconciled, Sources, reconcile};
use yiwang_journal::Journal;
use yiwang_proto::adapter_journal::{Exchange as Journalled, Followed, KeptHead, Kind, RECORD_MAX, Record};
use yiwang_proto::entry::{self, Kind as EntryKind};
use yiwang_proto::pb;

/// Three parties' copies of one truth; a test spoils one of them.
struct Town {
    world: World,
    kept: Vec<(String, pb::KeptExchange)>,
    journal: Vec<Record>,
}

fn body(number: usize) -> Bytes {
    let body = pb::AnswerBody {
        salt: Bytes::from(vec![9; 16]),
        records: Bytes::from(format!("[{number}]")),
        resume: String::new(),
        follows: Bytes::new(),
    };
    Bytes::from(body.encode_to_vec())
}

impl Town {
    fn new() -> Self {
        let mut town = Self { world: World::new(), kept: Vec::new(), journal: Vec::new() };
        let indexes: Vec<u64> = (0..6).map(|number| town.exchange(number)).collect();
        let head = town.world.checkpoint(town.world.entries.len());
        town.journal.push(Record::new(0, Kind::Head(KeptHead { checkpoint: Bytes::from(head) })));
        for (number, index) in indexes.into_iter().enumerate() {
            town.keep(number, index);
        }
        town
    }

    fn draft(&mut self, number: usize) -> Exchange {
        let mut exchange = self.world.exchange();
        exchange.answer.as_mut().unwrap().body_digest = Some(yiwang_proto::sha256(&body(number)));
        exchange
    }

    fn exchange(&mut self, number: usize) -> u64 {
        let exchange = self.draft(number);
        self.record(exchange)
    }

    /// Records an exchange in ledger and journal.
    fn record(&mut self, exchange: Exchange) -> u64 {
        let index = self.world.record(exchange);
        let raw = self.entry(index);
        self.journal.push(Record::new(
            0,
            Kind::Exchange(Journalled {
                request: raw.request,
                answer: raw.answer,
                counted: true,
                subject_key: Bytes::new(),
                provider_tag: Bytes::new(),
                settled: Vec::new(),
                proved: false,
                ticket: Bytes::new(),
                handed_tags: Bytes::new(),
            }),
        ));
        index
    }

    fn entry(&self, index: u64) -> pb::ExchangeEntry {
        let bytes = &self.world.entries[usize::try_from(index).unwrap()];
        match entry::decode(bytes).unwrap().kind.unwrap() {
            EntryKind::Exchange(raw) => raw,
            _ => unreachable!("an exchange"),
        }
    }

    fn receipt(&self, index: u64) -> pb::Receipt {
        pb::Receipt {
            index,
            entry: self.world.entries[usize::try_from(index).unwrap()].clone(),
            proof: self.world.proof(index).iter().map(|hash| Bytes::copy_from_slice(hash)).collect(),
            checkpoint: Bytes::from(self.world.checkpoint(self.world.entries.len())),
        }
    }

    fn keep(&mut self, number: usize, index: u64) {
        let request =
            pb::ExchangeRequest { request: self.entry(index).request, body: Bytes::from_static(b"salted") };
        let response = pb::ExchangeResponse { receipt: Some(self.receipt(index)), body: body(number) };
        let kept = pb::KeptExchange { request: Some(request), response: Some(response), kept_at_ms: 1 };
        self.kept.push((format!("{number}.exchange"), kept));
    }

    fn response(&mut self, number: usize) -> &mut pb::ExchangeResponse {
        self.kept[number].1.response.as_mut().unwrap()
    }

    fn sources(&self, folder: &Path) -> Sources {
        let place = |name: &str| -> PathBuf {
            let path = folder.join(name);
            std::fs::create_dir_all(&path).unwrap();
            path
        };
        let (ledger, received, journal) = (place("ledger"), place("received"), place("journal"));
        self.world.write(&ledger);
        for (name, kept) in &self.kept {
            std::fs::write(received.join(name), kept.encode_to_vec()).unwrap();
        }
        let options = yiwang_journal::Options {
            segment_bytes: 1 << 20,
            max_record: RECORD_MAX,
            max_batch: 256 << 10,
            background: false,
            ..yiwang_journal::Options::default()
        };
        let (mut writer, _) = Journal::open(&journal, options, 0).unwrap();
        let records: Vec<Bytes> = self.journal.iter().map(Record::encode).collect();
        writer.append(&records).unwrap();
        Sources { ledger, received: vec![received], journals: vec![journal], ..Sources::default() }
    }

    fn judge(&self) -> Reconciled {
        let folder = TempDir::new().unwrap();
        let options = Options { key: Some(self.world.key()), ..Options::default() };
        reconcile(&self.sources(folder.path()), &options).unwrap()
    }

    /// The faults that are found, each once.
    fn faults(&self) -> Vec<Fault> {
        let done = self.judge();
        let mut faults: Vec<Fault> = done.mismatches.iter().map(|mismatch| mismatch.fault).collect();
        faults.dedup();
        assert_eq!(done.is_clean(), faults.is_empty(), "{done:#?}");
        faults
    }
}

#[test]
fn three_honest_parties_are_clean() {
    let mut town = Town::new();
    // Sent, and nothing came back; made, and never released.
    let index = town.exchange(9);
    let request = pb::ExchangeRequest { request: town.entry(index).request, body: Bytes::new() };
    let kept = pb::KeptExchange { request: Some(request), response: None, kept_at_ms: 1 };
    town.kept.push(("unanswered.exchange".to_owned(), kept));
    let unreleased = town.exchange(10);
    town.world.entries.truncate(usize::try_from(unreleased).unwrap());
    let done = town.judge();
    assert!(done.is_clean(), "{done:#?}");
    assert_eq!((done.entries, done.answered, done.received, done.unanswered), (15, 7, 7, 1));
    assert_eq!((done.journalled, done.journalled_unrecorded, done.receipts), (8, 1, 6));
    assert!(done.heads >= 2, "{}", done.heads);
}

#[test]
fn a_released_answer_without_an_entry_is_found() {
    let mut town = Town::new();
    let index = town.exchange(6);
    town.keep(6, index);
    // The hub hands the answer out and drops the entry; what it gives for a receipt is worth nothing.
    town.world.entries.pop();
    town.response(6).receipt.as_mut().unwrap().checkpoint = Bytes::from_static(b"no note");
    assert_eq!(town.faults(), [Fault::ReleasedUnrecorded]);
    // Without anything but the body.
    town.response(6).receipt = None;
    assert_eq!(town.faults(), [Fault::ReleasedUnrecorded]);
    // With an entry that says something else.
    let mut town = Town::new();
    let draft = town.draft(6);
    let index = town.record(draft);
    town.keep(6, index);
    town.response(6).receipt = None;
    town.world.edit_exchange(index, |entry| {
        entry.set_outcome(pb::Outcome::Withheld);
        entry.code = "case_closed".to_owned();
    });
    assert!(town.judge().has(Fault::ReleasedUnrecorded), "withheld, the ledger says, and an app has it");
}

#[test]
fn a_lost_acknowledged_request_is_found() {
    let mut town = Town::new();
    let index = town.exchange(6);
    town.keep(6, index);
    // A denial has no answer to miss; only the receipt tells.
    let denied = town.draft(7).with_fields(&["id_number", "name"]);
    let denied = denied.deny(yiwang_proto::codes::Code::FieldNotGranted);
    let denied = town.world.record(denied);
    let entry = town.world.entries[usize::try_from(denied).unwrap()].clone();
    let folder = TempDir::new().unwrap();
    let mut sources = town.sources(folder.path());
    sources.acknowledged.push((denied, entry.clone()));
    let options = Options { key: Some(town.world.key()), ..Options::default() };
    let done = reconcile(&sources, &options).unwrap();
    assert!(done.is_clean(), "{done:#?}");
    town.world.entries.pop();
    let folder = TempDir::new().unwrap();
    let sources = Sources { acknowledged: vec![(denied, entry)], ..town.sources(folder.path()) };
    let done = reconcile(&sources, &options).unwrap();
    let faults: Vec<(Fault, Option<u64>)> =
        done.mismatches.iter().map(|mismatch| (mismatch.fault, mismatch.index)).collect();
    assert_eq!(faults, [(Fault::AcknowledgedLost, Some(denied))]);
    // The same from an app's folder; its receipt also shows a longer history.
    town.world.entries.pop();
    let faults = town.faults();
    assert!(faults.contains(&Fault::AcknowledgedLost) && faults.contains(&Fault::HeadsDiffer), "{faults:?}");
}

#[test]
fn an_answer_whose_receipt_the_adapter_had_is_found_when_its_entry_is_gone() {
    let journalled = |record: &mut Record| match &mut record.kind {
        Some(Kind::Exchange(exchange)) => exchange.clone(),
        _ => unreachable!("an exchange"),
    };
    let mut town = Town::new();
    town.exchange(6);
    let made = journalled(town.journal.last_mut().unwrap());
    let key = Bytes::copy_from_slice(&yiwang_proto::sha256(&made.request)[..16]);
    // What is not in the journal any more says nothing.
    let settled = vec![key.clone(), Bytes::from(vec![7; 16])];
    town.journal.push(Record::new(0, Kind::Followed(Followed { own_next: 1, settled })));
    assert_eq!(town.faults(), []);
    // Of two answers to one request, one was recorded.
    let mut busy = journalled(&mut town.journal[0]);
    (busy.request, busy.counted) = (made.request, false);
    town.journal.insert(0, Record::new(0, Kind::Exchange(busy)));
    assert_eq!(town.faults(), []);
    town.journal.remove(0);
    town.world.entries.pop();
    let done = town.judge();
    assert_eq!(town.faults(), [Fault::AcknowledgedLost], "{done:#?}");
    assert_eq!((done.total, done.journalled_unrecorded), (1, 0));
    // The next exchange's record says so too.
    town.journal.pop();
    assert_eq!(town.faults(), [], "without a receipt it may never have been released");
    let mut next = journalled(&mut town.journal[0]);
    next.settled = vec![key];
    town.journal[0] = Record::new(0, Kind::Exchange(next));
    assert_eq!(town.faults(), [Fault::AcknowledgedLost]);
}

#[test]
fn a_double_effect_is_found_wherever_it_shows() {
    // An adapter that carried one request out twice.
    let mut town = Town::new();
    let again = town.journal[2].clone();
    town.journal.push(again);
    assert_eq!(town.faults(), [Fault::DoubleEffect]);
    // A refused repetition took no effect.
    let mut town = Town::new();
    let Some(Kind::Exchange(mut refused)) = town.journal[2].kind.clone() else { unreachable!("an exchange") };
    refused.counted = false;
    town.journal.push(Record::new(0, Kind::Exchange(refused)));
    assert_eq!(town.faults(), []);
    // A hub that forwarded one request twice: the ledger's own check sees it too.
    let mut town = Town::new();
    let draft = town.draft(6);
    town.record(draft.clone());
    town.world.record(draft);
    let faults = town.faults();
    assert!(faults.contains(&Fault::DoubleEffect), "{faults:?}");
    // An app that got two answers to one request.
    let mut town = Town::new();
    let first = town.exchange(6);
    town.keep(6, first);
    let (mut other, request) = (town.kept[6].1.clone(), town.entry(first).request);
    let mut answered = town.draft(6);
    answered.answer.as_mut().unwrap().answered_at_ms += 1;
    let second = town.record(answered);
    let mut lie = town.entry(second);
    lie.request = request;
    let lie = pb::Entry { time_ms: 1, kind: Some(EntryKind::Exchange(lie)) };
    other.response.as_mut().unwrap().receipt.as_mut().unwrap().entry = entry::encode(&lie).unwrap();
    town.kept.push(("6-2.exchange".to_owned(), other));
    assert!(town.judge().has(Fault::DoubleEffect));
}

#[test]
fn inconsistent_heads_are_found() {
    // An adapter that was shown another history of the same size.
    let mut town = Town::new();
    let mut fork = World::new();
    fork.now_ms += 1;
    while fork.entries.len() < town.world.entries.len() {
        fork.answered();
    }
    let head = fork.checkpoint(fork.entries.len());
    town.journal.push(Record::new(0, Kind::Head(KeptHead { checkpoint: Bytes::from(head.clone()) })));
    assert_eq!(town.faults(), [Fault::HeadsDiffer]);
    // Somebody's head of a longer history.
    let town = Town::new();
    let mut longer = Town::new();
    longer.exchange(7);
    let folder = TempDir::new().unwrap();
    let note = longer.world.checkpoint(longer.world.entries.len()).into_bytes();
    let sources = Sources { heads: vec![("a member".to_owned(), note)], ..town.sources(folder.path()) };
    let options = Options { key: Some(town.world.key()), ..Options::default() };
    assert!(reconcile(&sources, &options).unwrap().has(Fault::HeadsDiffer));
    // A statement whose signer knew another history.
    let mut town = Town::new();
    let mut draft = town.draft(6);
    draft.request.head.root = [3; 32];
    town.record(draft);
    assert!(town.judge().has(Fault::HeadsDiffer));
}

#[test]
fn a_restored_old_journal_and_an_exchanged_body_are_found() {
    let mut town = Town::new();
    town.journal.pop();
    town.journal.truncate(5);
    assert_eq!(town.faults(), [Fault::AnswerUnknown]);
    let mut town = Town::new();
    town.response(2).body = body(3);
    assert_eq!(town.faults(), [Fault::Body]);
}

#[test]
fn the_command_lists_what_is_wrong_and_says_so_by_its_exit_code() {
    let mut town = Town::new();
    let run = |town: &Town| {
        let folder = TempDir::new().unwrap();
        let sources = town.sources(folder.path());
        let key = town.world.key().to_string();
        let text = |path: &Path| path.to_str().unwrap().to_owned();
        let (ledger, received) = (text(&sources.ledger), text(&sources.received[0]));
        let journal = text(&sources.journals[0]);
        let words = [
            "reconcile",
            "--ledger",
            &ledger,
            "--received",
            &received,
            "--adapter-journal",
            &journal,
            "--key",
            &key,
        ];
        let output = Command::new(env!("CARGO_BIN_EXE_yiwang-audit")).args(words).output().unwrap();
        (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
    };
    let (code, out) = run(&town);
    assert_eq!(code, 0, "{out}");
    assert!(out.starts_with("reconciliation: CLEAN\n") && out.ends_with("mismatches 0\n"), "{out}");
    let again = town.journal[1].clone();
    town.journal.push(again);
    let (code, out) = run(&town);
    assert_eq!(code, 1, "{out}");
    assert!(out.contains("mismatch: whole: double-effect: request `"), "{out}");
}
