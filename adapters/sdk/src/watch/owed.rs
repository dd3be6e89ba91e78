//! Answers without receipt: what left this adapter, and what the hub has not yet proved to be in the ledger.
//! They are offered again, and when too many are owed, or for too long, nothing more is answered.

use crate::adapter::Adapter;
use crate::journal::{Exchange, Kind, Record};
use crate::reply::Refusal;
use bytes::Bytes;
use std::collections::{HashMap, VecDeque};
use yiwang_proto::adapter_journal::SETTLED_PER_RECORD;
use yiwang_proto::answer::{Answer, Verdict};
use yiwang_proto::codes::Code;
use yiwang_proto::envelope::SignedStatement;
use yiwang_proto::{Digest, pb, sha256};

/// The link's credit where no link said another: as many exchanges as a hub lets run at once.
const CREDIT: usize = 1024;
/// How long after a reconnect answers from before it may stay without receipt.
const PATIENCE_US: u64 = 60_000_000;
/// An answer of the present link is offered when its receipt does not come within this time.
const OFFER_AFTER_US: u64 = 10_000_000;
/// What was offered is offered again after this time.
const OFFER_AGAIN_US: u64 = 30_000_000;
/// Answers offered at once: what a hub looks up in a moment.
const OFFERED_AT_ONCE: usize = 64;
/// Settled answers that are remembered, so that their entries are known when they come: some seconds of a full
/// load.
const SETTLED: usize = 16_384;

/// Half of a digest: an equal one could only settle an answer that is offered in vain.
type Key = [u8; 16];

fn key(request: &[u8]) -> Key {
    half(&sha256(request))
}

fn half(digest: &Digest) -> Key {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, ..] = *digest;
    [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p]
}

/// A request and the answer to it, exact bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Offer {
    pub(crate) request: Bytes,
    pub(crate) answer: Bytes,
}

#[derive(Debug)]
struct Open {
    offer: Offer,
    answered_ms: i64,
    link: u64,
    since_us: u64,
    offered_us: Option<u64>,
}

/// All of them. The journal holds what this memory holds.
#[derive(Debug)]
pub(crate) struct Owed {
    open: HashMap<Key, Open>,
    order: VecDeque<Key>,
    // How many of the open ones are of earlier links.
    older: usize,
    // With half of the answer's digest, where this process or its journal's record knows it.
    settled: HashMap<Key, Option<Key>>,
    settled_order: VecDeque<(Key, i64)>,
    // The newest time of which an answer is neither open nor settled here any more; what is older may be missing too.
    forgotten_to_ms: i64,
    // Settled, and not yet in the journal as such.
    unwritten: VecDeque<Key>,
    link: u64,
    linked_us: Option<u64>,
    most: usize,
}

impl Default for Owed {
    fn default() -> Self {
        Self {
            open: HashMap::new(),
            order: VecDeque::new(),
            older: 0,
            settled: HashMap::new(),
            settled_order: VecDeque::new(),
            forgotten_to_ms: i64::MIN,
            unwritten: VecDeque::new(),
            link: 0,
            linked_us: None,
            most: 2 * CREDIT,
        }
    }
}

impl Owed {
    /// Takes in an exchange of the journal, written at this time, while opening.
    pub(crate) fn load(&mut self, exchange: &Exchange, time_ms: i64) {
        self.load_settled(&exchange.settled);
        if asks_for_none(exchange) {
            self.ask_for_none(&exchange.request, &exchange.answer, time_ms);
            return;
        }
        self.expect(&exchange.request, &exchange.answer, exchange.counted, (0, time_ms));
        // Above what stops the service, only the newest are offered; the oldest were settled in all but word.
        while self.open.len() > self.most
            && let Some(oldest) = self.order.pop_front()
        {
            if let Some(open) = self.open.remove(&oldest) {
                self.remember(oldest, Some(key(&open.offer.answer)), open.answered_ms);
            }
        }
    }

    /// Takes in an answer without receipt of the journal's snapshot, which was written at this time. What came before it
    /// and was settled is known no more.
    pub(crate) fn load_open(&mut self, request: &Bytes, answer: &Bytes, time_ms: i64) {
        self.expect(request, answer, true, (0, time_ms));
    }

    /// The clock was set back on purpose: what is remembered reaches as far as before, by the time that counts now.
    pub(crate) fn clock_accepted(&mut self, now_ms: i64) {
        self.forgotten_to_ms = self.forgotten_to_ms.min(now_ms);
    }

    /// Of answers up to this time only the open ones are known.
    pub(crate) fn forget(&mut self, to_ms: i64) {
        self.forgotten_to_ms = self.forgotten_to_ms.max(to_ms);
    }

