use super::*;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use prost::Message as _;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use yiwang_journal::ground::{Ground, Workers};
use yiwang_journal::simulated::{Operation, SimulatedDisk};
use yiwang_proto::envelope::{SignedStatement, payload_type};
use yiwang_proto::keys::SecretKey;

#[test]
fn records_come_back_as_they_were_and_unknown_ones_are_refused() {
    let exchange = Exchange {
        request: Bytes::from_static(b"request"),
        answer: Bytes::from_static(b"answer"),
        counted: true,
        subject_key: Bytes::from(vec![1; 32]),
        provider_tag: Bytes::from(vec![2; 32]),
        settled: vec![Bytes::from(vec![3; 16])],
        proved: true,
        ticket: Bytes::from(vec![3; 32]),
        handed_tags: Bytes::new(),
    };
    for kind in [
        Kind::Exchange(exchange),
        Kind::Head(KeptHead { checkpoint: Bytes::from_static(b"note") }),
        Kind::Contract(ContractSeen {
            contract: "a-contract".to_owned(),
            version: 2,
            ..ContractSeen::default()
        }),
        Kind::ClockAccepted(ClockAccepted { before_ms: 9 }),
        Kind::Snapshot(SnapshotPart { id: 1, number: 2, all: 3, ..SnapshotPart::default() }),
        Kind::Witnessed(KeptHead { checkpoint: Bytes::from_static(b"note") }),
        Kind::Followed(Followed { own_next: 77, settled: vec![Bytes::from(vec![3; 16])] }),
        Kind::GivenUp(GivenUp { reason: "ticket 12".to_owned(), ..GivenUp::default() }),
    ] {
        let record = Record::new(7, kind);
        assert_eq!(Record::decode(record.encode()).unwrap(), record);
    }
    // A kind of a later version: field 15.
    assert_eq!(Record::decode(Bytes::from_static(&[0x08, 1, 0x7a, 0])), Err(RecordError::Unknown));
    assert_eq!(Record::decode(Bytes::new()), Err(RecordError::Unknown));
    assert_eq!(Record::decode(Bytes::from_static(&[0xff])), Err(RecordError::Unknown));
}

#[test]
fn the_largest_statements_fit_a_record() {
    let largest = || Bytes::from(vec![0; yiwang_proto::limits::STATEMENT_MAX]);
    let exchange = Exchange {
        request: largest(),
        answer: largest(),
        counted: true,
        subject_key: Bytes::from(vec![1; 32]),
        provider_tag: Bytes::from(vec![2; 32]),
        settled: vec![Bytes::from(vec![3; 16]); yiwang_proto::adapter_journal::SETTLED_PER_RECORD],
        proved: true,
        ticket: Bytes::from(vec![3; 32]),
        handed_tags: Bytes::new(),
    };
    assert!(Record::new(i64::MAX, Kind::Exchange(exchange)).encoded_len() <= RECORD_MAX);
}

/// A journal on a simulated disk, and what was in it.
fn open(disk: &SimulatedDisk) -> (AnswerJournal, Vec<Bytes>) {
    let mut seen = Vec::new();
    let read = |reader: &Reader| {
        seen.extend(reader.scan(0).map(|item| item.unwrap().1));
        Ok(())
    };
    let ground = Ground { disk: Arc::new(disk.clone()), workers: Workers::Threads };
    let options = options(4 << 20, 1);
    let journal = AnswerJournal::open(ground, Path::new("/j"), options, Duration::ZERO, read, || None);
    (journal.unwrap(), seen)
}

#[tokio::test]
async fn what_waits_together_shares_a_sync() {
    let disk = SimulatedDisk::new();
    let (journal, _) = open(&disk);
    let records: Vec<Bytes> = (0..500_u32).map(|n| Bytes::from(n.to_le_bytes().to_vec())).collect();
    let waiting = records.iter().map(|record| journal.append(record.clone()));
    for outcome in futures_util::future::join_all(waiting).await {
        outcome.unwrap();
    }
    let syncs = disk.operations().iter().filter(|done| **done == Operation::SyncData).count();
    assert!(syncs < 100, "{syncs} syncs for 500 records");
    drop(journal);
    disk.cut_power(|_| 0);
    let (_, mut seen) = open(&disk);
    seen.sort_by_key(|data| u32::from_le_bytes(data.as_ref().try_into().unwrap()));
    assert!(seen == records, "all of them, and no other");
}

fn draft(key: &Arc<SecretKey>, number: u32) -> Draft {
    Draft {
        payload: number.to_le_bytes().to_vec(),
        key: Arc::clone(key),
        beside: 1024,
        record: Box::new(|signed| signed.bytes().clone()),
    }
}

