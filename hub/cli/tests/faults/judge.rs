//! What must hold after every fault: three accounts of the same exchanges, and they agree. Looked at twice: here in
//! plain steps, and by the oracle that users have.

use crate::load::Seen;
use crate::town::{Town, yiwang};
use bytes::Bytes;
use std::collections::BTreeMap;
use yiwang_adapter_sdk::journal::Kind as Journalled;
use yiwang_audit::reconcile::{Sources, reconcile};
use yiwang_proto::entry::Kind;
use yiwang_proto::note::VerifierKey;
use yiwang_proto::pb;

/// The ledger's entries, read from its files.
fn entries(town: &Town) -> Vec<pb::Entry> {
    let options = yiwang_journal::Options::default();
    let segments = town.hub_dir.join("ledger/segments");
    let (reader, _) = yiwang_journal::Reader::open_readonly(&segments, &options).unwrap();
    reader.scan(0).map(|item| yiwang_proto::entry::decode(&item.unwrap().1).unwrap()).collect()
}

/// What the adapter did, from its own journal: answers by request.
fn journalled(town: &Town) -> BTreeMap<Bytes, Bytes> {
    let mut exchanges = BTreeMap::new();
    for record in yiwang_adapter_sdk::journal::read(&town.journal).unwrap() {
        if let Some(Journalled::Exchange(exchange)) = record.unwrap().kind
            && exchange.counted
        {
            let again = exchanges.insert(exchange.request, exchange.answer);
            assert!(again.is_none(), "one request was executed twice");
        }
    }
    exchanges
}

/// Neither program runs. Everything acknowledged is in the ledger, to the byte; no head that was seen is larger
/// than the ledger; each answer in the ledger is one that the adapter journalled, and each request was executed
/// at most once; the ledger verifies offline and its files are sound.
pub fn judge(town: &Town, seen: &Seen, what: &str) {
    assert!(town.hub.is_none() && town.adapter.is_none(), "judged while something runs");
    assert!(seen.violations.is_empty(), "{what}: {:#?}", seen.violations);
    let entries = entries(town);
    let size = entries.len() as u64;
    assert!(seen.head <= size, "{what}: a head of {} was seen, the ledger has {size}", seen.head);
    for (index, acknowledged) in &seen.entries {
        let stored = entries.get(usize::try_from(*index).unwrap());
        assert_eq!(stored, Some(acknowledged), "{what}: entry {index} is not what was acknowledged");
    }
    let journalled = journalled(town);
    for entry in entries {
        if let Some(Kind::Exchange(exchange)) = entry.kind
            && exchange.outcome() == pb::Outcome::Answered
        {
            let answer = journalled.get(&exchange.request);
            assert_eq!(answer, Some(&exchange.answer), "{what}: an answer that the adapter did not journal");
        }
    }
    verify(town);
    reconciled(town, seen, what);
    println!(
        "{what}: {} acknowledged, {} answered, 0 lost, 0 executed twice, {size} entries verified",
        seen.entries.len(),
        seen.answered
    );
}

/// The same by the oracle that users have.
fn reconciled(town: &Town, seen: &Seen, what: &str) {
    let ledger = town.hub_dir.join("ledger");
    let key = std::fs::read_to_string(ledger.join("verifier.key")).unwrap();
    let bytes = |entry| yiwang_proto::entry::encode(entry).unwrap();
    let sources = Sources {
        ledger,
        journals: vec![town.journal.clone()],
        acknowledged: seen.entries.iter().map(|(index, entry)| (*index, bytes(entry))).collect(),
        ..Sources::default()
    };
    let key = VerifierKey::parse(key.trim()).unwrap();
    let options = yiwang_audit::Options { key: Some(key), ..yiwang_audit::Options::default() };
    let judged = reconcile(&sources, &options).unwrap();
    assert!(judged.is_clean(), "{what}: {judged:#?}");
}

/// The auditor's own programs over the ledger's files.
pub fn verify(town: &Town) {
    let ledger = town.hub_dir.join("ledger");
    let key = std::fs::read_to_string(ledger.join("verifier.key")).unwrap();
    yiwang(&["audit", "fsck", "--ledger", ledger.to_str().unwrap()]);
    yiwang(&["audit", "verify", "--ledger", ledger.to_str().unwrap(), "--key", key.trim()]);
}
