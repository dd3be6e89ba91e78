use super::*;
use crate::journal::{ContractSeen, Pinned, options};
use std::path::Path;
use std::sync::Arc;
use yiwang_journal::Journal;
use yiwang_journal::simulated::SimulatedDisk;
use yiwang_proto::document::SignedDocument;
use yiwang_proto::ids::{MemberId, RecordType, RequestId};
use yiwang_proto::keys::SecretKey;
use yiwang_proto::note::SignerKey;
use yiwang_proto::revocation::{Revocation, Revoked};

const NOW: i64 = 1_795_000_000_000;
const ORIGIN: &str = "log.test/yiwang";

fn ledger() -> CheckpointVerifier {
    let signer = SignerKey::from_seed(ORIGIN, &[5; 32]).unwrap();
    CheckpointVerifier::new(signer.verifier().clone(), ORIGIN, 4)
}

fn consumer() -> MemberId {
    MemberId::parse("street").unwrap()
}

fn request(n: u32) -> RequestId {
    RequestId::parse(&format!("0190a5c3-0000-7000-8000-{n:012x}")).unwrap()
}

fn contract() -> ContractId {
    ContractId::parse("police-street-person").unwrap()
}

/// More of everything than one part holds.
fn full() -> Memory {
    let mut memory = Memory::default();
    memory.highest_ms = NOW;
    for n in 0..400_u32 {
        let digest = yiwang_proto::sha256(&n.to_be_bytes());
        memory.subjects.bind(&digest, &digest, NOW).unwrap();
        memory.replay.take(&consumer(), &request(n), NOW + 60_000, NOW).unwrap();
        let app = AppId::parse(&format!("desk-{n}")).unwrap();
        memory.rates.count(&contract(), &app, None, NOW);
    }
    memory.see(&contract(), 7, &[7; 32], None);
    for _ in 0..3 {
        memory.ticket_uses.count(&[4; 32], NOW);
    }
    memory
}

fn offer(n: u8) -> Offer {
    Offer { request: Bytes::from(vec![n; 700]), answer: Bytes::from(vec![n; 900]) }
}

fn watched() -> Watched {
    let signer = SignerKey::from_seed(ORIGIN, &[5; 32]).unwrap();
    let cosigned = yiwang_proto::checkpoint::Checkpoint::new(ORIGIN, 9, [9; 32]).unwrap();
    Watched {
        witnessed: cosigned.sign(&signer).unwrap().into(),
        own_next: 77,
        owed: vec![offer(1), offer(2), offer(3)],
        standings: vec![StandingSeen {
            root: Bytes::copy_from_slice(root().public().as_bytes()),
            sequence: 12,
            digest: Bytes::from(vec![12; 32]),
        }],
        revocations: vec![revocation().bytes().clone()],
    }
}

fn root() -> SecretKey {
    SecretKey::from_seed(&[3; 32])
}

fn revocation() -> SignedDocument {
    let revoked = Revoked { contracts: [(contract(), None)].into(), ..Revoked::default() };
    Revocation::sign(&root(), &root().public(), &consumer(), &revoked, false, NOW)
}

fn version(n: u32) -> Bytes {
    let seen = ContractSeen {
        contract: "police-street-person".to_owned(),
        version: n,
        digest: Bytes::copy_from_slice(&[n as u8; 32]),
        record: "BusPass".to_owned(),
        record_version: n,
        record_digest: Bytes::copy_from_slice(&[n as u8; 32]),
    };
    Record::new(NOW, Kind::Contract(seen)).encode()
}

fn journal(disk: &SimulatedDisk) -> Journal {
    Journal::open_with(Arc::new(disk.clone()), Path::new("/j"), options(4 << 20, 1), 0).unwrap().0
}

fn holds_all(memory: &mut Memory) {
    assert_eq!(memory.highest_ms, NOW);
    assert_eq!(memory.subjects.len(), 400);
    for n in 0..400_u32 {
        let digest = yiwang_proto::sha256(&n.to_be_bytes());
        assert!(memory.subjects.bind(&digest, &[1; 32], NOW).is_err());
        assert!(memory.replay.take(&consumer(), &request(n), NOW + 60_000, NOW).is_err());
        let app = AppId::parse(&format!("desk-{n}")).unwrap();
        let counts = memory.rates.count(&contract(), &app, None, NOW);
        assert_eq!((counts.app_this_minute, counts.officer_today), (2, 2));
    }
}

