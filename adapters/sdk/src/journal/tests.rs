use super::*;
use bytes::Bytes;
use prost::Message as _;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use yiwang_journal::ground::{Ground, Workers};
use yiwang_journal::simulated::{Operation, SimulatedDisk};
use yiwang_proto::envelope::payload_type;
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

/// Answers and other records in turns: each answer stands in the journal as it left, and a batch has one signature.
#[tokio::test]
async fn answers_of_one_batch_share_a_signature_and_stand_as_they_left() {
    let disk = SimulatedDisk::new();
    let (journal, _) = open(&disk);
    let key = Arc::new(SecretKey::from_seed(&[1; 32]));
    let many = 300_u32;
    let answers = (0..many).map(|number| journal.append_answer(draft(&key, number)));
    let others = (0..many).map(|_| journal.append(Bytes::from_static(b"other")));
    let (answers, others) = futures_util::future::join(
        futures_util::future::join_all(answers),
        futures_util::future::join_all(others),
    )
    .await;
    assert!(others.iter().all(Result::is_ok));
    let mut signatures = BTreeSet::new();
    let mut left = BTreeSet::new();
    for (number, signed) in (0..many).zip(answers) {
        let signed = signed.unwrap();
        assert_eq!(
            signed.verify(payload_type::ANSWER, &key.public()).unwrap().as_ref(),
            number.to_le_bytes()
        );
        signatures.insert(signed.envelope().signatures[0].sig.slice(..64));
        left.insert(signed.bytes().clone());
    }
    assert!(signatures.len() <= 100, "{} signatures for {many} answers", signatures.len());
    drop(journal);
    disk.cut_power(|_| 0);
    let (journal, seen) = open(&disk);
    assert_eq!(seen.iter().filter(|record| record.as_ref() == b"other").count(), many as usize);
    assert_eq!(seen.into_iter().filter(|record| record.as_ref() != b"other").collect::<BTreeSet<_>>(), left);
    // One alone is signed as ever.
    assert!(!journal.append_answer(draft(&key, 0)).await.unwrap().is_in_batch());
}

/// Whoever gives up while the answer is signed and written leaves its record to others.
#[tokio::test]
async fn an_answer_that_nobody_waited_for_is_left_as_it_stands() {
    let disk = SimulatedDisk::new();
    let (journal, _) = open(&disk);
    let key = Arc::new(SecretKey::from_seed(&[1; 32]));
    for number in 0..100 {
        let mut waiting = Box::pin(journal.append_answer(draft(&key, number)));
        // Handed in by the first look.
        let _ = futures_util::poll!(&mut waiting);
        drop(waiting);
    }
    journal.append(Bytes::from_static(b"last")).await.unwrap();
    let left: BTreeSet<Bytes> = journal.given_up().into_iter().collect();
    drop(journal);
    let (_, seen) = open(&disk);
    let standing = seen.into_iter().filter(|record| record.as_ref() != b"last").collect::<BTreeSet<_>>();
    assert_eq!((standing.len(), &left), (100, &standing));
}