/// Stalls the disk and lets the journal's thread wait for it, so that what comes now is one batch.
async fn held_up<'j>(disk: &SimulatedDisk, journal: &'j AnswerJournal) -> impl Future<Output = ()> + use<'j> {
    disk.stall(true);
    let mut first = Box::pin(journal.append(Bytes::from_static(b"other")));
    assert!(futures_util::poll!(&mut first).is_pending());
    while disk.stalled() == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    async move { first.await.unwrap() }
}

/// Answers and other records in turns: each answer stands in the journal as it left, and a batch has as few signatures as
/// can be.
#[tokio::test]
async fn answers_of_one_batch_share_a_signature_and_stand_as_they_left() {
    let disk = SimulatedDisk::new();
    let (journal, _) = open(&disk);
    let key = Arc::new(SecretKey::from_seed(&[1; 32]));
    let first = held_up(&disk, &journal).await;
    let many = 100_u32;
    let mut waiting: Vec<BoxFuture<'_, Option<(u32, SignedStatement)>>> = Vec::new();
    for number in 0..many {
        let (journal, draft) = (&journal, draft(&key, number));
        waiting.push(Box::pin(async move { Some((number, journal.append_answer(draft).await.unwrap())) }));
        waiting.push(Box::pin(async move {
            journal.append(Bytes::from_static(b"other")).await.unwrap();
            None
        }));
    }
    // More at once than Tokio lets one task do before it yields.
    let mut all = Box::pin(tokio::task::unconstrained(futures_util::future::join_all(waiting)));
    assert!(futures_util::poll!(&mut all).is_pending(), "no answer leaves before its record is durable");
    disk.stall(false);
    first.await;
    let (mut signatures, mut left) = (BTreeSet::new(), BTreeSet::new());
    for (number, signed) in all.await.into_iter().flatten() {
        assert_eq!(
            signed.verify(payload_type::ANSWER, &key.public()).unwrap().as_ref(),
            number.to_le_bytes()
        );
        signatures.insert(signed.envelope().signatures[0].sig.slice(..64));
        left.insert(signed.bytes().clone());
    }
    assert_eq!((left.len(), signatures.len()), (100, 2), "one for every 64");
    drop(journal);
    disk.cut_power(|_| 0);
    let (journal, seen) = open(&disk);
    let (others, answers): (Vec<_>, Vec<_>) =
        seen.into_iter().partition(|record| record.as_ref() == b"other");
    assert_eq!((others.len(), answers.into_iter().collect::<BTreeSet<_>>()), (101, left));
    // One alone is signed as ever.
    assert!(!journal.append_answer(draft(&key, 0)).await.unwrap().is_in_batch());
}

/// Whoever gives up while the answer is signed and written leaves its record to others.
#[tokio::test]
async fn an_answer_that_nobody_waited_for_is_left_as_it_stands() {
    let disk = SimulatedDisk::new();
    let (journal, _) = open(&disk);
    let key = Arc::new(SecretKey::from_seed(&[1; 32]));
    let first = held_up(&disk, &journal).await;
    for number in 0..100 {
        let mut waiting = Box::pin(tokio::task::unconstrained(journal.append_answer(draft(&key, number))));
        // Handed in by the first look.
        assert!(futures_util::poll!(&mut waiting).is_pending());
    }
    disk.stall(false);
    first.await;
    journal.append(Bytes::from_static(b"other")).await.unwrap();
    let left: BTreeSet<Bytes> = journal.given_up().into_iter().collect();
    drop(journal);
    let (_, seen) = open(&disk);
    let standing = seen.into_iter().filter(|record| record.as_ref() != b"other").collect::<BTreeSet<_>>();
    assert_eq!((standing.len(), &left), (100, &standing));
}

/// What the disk has no room for is signed for nobody.
#[tokio::test]
async fn an_answer_that_finds_no_room_does_not_leave_and_the_next_does() {
    let disk = SimulatedDisk::new();
    let (journal, _) = open(&disk);
    let key = Arc::new(SecretKey::from_seed(&[1; 32]));
    disk.set_capacity(Some(0));
    let waiting = (0..10).map(|number| journal.append_answer(draft(&key, number)));
    for outcome in futures_util::future::join_all(waiting).await {
        assert!(matches!(outcome, Err(JournalError::Full)));
    }
    assert!(journal.given_up().is_empty());
    disk.set_capacity(None);
    let signed = journal.append_answer(draft(&key, 10)).await.unwrap();
    drop(journal);
    assert_eq!(open(&disk).1, [signed.bytes().clone()]);
}
