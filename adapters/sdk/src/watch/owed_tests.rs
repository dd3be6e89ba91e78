use super::offered::{OFFER_AFTER_US, OFFER_AGAIN_US, OFFER_SOON_US, OFFERED_AT_ONCE};
use super::*;

fn bytes(n: usize) -> Bytes {
    Bytes::from(n.to_le_bytes().to_vec())
}

fn entry(request: &Bytes, answer: &Bytes) -> pb::ExchangeEntry {
    pb::ExchangeEntry { request: request.clone(), answer: answer.clone(), ..Default::default() }
}

#[test]
fn an_answer_that_gave_something_out_is_owed_and_no_refusal_in_its_place() {
    let entry = |answer: &'static [u8]| pb::ExchangeEntry {
        request: Bytes::from_static(b"request"),
        answer: Bytes::from_static(answer),
        ..Default::default()
    };
    let (request, busy, data) =
        (Bytes::from_static(b"request"), Bytes::from_static(b"busy"), Bytes::from_static(b"data"));
    let mut owed = Owed::default();
    owed.expect(&request, &busy, false, (0, 0));
    owed.linked(4, 0);
    // Sent again, and once more.
    owed.expect(&request, &data, true, (0, 1));
    owed.expect(&request, &Bytes::from_static(b"replayed"), false, (0, 2));
    assert_eq!((owed.len(), owed.older), (1, 0));
    assert!(!owed.settle(&entry(b"busy")) && !owed.settle(&entry(b"replayed")));
    assert!(owed.was_settled(&entry(b"replayed")), "no alarm for it");
    assert!(owed.settle(&entry(b"data")));
    assert_eq!(owed.len(), 0);
    assert!(owed.knows(&request));
}

#[test]
fn nothing_stops_for_want_of_a_refusals_receipt_and_refusals_fill_nothing() {
    let mut owed = Owed::default();
    owed.linked(1, 0);
    for n in 0..IDLE_MAX + 10 {
        owed.expect(&bytes(n), &bytes(n), false, (0, 0));
    }
    assert_eq!(
        (owed.len(), owed.stops(0)),
        (0, None),
        "twice the credit, and none of them gave anything out"
    );
    assert_eq!((owed.idle, owed.open.len()), (IDLE_MAX, IDLE_MAX));
    assert!(!owed.due(OFFER_AFTER_US).is_empty(), "they are offered all the same");
    // A restart and a link later.
    owed.unlinked();
    owed.linked(1, 0);
    assert_eq!((owed.older, owed.stops(u64::MAX)), (0, None));
    // Their receipts and entries settle them as any other's.
    let name = AnswerKey { request: key(&bytes(1)), answer: key(&bytes(1)) };
    owed.receipt(&name);
    assert_eq!((owed.idle, owed.receipted, owed.len()), (IDLE_MAX - 1, 1, 0));
    owed.unreceipt(&name);
    owed.receipt(&name);
    assert!(owed.settle(&entry(&bytes(1), &bytes(1))) && owed.settle(&entry(&bytes(2), &bytes(2))));
    assert_eq!((owed.idle, owed.receipted), (IDLE_MAX - 2, 0));
    // A hub that says for good that there is none ends the offers of a refusal, and of nothing else.
    // The journal does not hear of it: whoever reads it takes what it calls settled for proved.
    assert_eq!(owed.settled_batch().len(), 2);
    owed.offer_no_more(&sha256(&bytes(3)));
    assert_eq!(owed.idle, IDLE_MAX - 3);
    assert!(owed.was_settled(&entry(&bytes(3), &bytes(3))) && owed.settled_batch().is_empty());
    // What gives something out stops it as before.
    owed.expect(&bytes(1_000_000), &bytes(1), true, (0, 0));
    owed.unlinked();
    owed.linked(1, 0);
    assert_eq!((owed.older, owed.len()), (1, 1));
    assert!(owed.stops(PATIENCE_US).is_some());
    assert_eq!(
        owed.due(1).first().map(|offer| offer.request.clone()),
        Some(bytes(1_000_000)),
        "it comes first"
    );
    owed.offer_no_more(&sha256(&bytes(1_000_000)));
    assert_eq!(owed.len(), 1);
}