    /// What is open, oldest first, for the journal's snapshot.
    pub(crate) fn offers(&self) -> Vec<Offer> {
        self.order.iter().filter_map(|key| self.open.get(key)).map(|open| open.offer.clone()).collect()
    }

    /// Takes in what a record of the journal says is settled.
    pub(crate) fn load_settled(&mut self, settled: &[Bytes]) {
        for key in settled.iter().filter_map(|bytes| Key::try_from(bytes.as_ref()).ok()) {
            self.close(&key);
        }
        self.unwritten.clear();
    }

    /// An answer leaves now, by the monotonic clock and by the other; it may give something out. Of two answers to one
    /// request that one is owed a receipt: a hub that sends a request again gets no refusal owed in its place.
    pub(crate) fn expect(
        &mut self,
        request: &Bytes,
        answer: &Bytes,
        gives: bool,
        (now_us, now_ms): (u64, i64),
    ) {
        let key = key(request);
        if let Some(other) = self.open.get(&key).filter(|other| other.offer.answer != *answer) {
            if !gives {
                self.ask_for_none(request, answer, now_ms);
                return;
            }
            let (other, answered_ms) = (self::key(&other.offer.answer), other.answered_ms);
            self.older -= usize::from(self.open.get(&key).is_some_and(|other| other.link < self.link));
            self.remember(key, Some(other), answered_ms);
        }
        let offer = Offer { request: request.clone(), answer: answer.clone() };
        let open = Open { offer, answered_ms: now_ms, link: self.link, since_us: now_us, offered_us: None };
        if self.open.insert(key, open).is_none() {
            self.order.push_back(key);
        }
        // Settled answers leave their key in the order; it is swept before it can grow without bound.
        if self.order.len() > 4 * self.most {
            let open = &self.open;
            self.order.retain(|key| open.contains_key(key));
        }
    }

    /// An answer leaves whose entry will be known when it comes, and that needs no receipt: else an adapter that stops
    /// because receipts are owed would owe the more, the longer it is asked.
    pub(crate) fn ask_for_none(&mut self, request: &Bytes, answer: &Bytes, now_ms: i64) {
        self.remember(key(request), Some(key(answer)), now_ms);
    }

    /// Whether an answer to this request is open, or was settled not long ago.
    fn knows(&self, request: &Bytes) -> bool {
        let key = key(request);
        self.open.contains_key(&key) || self.settled.contains_key(&key)
    }

    /// Whether an entry holds exactly an open request and its answer; it is settled then.
    pub(crate) fn settle(&mut self, entry: &pb::ExchangeEntry) -> bool {
        let Some(key) = key_of(entry) else { return false };
        let holds = self.open.get(&key).is_some_and(|open| open.offer.answer == entry.answer);
        if holds {
            self.close(&key);
        }
        holds
    }

    fn close(&mut self, key: &Key) {
        let open = self.open.remove(key);
        if open.as_ref().is_some_and(|open| open.link < self.link) {
            self.older -= 1;
        }
        let (answer, answered_ms) = match &open {
            Some(open) => (Some(self::key(&open.offer.answer)), open.answered_ms),
            None => (None, i64::MIN),
        };
        if self.remember(*key, answer, answered_ms) {
            self.unwritten.push_back(*key);
        }
        // A record that never comes: these are offered once more after a restart, and settled again.
        while self.unwritten.len() > SETTLED {
            self.unwritten.pop_front();
        }
    }

    /// Whether it is new.
    fn remember(&mut self, key: Key, answer: Option<Key>, answered_ms: i64) -> bool {
        let new = self.settled.insert(key, answer).is_none();
        if new {
            self.settled_order.push_back((key, answered_ms));
        }
        while self.settled_order.len() > SETTLED
            && let Some((oldest, answered_ms)) = self.settled_order.pop_front()
        {
            self.settled.remove(&oldest);
            self.forget(answered_ms);
        }
        new
    }

    /// Whether the entry's answer was settled not long ago, that one and no other to the same request.
    pub(crate) fn was_settled(&self, entry: &pb::ExchangeEntry) -> bool {
        let settled = key_of(entry).and_then(|key| self.settled.get(&key));
        settled.is_some_and(|answer| answer.is_none_or(|answer| answer == key(&entry.answer)))
    }

    /// Whether an answer of this time may have been settled so long ago that only the journal knows it.
    pub(crate) fn may_be_forgotten(&self, answered_ms: i64) -> bool {
        answered_ms <= self.forgotten_to_ms
    }

