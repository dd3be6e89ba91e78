//! Answers without receipt: what left this adapter, and what the hub has not yet proved to be in the ledger.
//! They are offered again, and when too many are owed, or for too long, nothing more is answered.

mod given_up;
mod offered;

pub use given_up::OwedAnswer;
pub(crate) use offered::OFFERED_AT_ONCE;

use crate::adapter::Adapter;
use crate::journal::{Exchange, Kind, Record};
use crate::reply::Refusal;
use crate::watch::follow::AWAITED_MAX;
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
/// Answers without a final receipt that a journal may hold: what stops the service, and those whose entries are awaited.
const LOADED_MAX: usize = 2 * CREDIT + AWAITED_MAX;
/// Refusals without receipt that are offered; what comes above that is known when its entry comes, and needs none.
const IDLE_MAX: usize = CREDIT;
/// Settled answers that are remembered, so that their entries are known when they come: some seconds of a full
/// load.
const SETTLED: usize = 16_384;

/// Half of a digest: an equal one could only settle an answer that is offered in vain.
type Key = [u8; 16];

/// Names an answer by its request and itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct AnswerKey {
    request: Key,
    answer: Key,
}

impl AnswerKey {
    pub(crate) fn of(request: &[u8], answer: &[u8]) -> Self {
        Self { request: key(request), answer: key(answer) }
    }
}

/// What a receipt's entry is to this memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owing {
    /// Nothing that left here.
    Nothing,
    /// An answer that has its receipt already.
    Done,
    /// An answer that is open; whether it is of this process, and not from its journal.
    Open(AnswerKey, bool),
}

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
    // Names the offer's answer. Hashed once: whoever looks for it holds the lock.
    answer: Key,
    answered_ms: i64,
    link: u64,
    since_us: u64,
    // When it is to be offered again at the earliest; at once where there is none.
    again_us: Option<u64>,
    // Whether it is offered and the hub said nothing yet.
    asked: bool,
    // Whether it gave something out. One that did not is offered like any other, so that its entry is known, but nothing
    // stops for want of its receipt: the hub gives none where it held the refusal itself to be wrong.
    gives: bool,
    // A receipt came, and its entry is awaited among the own member's. INVARIANT: only that entry settles it, or the
    // proof that the receipt's head lies on the one history: a hub can sign a head for one answer alone.
    receipted: bool,
}