#[test]
fn only_the_exact_bytes_settle_an_answer() {
    let (request, answer, other) = (bytes(1), bytes(2), bytes(3));
    let mut owed = Owed::default();
    owed.expect(&request, &answer, true, (0, 0));
    assert!(!owed.settle(&entry(&request, &other)));
    assert!(!owed.settle(&entry(&other, &answer)));
    assert!(!owed.settle(&entry(&request, &Bytes::new())));
    assert_eq!(owed.len(), 1);
    assert!(owed.settle(&entry(&request, &answer)));
    assert!(!owed.settle(&entry(&request, &answer)), "once");
    assert!(owed.was_settled(&entry(&request, &answer)));
    assert!(!owed.was_settled(&entry(&request, &other)), "another answer to it is another matter");
    owed.ask_for_none(&other, &answer, 0);
    assert!(owed.was_settled(&entry(&other, &answer)) && !owed.was_settled(&entry(&other, &request)));
    assert_eq!(owed.len(), 0);
}

#[test]
fn what_was_settled_too_long_ago_to_be_remembered_may_be_forgotten_and_nothing_newer() {
    let mut owed = Owed::default();
    assert!(!owed.may_be_forgotten(i64::MAX - 1) && !owed.may_be_forgotten(0));
    let answered = i64::try_from(SETTLED + 10).unwrap();
    for n in 0..answered {
        let bytes = bytes(usize::try_from(n).unwrap());
        owed.expect(&bytes, &bytes, true, (0, 1000 + n));
        assert!(owed.settle(&entry(&bytes, &bytes)));
    }
    assert!(owed.may_be_forgotten(1009) && !owed.may_be_forgotten(1010), "{}", owed.forgotten_to_ms);
    owed.forget(5);
    assert!(owed.may_be_forgotten(1009));
    owed.forget(5000);
    assert!(owed.may_be_forgotten(5000) && !owed.may_be_forgotten(5001));
    owed.clock_accepted(3000);
    assert!(owed.may_be_forgotten(3000) && !owed.may_be_forgotten(3001));
}

#[test]
fn an_answer_with_a_receipt_stays_open_in_the_journal_until_its_entry_came() {
    let mut owed = Owed::default();
    owed.expect(&bytes(1), &bytes(1), true, (0, 0));
    owed.linked(1, 0);
    owed.expect(&bytes(2), &bytes(2), true, (0, 0));
    let name = |owed: &Owed, n: usize| match owed.owing(&entry(&bytes(n), &bytes(n))) {
        Owing::Open(name, own) => (name, own),
        other => panic!("{other:?}"),
    };
    let ((first, from_before), (second, own)) = (name(&owed, 1), name(&owed, 2));
    assert!(!from_before && own);
    assert!(owed.stops(0).is_some());
    owed.receipt(&first);
    owed.receipt(&first);
    owed.receipt(&second);
    assert_eq!((owed.len(), owed.older, owed.stops(u64::MAX)), (0, 0, None));
    assert_eq!(owed.owing(&entry(&bytes(1), &bytes(1))), Owing::Done);
    assert!(owed.due(u64::MAX).is_empty(), "nor is it offered");
    assert_eq!((owed.offers().len(), owed.settled_batch().len()), (2, 0));
    // Its entry came otherwise.
    owed.unreceipt(&first);
    assert_eq!((owed.len(), owed.older), (1, 1));
    assert!(owed.settle_known(&second) && !owed.settle_known(&second));
    owed.linked(1, 0);
    assert_eq!((owed.len(), owed.older, owed.offers().len()), (1, 1, 1));
    assert!(owed.settle(&entry(&bytes(1), &bytes(1))));
    assert_eq!((owed.len(), owed.older, owed.settled_batch().len()), (0, 0, 2));
}

#[test]
fn twice_the_credit_stops_and_a_receipt_lets_it_go_on() {
    let mut owed = Owed::default();
    owed.linked(8, 0);
    for n in 0..15 {
        owed.expect(&bytes(n), &bytes(n), true, (0, 0));
    }
    assert_eq!(owed.stops(0), None);
    owed.expect(&bytes(15), &bytes(15), true, (0, 0));
    assert!(owed.stops(0).is_some());
    assert!(owed.settle(&entry(&bytes(3), &bytes(3))));
    assert_eq!(owed.stops(u64::MAX), None, "those of the present link have no other limit");
}

#[test]
fn sixty_seconds_after_a_reconnect_stop() {
    let mut owed = Owed::default();
    owed.linked(8, 0);
    owed.expect(&bytes(1), &bytes(1), true, (0, 0));
    owed.unlinked();
    assert_eq!(owed.stops(10 * PATIENCE_US), None, "nobody could give a receipt");
    owed.linked(8, 1_000);
    assert_eq!(owed.due(1_000).len(), 1, "offered at once");
    assert!(owed.due(2_000).is_empty(), "and not again at once");
    assert_eq!(owed.due(1_000 + OFFER_AGAIN_US).len(), 1);
    assert_eq!(owed.stops(1_000 + PATIENCE_US - 1), None);
    assert!(owed.stops(1_000 + PATIENCE_US).is_some());
    assert!(owed.settle(&entry(&bytes(1), &bytes(1))));
    assert_eq!(owed.stops(1_000 + PATIENCE_US), None);
}