    /// Settled answers for the next record of the journal.
    pub(crate) fn settled_batch(&mut self) -> Vec<Bytes> {
        let count = self.unwritten.len().min(SETTLED_PER_RECORD);
        self.unwritten.drain(..count).map(|key| Bytes::copy_from_slice(&key)).collect()
    }

    /// A link is up that lets so many exchanges run at once.
    pub(crate) fn linked(&mut self, credit: usize, now_us: u64) {
        self.link += 1;
        self.linked_us = Some(now_us);
        self.older = self.open.len();
        self.most = 2 * credit.clamp(1, CREDIT);
        for open in self.open.values_mut() {
            open.offered_us = None;
        }
    }

    /// The link is gone; its answers are of an earlier link from now on.
    pub(crate) fn unlinked(&mut self) {
        self.linked_us = None;
    }

    /// What is to be offered now, oldest first.
    pub(crate) fn due(&mut self, now_us: u64) -> Vec<Offer> {
        let mut due = Vec::new();
        let link = self.link;
        for key in &self.order {
            let Some(open) = self.open.get_mut(key) else { continue };
            let waited = now_us.saturating_sub(open.since_us) >= OFFER_AFTER_US || open.link < link;
            let again = open.offered_us.is_none_or(|at| now_us.saturating_sub(at) >= OFFER_AGAIN_US);
            if waited && again {
                open.offered_us = Some(now_us);
                due.push(open.offer.clone());
            }
            if due.len() >= OFFERED_AT_ONCE {
                break;
            }
        }
        due
    }

    /// Why nothing more is answered, if so.
    fn stops(&self, now_us: u64) -> Option<&'static str> {
        if self.open.len() >= self.most {
            return Some("twice the link's credit of answers has no receipt");
        }
        let waited = self.linked_us.is_some_and(|at| now_us.saturating_sub(at) >= PATIENCE_US);
        (waited && self.older > 0).then_some("answers from before the link have no receipt after 60 s")
    }

    /// Answers without receipt.
    pub(crate) fn len(&self) -> usize {
        self.open.len()
    }
}

fn key_of(entry: &pb::ExchangeEntry) -> Option<Key> {
    if entry.request.is_empty() {
        // The hub keeps no request whose signature was not good, only its digest.
        return None;
    }
    Some(key(&entry.request))
}

/// Whether a record is of a request that was refused because receipts were owed. Such a request is never counted, which
/// spares looking into the others.
fn asks_for_none(exchange: &Exchange) -> bool {
    let refused = || {
        let answer = SignedStatement::parse(exchange.answer.clone()).ok()?;
        Some(Answer::parse(answer.unverified_payload()).ok()?.verdict)
    };
    !exchange.counted && refused() == Some(Verdict::Failed(Code::ReceiptsOwed))
}

impl Adapter {
    /// Takes in the answers that stand in the journal and never left, because their exchanges were cancelled while they
    /// were written: the hub gave them up, or the link ended. They are offered like any other.
    pub(crate) fn expect_given_up(&self) {
        for record in self.journal.given_up() {
            let Ok(Record { time_ms, kind: Some(Kind::Exchange(exchange)) }) = Record::decode(record) else {
                continue;
            };
            let (mut owed, now_us) = (self.watch.owed(), self.clock().monotonic_us());
            // It never left: another answer to the same request did, where there is one.
            if asks_for_none(&exchange) || owed.knows(&exchange.request) {
                owed.ask_for_none(&exchange.request, &exchange.answer, time_ms);
            } else {
                owed.expect(&exchange.request, &exchange.answer, exchange.counted, (now_us, time_ms));
            }
        }
    }

    /// Whether receipts are in order, so that one more answer may leave.
    ///
    /// # Errors
    /// [`Code::ReceiptsOwed`] where the hub owes too many, or for too long.
    pub(crate) fn receipts_in_order(&self) -> Result<(), Refusal> {
        match self.watch.owed().stops(self.clock().monotonic_us()) {
            None => Ok(()),
            Some(why) => Err(Refusal::failed(Code::ReceiptsOwed, why)),
        }
    }
}

#[cfg(test)]
mod tests {
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
        assert!(loaded.len() <= 2 * CREDIT && loaded.order.len() <= 8 * CREDIT + 1);
        for n in 0..100_000 {
            loaded.expect(&bytes(n), &bytes(n), true, (0, 0));
            assert!(loaded.settle(&entry(&bytes(n), &bytes(n))));
        }
        assert!(loaded.settled.len() <= SETTLED && loaded.unwritten.len() <= SETTLED);
    }
}
