//! The own member's entries, one after another. Each names the one before it, so a dropped, moved or made-up
//! entry shows at the next one, without any witness.

use crate::adapter::Adapter;
use crate::journal::{Followed, HeldHead, JournalError, Kind, Record};
use crate::material::{MaterialError, MaterialSource, Wanted, is_app_of};
use crate::watch::owed::{AnswerKey, Owed};
use std::collections::BTreeMap;
use yiwang_proto::answer::{Answer, Verdict};
use yiwang_proto::case::CaseStatement;
use yiwang_proto::checkpoint::Checkpoint;
use yiwang_proto::codes::Code;
use yiwang_proto::entry;
use yiwang_proto::envelope::{SignedStatement, payload_type};
use yiwang_proto::merkle::{Hash, verify_growth};
use yiwang_proto::request::{APP_SIGNS, Head, Request};
use yiwang_proto::{Digest, pb, receipt};

/// Receipts whose entries have not come yet: some seconds of a full load.
pub(super) const AWAITED_MAX: usize = 65_536;
/// Time of the link after which an entry that a receipt proved is overdue. A hub hands entries over within a second; one
/// that was started again, or that looks for what an adapter missed in weeks, needs minutes at the most for the first.
const OVERDUE_US: u64 = 300_000_000;
/// Time between two looks that counts at the most: what passed while the process, or its machine, slept is nobody's delay.
const LOOK_MAX_US: u64 = 60_000_000;
/// Entries of one batch; a hub sends fewer.
const BATCH_MAX: usize = 4096;

/// What is wrong with the own member's entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gap {
    /// The entry does not name the newest one that is held as the one before it.
    NotNext {
        /// The newest own entry that is held, plus one.
        held: u64,
        /// What the entry names.
        named: u64,
    },
    /// A receipt proved an entry at this index, and it is not among the own member's.
    Dropped(u64),
    /// A receipt proved another entry at this index.
    Replaced(u64),
}

/// An own entry that a receipt proved, before it came among the own member's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Awaited {
    /// The entry's leaf hash.
    pub(crate) leaf: Hash,
    /// The own entry that it names as the one before it, plus one.
    pub(crate) names_before: u64,
    /// The signed head under which the receipt proved it.
    pub(crate) head: Head,
    /// The answer that it holds.
    pub(crate) answer: AnswerKey,
}

/// What becomes of a receipt for an entry that has not come yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Awaiting {
    /// The entry is awaited.
    Noted,
    /// Another receipt proved another entry at its place.
    Broken(Gap),
    /// Too many are awaited.
    Full,
}

/// What the next entry breaks.
#[derive(Debug, Default)]
pub(crate) struct Placed {
    gaps: Vec<Gap>,
    /// Answers whose receipts proved what is not there.
    unproved: Vec<AnswerKey>,
}

/// How far the own member's entries are held.
#[derive(Debug, Default)]
pub(crate) struct Follow {
    own_next: u64,
    /// How far that is durable. Batches end anywhere, and a power cut takes back what is not.
    durable_next: u64,
    // With the time of the link when its receipt came.
    awaited: BTreeMap<u64, (Awaited, u64)>,
    // The time of all links so far, when it was looked at last, and when an own entry came last.
    passed_us: u64,
    looked_us: Option<u64>,
    came_us: u64,
    overdue: Option<u64>,
}

impl Follow {
    pub(crate) fn new(own_next: u64) -> Self {
        Self { own_next, durable_next: own_next, ..Self::default() }
    }

    /// A link is up: the time without one was nobody's delay.
    pub(crate) fn linked(&mut self) {
        self.looked_us = None;
    }

    /// Looks whether an entry is overdue while a link is up, by the monotonic clock and the size of the kept head. Yields
    /// its index when it becomes so.
    ///
    /// As long as own entries come, one that lies before the kept head's end may still be on its way, behind all that the
    /// adapter missed. One beyond it is not: that head came minutes after the receipt.
    pub(crate) fn look(&mut self, now_us: u64, kept_size: u64) -> Option<u64> {
        let since = self.looked_us.replace(now_us).map_or(0, |looked_us| now_us.saturating_sub(looked_us));
        self.passed_us = self.passed_us.saturating_add(since.min(LOOK_MAX_US));
        let over = |since_us: u64| self.passed_us.saturating_sub(since_us) >= OVERDUE_US;
        let still = over(self.came_us);
        let mut late =
            self.awaited.iter().filter(|(index, (_, since))| over(*since) && (still || **index >= kept_size));
        let found = late.next().map(|(index, _)| *index);
        let known = std::mem::replace(&mut self.overdue, found);
        found.filter(|_| known.is_none())
    }