#[test]
fn memory_comes_back_from_records_and_stays_bounded() {
    let exchange = |n: usize, settled: Vec<Bytes>| Exchange {
        request: bytes(n),
        answer: bytes(n),
        counted: true,
        settled,
        ..Default::default()
    };
    let mut live = Owed::default();
    for n in 0..3 {
        live.expect(&bytes(n), &bytes(n), true, (0, 0));
    }
    assert!(live.settle(&entry(&bytes(1), &bytes(1))));
    let settled = live.settled_batch();
    let mut loaded = Owed::default();
    for n in 0..3 {
        loaded.load(&exchange(n, Vec::new()), 0);
    }
    loaded.load(&exchange(3, settled), 0);
    assert_eq!(loaded.len(), 3);
    assert!(loaded.was_settled(&entry(&bytes(1), &bytes(1))));
    assert!(loaded.settled_batch().is_empty(), "it is in the journal already");
    for n in 10..100_000 {
        loaded.load(&exchange(n, Vec::new()), 0);
    }
    let most = LOADED_MAX + IDLE_MAX;
    assert!(loaded.len() <= most && loaded.order.len() <= 8 * CREDIT + 3 * most);
    for n in 0..100_000 {
        loaded.expect(&bytes(n), &bytes(n), true, (0, 0));
        assert!(loaded.settle(&entry(&bytes(n), &bytes(n))));
    }
    assert!(loaded.settled.len() <= SETTLED && loaded.unwritten.len() <= SETTLED);
    // Refusals beside answers that gave something out: each is counted as what it is, whatever falls off.
    let mut loaded = Owed::default();
    for n in 0..100_000 {
        let exchange = Exchange { counted: n % 2 == 0, ..exchange(n, Vec::new()) };
        loaded.load(&exchange, 0);
    }
    let idle = loaded.open.values().filter(|open| !open.gives).count();
    assert_eq!((loaded.idle, loaded.len()), (idle, loaded.open.len() - idle));
}

#[test]
fn no_more_is_offered_at_once_than_a_hub_keeps_waiting_and_what_it_answers_makes_room() {
    let mut owed = Owed::default();
    let all = 3 * OFFERED_AT_ONCE;
    for n in 0..all {
        owed.expect(&bytes(n), &bytes(n), true, (0, 0));
    }
    owed.linked(1024, 0);
    let first = owed.due(0);
    assert_eq!((first.len(), first[0].request.clone()), (OFFERED_AT_ONCE, bytes(0)), "the oldest first");
    assert!(owed.due(1).is_empty(), "the hub said nothing yet");
    // Receipts, refusals, and what found no place in the link.
    for n in 0..10 {
        let name = AnswerKey { request: key(&bytes(n)), answer: key(&bytes(n)) };
        owed.receipt(&name);
    }
    for n in 10..30 {
        owed.offer_later(&sha256(&bytes(n)), n < 20, 5);
    }
    for offer in &first[30..34] {
        owed.not_offered(offer);
    }
    let next = owed.due(6);
    assert_eq!(next.len(), 34);
    assert_eq!(next[..4], first[30..34], "they are still the oldest");
    assert!(owed.due(7).is_empty());
    // What the hub could not look for comes soon; what it refused, as late as what it said nothing to.
    let receipted: Vec<usize> = (34..OFFERED_AT_ONCE).collect();
    for n in receipted {
        owed.receipt(&AnswerKey { request: key(&bytes(n)), answer: key(&bytes(n)) });
    }
    let soon = owed.due(5 + OFFER_SOON_US);
    assert!((10..20).all(|n| soon.iter().any(|offer| offer.request == bytes(n))));
    assert!(!(20..30).any(|n| soon.iter().any(|offer| offer.request == bytes(n))));
    let again = owed.due(OFFER_AGAIN_US + 6);
    assert!((20..30).all(|n| again.iter().any(|offer| offer.request == bytes(n))));
    // A new link: all that is open, from the oldest on.
    owed.linked(1024, OFFER_AGAIN_US + 7);
    assert_eq!(owed.due(OFFER_AGAIN_US + 7).len(), OFFERED_AT_ONCE);
}