/// All of them. The journal holds what this memory holds: what is receipted is open there until its entry came.
#[derive(Debug)]
pub(crate) struct Owed {
    open: HashMap<Key, Open>,
    order: VecDeque<Key>,
    // How many of the open ones are receipted; how many of the others gave nothing out; and how many of those that did are
    // of earlier links.
    receipted: usize,
    idle: usize,
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
            receipted: 0,
            idle: 0,
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
        let gives = exchange.counted && gives_out(&exchange.answer);
        self.expect(&exchange.request, &exchange.answer, gives, (0, time_ms));
        // Above that, only the newest are offered; the oldest were settled in all but word.
        while self.open.len() > LOADED_MAX + IDLE_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            if let Some(open) = self.open.remove(&oldest) {
                self.uncount(&open);
                self.remember(oldest, Some(open.answer), open.answered_ms);
            }
        }
    }

    /// Takes in an answer without receipt of the journal's snapshot, which was written at this time. What came before it
    /// and was settled is known no more.
    pub(crate) fn load_open(&mut self, request: &Bytes, answer: &Bytes, time_ms: i64) {
        self.expect(request, answer, gives_out(answer), (0, time_ms));
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
    pub(crate) fn expect(&mut self, request: &Bytes, answer: &Bytes, gives: bool, now: (u64, i64)) {
        self.expect_named(AnswerKey::of(request, answer), (request, answer), gives, now);
    }

    /// The same with the answer's name, which whoever shares this memory makes before locking it.
    pub(crate) fn expect_named(
        &mut self,
        name: AnswerKey,
        (request, answer): (&Bytes, &Bytes),
        gives: bool,
        (now_us, now_ms): (u64, i64),
    ) {
        let key = name.request;
        if let Some(other) = self.open.get(&key).filter(|other| other.offer.answer != *answer) {
            if !gives {
                self.remember(key, Some(name.answer), now_ms);
                return;
            }
            let (other, answered_ms) = (other.answer, other.answered_ms);
            if let Some(other) = self.open.remove(&key) {
                self.uncount(&other);
            }
            self.order.retain(|known| *known != key);
            self.remember(key, Some(other), answered_ms);
        }
        if !gives && self.idle >= IDLE_MAX {
            // A hub that gives no receipts for refusals fills nothing.
            self.remember(key, Some(name.answer), now_ms);
            return;
        }
        let offer = Offer { request: request.clone(), answer: answer.clone() };
        let open = Open {
            offer,
            answer: name.answer,
            gives,
            answered_ms: now_ms,
            link: self.link,
            since_us: now_us,
            again_us: None,
            asked: false,
            receipted: false,
        };
        self.idle += usize::from(!gives);
        match self.open.insert(key, open) {
            None => self.order.push_back(key),
            Some(same) => self.uncount(&same),
        }
        // Settled answers leave their key in the order; it is swept before it can grow without bound.
        if self.order.len() > 4 * self.most + 2 * self.open.len() {
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

    fn uncount(&mut self, open: &Open) {
        if open.receipted {
            self.receipted -= 1;
        } else if !open.gives {
            self.idle -= 1;
        } else if open.link < self.link {
            self.older -= 1;
        }
    }

    /// What the entry of a receipt is here.
    pub(crate) fn owing(&self, entry: &pb::ExchangeEntry) -> Owing {
        let Some(request) = key_of(entry) else { return Owing::Nothing };
        match self.open.get(&request).filter(|open| open.offer.answer == entry.answer) {
            Some(open) if open.receipted => Owing::Done,
            Some(open) => Owing::Open(AnswerKey { request, answer: open.answer }, open.link > 0),
            // An answer that was offered gets its receipt twice where its entry came first, and one that asks for none
            // gets it all the same.
            None if self.was_settled(entry) => Owing::Done,
            None => Owing::Nothing,
        }
    }

    /// The open answer of this name.
    fn named(&self, answer: &AnswerKey) -> Option<&Open> {
        self.open.get(&answer.request).filter(|open| open.answer == answer.answer)
    }

    /// A receipt came for an open answer; its entry is awaited from now on.
    pub(crate) fn receipt(&mut self, answer: &AnswerKey) {
        self.count_receipt(answer, true);
    }

    /// What a receipt proved is not there: the answer has none.
    pub(crate) fn unreceipt(&mut self, answer: &AnswerKey) {
        self.count_receipt(answer, false);
    }

    fn count_receipt(&mut self, answer: &AnswerKey, receipted: bool) {
        if self.named(answer).is_none_or(|open| open.receipted == receipted) {
            return;
        }
        let Some(open) = self.open.get_mut(&answer.request) else { return };
        open.receipted = receipted;
        let idle = usize::from(!open.gives);
        let older = usize::from(open.gives && open.link < self.link);
        if receipted {
            self.receipted += 1;
            self.idle -= idle;
            self.older -= older;
        } else {
            self.receipted -= 1;
            self.idle += idle;
            self.older += older;
        }
    }

    /// Settles an open answer by its name.
    pub(crate) fn settle_known(&mut self, answer: &AnswerKey) -> bool {
        let holds = self.named(answer).is_some();
        if holds {
            self.close(&answer.request);
        }
        holds
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
        if let Some(open) = &open {
            self.uncount(open);
        }
        let (answer, answered_ms) = match &open {
            Some(open) => (Some(open.answer), open.answered_ms),
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
        self.older = self.len();
        self.most = 2 * credit.clamp(1, CREDIT);
        for open in self.open.values_mut() {
            (open.again_us, open.asked) = (None, false);
        }
    }

    /// The link is gone; its answers are of an earlier link from now on.
    pub(crate) fn unlinked(&mut self) {
        self.linked_us = None;
    }

    /// Why nothing more is answered, if so.
    fn stops(&self, now_us: u64) -> Option<&'static str> {
        if self.len() >= self.most {
            return Some("twice the link's credit of answers has no receipt");
        }
        let waited = self.linked_us.is_some_and(|at| now_us.saturating_sub(at) >= PATIENCE_US);
        (waited && self.older > 0).then_some("answers from before the link have no receipt after 60 s")
    }

    /// Answers that gave something out and have no receipt.
    pub(crate) fn len(&self) -> usize {
        self.open.len() - self.receipted - self.idle
    }
}

fn key_of(entry: &pb::ExchangeEntry) -> Option<Key> {
    if entry.request.is_empty() {
        // The hub keeps no request whose signature was not good, only its digest.
        return None;
    }
    Some(key(&entry.request))
}

/// Whether an answer gives something out; one that cannot be read is taken to.
fn gives_out(answer: &Bytes) -> bool {
    let read = || {
        let signed = SignedStatement::parse(answer.clone()).ok()?;
        Some(Answer::parse(signed.unverified_payload()).ok()?.verdict)
    };
    read().is_none_or(|verdict| verdict == Verdict::Answered)
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
                let gives = exchange.counted && gives_out(&exchange.answer);
                owed.expect(&exchange.request, &exchange.answer, gives, (now_us, time_ms));
            }
        }
    }

    /// Whether receipts are in order, so that one more answer may leave.
    ///
    /// # Errors
    /// [`Code::ReceiptsOwed`] where the hub owes too many, or for too long, or what its receipts proved does not come.
    pub(crate) fn receipts_in_order(&self) -> Result<(), Refusal> {
        self.receipts_stop().map_or(Ok(()), |why| Err(Refusal::failed(Code::ReceiptsOwed, why)))
    }

    pub(crate) fn receipts_stop(&self) -> Option<&'static str> {
        let owed = self.watch.owed().stops(self.clock().monotonic_us());
        owed.or_else(|| self.watch.follow().stops())
    }
}

#[cfg(test)]
#[path = "owed_tests.rs"]
mod tests;