    /// Why nothing more is answered, if so.
    pub(crate) fn stops(&self) -> Option<&'static str> {
        self.overdue
            .map(|_| "an entry that a receipt proved does not come among the own entries of the member")
    }

    /// The newest own entry that is held, plus one.
    pub(crate) fn own_next(&self) -> u64 {
        self.own_next
    }

    /// What the hub may be told: who comes back with less than it said was restored from an old copy.
    pub(crate) fn durable_next(&self) -> u64 {
        self.durable_next
    }

    /// The place up to here lies in the journal.
    pub(crate) fn kept(&mut self, own_next: u64) {
        self.durable_next = self.durable_next.max(own_next);
    }

    /// A receipt proved an own entry; it must come among the own member's entries, the very same. What another one proved
    /// before stays; where the two are not the same entry, that is a gap.
    pub(crate) fn await_entry(&mut self, index: u64, proved: Awaited) -> Awaiting {
        if let Some((before, _)) = self.awaited.get(&index) {
            return if before.leaf == proved.leaf {
                Awaiting::Noted
            } else {
                Awaiting::Broken(Gap::Replaced(index))
            };
        }
        if self.awaited.len() >= AWAITED_MAX {
            return Awaiting::Full;
        }
        self.awaited.insert(index, (proved, self.passed_us));
        Awaiting::Noted
    }

    /// What a receipt proved of an entry that has not come yet.
    pub(crate) fn awaited(&self, index: u64) -> Option<Awaited> {
        self.awaited.get(&index).map(|(proved, _)| *proved)
    }

    /// The heads under which receipts proved entries up to this index.
    fn heads(&self, up_to: u64) -> BTreeMap<u64, Hash> {
        self.awaited.range(..=up_to).map(|(_, (proved, _))| (proved.head.size, proved.head.root)).collect()
    }

    /// Takes the next entry: what it breaks.
    pub(crate) fn take(&mut self, index: u64, names_before: u64, leaf: &Hash) -> Placed {
        let mut placed = Placed::default();
        if index < self.own_next {
            return placed;
        }
        if names_before != self.own_next {
            placed.gaps.push(Gap::NotNext { held: self.own_next, named: names_before });
        }
        self.own_next = index.saturating_add(1);
        self.came_us = self.passed_us;
        while let Some(first) = self.awaited.first_entry()
            && *first.key() < self.own_next
        {
            let (awaited, (proved, _)) = first.remove_entry();
            let gap = if awaited < index { Gap::Dropped(awaited) } else { Gap::Replaced(awaited) };
            if awaited < index || proved.leaf != *leaf {
                placed.gaps.push(gap);
                placed.unproved.push(proved.answer);
            }
        }
        placed
    }
}

/// Why a batch of own entries ends the link.
#[derive(Debug)]
pub(crate) enum OwnEntries {
    /// The hub broke the rules of the link.
    Broken(&'static str),
    /// The hub showed what contradicts the kept head.
    Alarm(String),
    /// Nobody can tell now whether an own app signed: the entries come again over the next link.
    Later(MaterialError),
    /// The journal failed.
    Journal(JournalError),
}

/// One entry, as far as its place among the own member's goes.
struct Own {
    names_before: u64,
    statement: Option<Stated>,
    exchange: Option<Box<pb::ExchangeEntry>>,
}

/// What an own app must have signed.
struct Stated {
    signed: SignedStatement,
    kind: &'static str,
    app: String,
    delegation: Digest,
}

impl Adapter {
    /// Takes a batch of the own member's entries: adopts the head under which they are proved, holds each
    /// against the one before it, and keeps the new place durably. Yields it.
    pub(crate) async fn take_own_entries(
        &self,
        batch: pb::OwnEntries,
        material: &dyn MaterialSource,
    ) -> Result<u64, OwnEntries> {
        if batch.entries.len() > BATCH_MAX {
            return Err(OwnEntries::Broken("too many entries at once"));
        }
        let held = self.head().head;
        let checkpoint =
            self.ledger().open(&batch.checkpoint).map_err(|error| OwnEntries::Alarm(error.to_string()))?;
        let growth = receipt::hashes(&batch.growth).map_err(|_| OwnEntries::Broken("malformed proof"))?;
        if batch.from_size != held.size {
            return Err(OwnEntries::Broken("entries under a head that does not follow on the last one"));
        }
        if let Err(error) = verify_growth(held.size, checkpoint.size, &held.root, &checkpoint.root, &growth) {
            let what = "a head does not continue the one that was kept";
            self.keep_heads(what, &batch.checkpoint, &growth);
            return Err(OwnEntries::Alarm(format!("kept size {}: {what}: {error}", held.size)));
        }
        self.take_receipt_heads(&batch, &checkpoint)?;
        for proved in &batch.entries {
            self.take_entry(proved, &checkpoint, material).await?;
        }
        let head = Head { size: checkpoint.size, root: checkpoint.root };
        self.keep_head(HeldHead { head, checkpoint: batch.checkpoint }).await.map_err(OwnEntries::Journal)?;
        let own_next = self.watch.follow().own_next();
        let followed = Followed { own_next, settled: self.watch.owed().settled_batch() };
        let record = Record::new(self.now_ms(), Kind::Followed(followed));
        self.write_down(record).await.map_err(OwnEntries::Journal)?;
        self.watch.follow().kept(own_next);
        Ok(own_next)
    }