#[test]
fn a_start_reads_from_the_newest_whole_snapshot() {
    let disk = SimulatedDisk::new();
    let mut journal = journal(&disk);
    let old: Vec<Bytes> = (0..6000).map(|_| version(1)).collect();
    for batch in old.chunks(500) {
        journal.append(batch).unwrap();
    }
    // Written while the snapshot was taken, and not yet in the memory of which it was taken.
    journal.append(&[version(8)]).unwrap();
    let parts = records(&full(), &watched(), 1, NOW);
    assert!(parts.len() > 6, "{}", parts.len());
    assert!(parts.iter().all(|part| part.len() < crate::journal::RECORD_MAX));
    for part in parts {
        journal.append(&[part, version(1)]).unwrap();
    }
    journal.append(&[version(1)]).unwrap();
    // A second one that was cut off.
    let cut = records(&full(), &watched(), 2, NOW + 5);
    journal.append(cut.get(..3).unwrap()).unwrap();
    let mut memory = Memory::default();
    let count = read(&journal.reader(), &mut memory, NOW, &ledger()).unwrap().unwrap();
    assert!(count < 5000, "{count} of {} records were read", journal.reader().len());
    memory.highest_ms = NOW;
    assert_eq!(memory.witnessed.as_ref().map(|recorded| recorded.checkpoint.size), Some(9));
    assert_eq!(memory.ticket_uses.count(&[4; 32], NOW), 4, "uses of a ticket are not forgotten");
    assert_eq!(memory.floors.get(&root().public()), Some(&(12, [12; 32])), "no older word counts again");
    assert_eq!(memory.revocations.len(), 1, "a revocation counts for ever");
    assert_eq!(memory.own_next, 77);
    assert_eq!(memory.owed.offers(), watched().owed, "what has no receipt is still offered");
    holds_all(&mut memory);
    assert_eq!(memory.version(&contract(), 8, &[8; 32]), crate::journal::VersionSeen::Same);
    let pinned = |version: u32, text: u8| {
        let record = RecordType::parse("BusPass").unwrap();
        memory.pin_fault(&contract(), &Pinned { record, version, digest: [text; 32] }).is_some()
    };
    let judged = [pinned(7, 7), pinned(8, 8), pinned(8, 9), pinned(9, 9)];
    assert_eq!(judged, [true, false, true, false], "no older version of a record type is pinned again");
}

/// A request that was carried out, as the journal has it.
fn exchange(n: u32) -> Record {
    let statement = yiwang_proto::request::Request {
        id: request(n),
        consumer: consumer(),
        app: "desk".parse().unwrap(),
        provider: "police".parse().unwrap(),
        contract: contract(),
        contract_digest: [3; 32],
        purpose: "social-assistance.eligibility".parse().unwrap(),
        case: "0190a5c3-0000-7000-8000-000000000002".parse().unwrap(),
        record: "Person".parse().unwrap(),
        operation: "person.by_id".parse().unwrap(),
        fields: vec!["name".parse().unwrap()],
        subject_tags: Vec::new(),
        issued_at_ms: NOW,
        expires_at_ms: NOW + 60_000,
        body_digest: [4; 32],
        head: Head::default(),
        retry_of: None,
        officer: None,
        delegation_digest: [5; 32],
        officer_by: yiwang_proto::request::OfficerBy::Asserted,
        sealing: None,
        in_batch: false,
    };
    let exchange = crate::journal::Exchange {
        request: statement.sign(&SecretKey::from_seed(&[8; 32])).bytes().clone(),
        answer: Bytes::from_static(b"answer"),
        counted: true,
        ticket: Bytes::from(vec![4; 32]),
        ..Default::default()
    };
    Record::new(NOW, Kind::Exchange(exchange))
}

#[test]
fn what_ran_while_the_snapshot_was_taken_is_counted_once() {
    let app = AppId::parse("desk").unwrap();
    let mut live = Memory::default();
    live.replay.take(&consumer(), &request(1), NOW + 60_000, NOW).unwrap();
    live.rates.count(&contract(), &app, None, NOW);
    live.ticket_uses.count(&[4; 32], NOW);
    let disk = SimulatedDisk::new();
    let mut journal = journal(&disk);
    journal.append(&records(&live, &Watched::default(), 1, NOW)).unwrap();
    // The first was admitted before the snapshot was taken, the second after it.
    journal.append(&[exchange(1).encode(), exchange(2).encode()]).unwrap();
    for later_ms in [NOW, NOW + 10_000] {
        let mut memory = Memory::default();
        read(&journal.reader(), &mut memory, later_ms, &ledger()).unwrap().unwrap();
        for n in [1, 2] {
            assert!(memory.replay.take(&consumer(), &request(n), NOW + 60_000, later_ms).is_err(), "{n}");
        }
        let counts = memory.rates.count(&contract(), &app, None, NOW);
        assert_eq!((counts.app_this_minute, counts.officer_today), (3, 3), "two and this one");
        assert_eq!(memory.ticket_uses.count(&[4; 32], NOW), 3);
    }
}

#[test]
fn without_a_snapshot_everything_is_read() {
    let disk = SimulatedDisk::new();
    let mut journal = journal(&disk);
    journal.append(&[version(3)]).unwrap();
    let cut = records(&full(), &watched(), 2, NOW);
    journal.append(cut.get(1..).unwrap()).unwrap();
    let mut memory = Memory::default();
    read(&journal.reader(), &mut memory, NOW, &ledger()).unwrap().unwrap();
    assert!(memory.subjects.is_empty(), "an incomplete snapshot says nothing");
    assert_eq!(memory.version(&contract(), 3, &[3; 32]), crate::journal::VersionSeen::Same);
}

#[test]
fn an_empty_memory_has_a_snapshot_too() {
    let parts = records(&Memory::default(), &Watched::default(), 9, NOW);
    assert_eq!(parts.len(), 1);
}
