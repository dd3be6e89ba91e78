use super::*;
use bytes::Bytes;
use prost::Message as _;

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

#[tokio::test]
async fn what_waits_together_shares_a_sync() {
    use yiwang_journal::ground::{Ground, Workers};
    use yiwang_journal::simulated::{Operation, SimulatedDisk};
    let disk = SimulatedDisk::new();
    let open = |seen: &mut Vec<Bytes>| {
        let options = options(4 << 20, 1);
        let read = |reader: &Reader| {
            seen.extend(reader.scan(0).map(|item| item.unwrap().1));
            Ok(())
        };
        let ground = Ground { disk: std::sync::Arc::new(disk.clone()), workers: Workers::Threads };
        AnswerJournal::open(ground, Path::new("/j"), options, std::time::Duration::ZERO, read, || None)
            .unwrap()
    };
    let journal = open(&mut Vec::new());
    let records: Vec<Bytes> = (0..500_u32).map(|n| Bytes::from(n.to_le_bytes().to_vec())).collect();
    let waiting = records.iter().map(|record| journal.append(record.clone()));
    for outcome in futures_util::future::join_all(waiting).await {
        outcome.unwrap();
    }
    let syncs = disk.operations().iter().filter(|done| **done == Operation::SyncData).count();
    assert!(syncs < 100, "{syncs} syncs for 500 records");
    drop(journal);
    disk.cut_power(|_| 0);
    let mut seen = Vec::new();
    open(&mut seen);
    seen.sort_by_key(|data| u32::from_le_bytes(data.as_ref().try_into().unwrap()));
    assert!(seen == records, "all of them, and no other");
}