    /// Receipts were verified each under its own head; here these are proved to be of one history.
    fn take_receipt_heads(&self, batch: &pb::OwnEntries, head: &Checkpoint) -> Result<(), OwnEntries> {
        let Some(last) = batch.entries.last() else { return Ok(()) };
        let mut heads = self.watch.follow().heads(last.index);
        for growth in &batch.receipt_heads {
            let Some(root) = heads.remove(&growth.from_size) else { continue };
            let proof = receipt::hashes(&growth.proof).map_err(|_| OwnEntries::Broken("malformed proof"))?;
            if let Err(error) = verify_growth(growth.from_size, head.size, &root, &head.root, &proof) {
                let what = "the head of a receipt is not on the history of the entries";
                self.keep_heads(what, &batch.checkpoint, &proof);
                return Err(OwnEntries::Alarm(format!("size {}: {what}: {error}", growth.from_size)));
            }
            self.note_head(&Head { size: growth.from_size, root });
        }
        Ok(())
    }

    async fn take_entry(
        &self,
        proved: &pb::LinkReceipt,
        checkpoint: &Checkpoint,
        material: &dyn MaterialSource,
    ) -> Result<(), OwnEntries> {
        // Of a batch that ended halfway: it has its place, and comes again because that was not durable.
        if proved.index < self.watch.follow().own_next() {
            return Ok(());
        }
        if proved.entry.is_empty() {
            let known = self.watch.follow().awaited(proved.index).filter(|known| self.knows(&known.head));
            let Some(known) = known else {
                return Err(OwnEntries::Broken("an entry without bytes that no receipt proved"));
            };
            self.place(proved.index, known.names_before, &known.leaf, |owed| {
                owed.settle_known(&known.answer)
            });
            return Ok(());
        }
        let verified = receipt::verify_under(proved.index, &proved.entry, &proved.proof, checkpoint)
            .map_err(|error| OwnEntries::Alarm(error.to_string()))?;
        let own = self.own(&verified.entry).ok_or(OwnEntries::Broken("an entry of another member"))?;
        // Before the entry has its place: one that could not be judged comes again.
        let nobody_asked = match &own.statement {
            Some(stated) => !self.is_of_own_app(stated, material).await.map_err(OwnEntries::Later)?,
            None => false,
        };
        self.place(proved.index, own.names_before, &verified.leaf, |owed| {
            own.exchange.as_ref().is_some_and(|exchange| owed.settle(exchange))
        });
        self.judge_own(proved.index, &own, nobody_asked);
        Ok(())
    }

    /// Gives an entry its place and settles the answer that it holds, in one step: a receipt that comes at the same time
    /// finds either both or neither.
    fn place(&self, index: u64, names_before: u64, leaf: &Hash, settle: impl FnOnce(&mut Owed) -> bool) {
        let mut owed = self.watch.owed();
        settle(&mut owed);
        let placed = self.watch.follow().take(index, names_before, leaf);
        placed.unproved.iter().for_each(|answer| owed.unreceipt(answer));
        drop(owed);
        for gap in placed.gaps {
            self.counters().alarm();
            tracing::error!(index, ?gap, "an entry of this member was dropped, moved or replaced");
        }
    }

    fn judge_own(&self, index: u64, own: &Own, nobody_asked: bool) {
        if let Some(exchange) = &own.exchange
            && !exchange.answer.is_empty()
            && self.is_own_answer(exchange)
            && !self.holds(exchange)
        {
            // Its statement names this adapter: either the journal was restored from an old copy, or another
            // adapter of this member answered.
            self.counters().alarm();
            tracing::error!(index, "an answer of this adapter that its journal does not hold");
        }
        if let Some(stated) = own.statement.as_ref().filter(|_| nobody_asked) {
            let what = "an entry says that this member asked, and none of its apps signed it";
            self.keep_claim(&format!("{what}: entry {index}"), stated.signed.bytes());
        }
    }

    /// Whether an answer is known, or may be older than what is remembered: of what this adapter did sign so long ago only
    /// the journal can say, and `yiwang audit reconcile` asks it.
    fn holds(&self, exchange: &pb::ExchangeEntry) -> bool {
        let mut owed = self.watch.owed();
        if owed.settle(exchange) || owed.was_settled(exchange) {
            return true;
        }
        let answer = SignedStatement::parse(exchange.answer.clone()).ok();
        // Whose signature does not hold has no say about its time.
        let answer = answer.and_then(|signed| Answer::open(&signed, &self.delegation.key).ok());
        answer.is_some_and(|answer| owed.may_be_forgotten(answer.answered_at_ms))
    }

    /// The entry's place among the own member's; none for an entry of others.
    fn own(&self, entry: &pb::Entry) -> Option<Own> {
        match entry.kind.as_ref()? {
            entry::Kind::CaseStatement(case) => {
                let signed = SignedStatement::parse(case.statement.clone()).ok()?;
                let statement = CaseStatement::parse(signed.unverified_payload()).ok()?;
                let app = statement.app.as_str().to_owned();
                let (kind, delegation) = (payload_type::CASE, statement.delegation_digest);
                (statement.member == *self.member()).then(|| Own {
                    names_before: case.previous_of_member,
                    statement: Some(Stated { signed, kind, app, delegation }),
                    exchange: None,
                })
            }
            entry::Kind::Exchange(exchange) => {
                let signed = SignedStatement::parse(exchange.request.clone()).ok()?;
                let request = Request::parse(signed.unverified_payload()).ok()?;
                let asked = request.consumer == *self.member();
                let answered = request.provider == *self.member();
                let app = request.app.as_str().to_owned();
                let (kind, delegation) = (payload_type::REQUEST, request.delegation_digest);
                let names_before =
                    if asked { exchange.previous_of_consumer } else { exchange.previous_of_provider };
                (asked || answered).then(|| Own {
                    names_before,
                    statement: asked.then_some(Stated { signed, kind, app, delegation }),
                    exchange: answered.then(|| Box::new(exchange.clone())),
                })
            }
            _ => None,
        }
    }

    /// Whether the answer was made under this adapter's own delegation, and its journal must hold it. It holds no
    /// refusal for want of space, and asks no receipt for a refusal because receipts are owed.
    fn is_own_answer(&self, exchange: &pb::ExchangeEntry) -> bool {
        let signed = SignedStatement::parse(exchange.answer.clone()).ok();
        let answer = signed.and_then(|signed| Answer::parse(signed.unverified_payload()).ok());
        answer.is_some_and(|answer| {
            let unrecorded = [Verdict::Failed(Code::LedgerFull), Verdict::Failed(Code::ReceiptsOwed)]
                .contains(&answer.verdict);
            answer.delegation_digest == self.delegation.digest && !unrecorded
        })
    }

    /// Whether an app that the own root delegated has signed. Not on the way of any exchange. A hub that answers
    /// and hands over no delegation accuses itself; one that does not answer, or a link that is gone, nobody.
    async fn is_of_own_app(
        &self,
        stated: &Stated,
        material: &dyn MaterialSource,
    ) -> Result<bool, MaterialError> {
        let mut delivered = Vec::new();
        if !self.documents.has_delegation(&stated.delegation) {
            let wanted = Wanted { documents: vec![stated.delegation], ..Wanted::default() };
            delivered = material.fetch(wanted).await?.documents;
        }
        let Ok(delegation) = self.documents.delegation(&stated.delegation, &delivered) else {
            return Ok(false);
        };
        let asked_under = |root| is_app_of(&delegation, self.member(), &stated.app, root);
        let own = asked_under(self.documents.own_root());
        if !own && !self.documents.former_roots().iter().any(asked_under) {
            return Ok(false);
        }
        let signed = stated.signed.verify_at(APP_SIGNS, stated.kind, &delegation.key).is_ok();
        if signed && !own {
            // The hub could enter it, until the standing before the change of the root had ended.
            tracing::warn!(
                app = stated.app,
                "an entry says that this member asked under a root that it had before: see whether that was its own app"
            );
        }
        Ok(signed)
    }
}

#[cfg(test)]
#[path = "follow_tests.rs"]
mod tests;
