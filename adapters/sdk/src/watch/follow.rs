//! The own member's entries, one after another. Each names the one before it, so a dropped, moved or made-up
//! entry shows at the next one, without any witness.

use crate::adapter::Adapter;
use crate::journal::{Followed, HeldHead, JournalError, Kind, Record};
use crate::material::{MaterialError, MaterialSource, Wanted, is_app_of};
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
const AWAITED_MAX: usize = 65_536;
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
}

/// How far the own member's entries are held.
#[derive(Debug, Default)]
pub(crate) struct Follow {
    own_next: u64,
    /// How far that is durable. Batches end anywhere, and a power cut takes back what is not.
    durable_next: u64,
    awaited: BTreeMap<u64, Awaited>,
}

impl Follow {
    pub(crate) fn new(own_next: u64) -> Self {
        Self { own_next, durable_next: own_next, awaited: BTreeMap::new() }
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
    pub(crate) fn await_entry(&mut self, index: u64, proved: Awaited) -> Option<Gap> {
        if let Some(before) = self.awaited.get(&index) {
            return (before.leaf != proved.leaf).then_some(Gap::Replaced(index));
        }
        if index >= self.own_next && self.awaited.len() < AWAITED_MAX {
            self.awaited.insert(index, proved);
        }
        None
    }

    /// What a receipt proved of an entry that has not come yet.
    pub(crate) fn awaited(&self, index: u64) -> Option<Awaited> {
        self.awaited.get(&index).copied()
    }

    /// The heads under which receipts proved entries up to this index.
    fn heads(&self, up_to: u64) -> BTreeMap<u64, Hash> {
        self.awaited.range(..=up_to).map(|(_, proved)| (proved.head.size, proved.head.root)).collect()
    }

    /// Takes the next entry: what it breaks.
    pub(crate) fn take(&mut self, index: u64, names_before: u64, leaf: &Hash) -> Vec<Gap> {
        let mut gaps = Vec::new();
        if index < self.own_next {
            return gaps;
        }
        if names_before != self.own_next {
            gaps.push(Gap::NotNext { held: self.own_next, named: names_before });
        }
        self.own_next = index.saturating_add(1);
        let later = self.awaited.split_off(&self.own_next);
        for (awaited, proved) in std::mem::replace(&mut self.awaited, later) {
            if awaited < index {
                gaps.push(Gap::Dropped(awaited));
            } else if proved.leaf != *leaf {
                gaps.push(Gap::Replaced(awaited));
            }
        }
        gaps
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
        let record = Record::new(self.now_ms(), Kind::Followed(followed)).encode();
        self.journal.append(record).await.map_err(OwnEntries::Journal)?;
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
            self.place(proved.index, known.names_before, &known.leaf);
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
        self.place(proved.index, own.names_before, &verified.leaf);
        self.judge_own(proved.index, &own, nobody_asked);
        Ok(())
    }

    fn place(&self, index: u64, names_before: u64, leaf: &Hash) {
        let gaps = self.watch.follow().take(index, names_before, leaf);
        for gap in gaps {
            self.counters().alarm();
            tracing::error!(index, ?gap, "an entry of this member was dropped, moved or replaced");
        }
    }

    fn judge_own(&self, index: u64, own: &Own, nobody_asked: bool) {
        if let Some(exchange) = &own.exchange
            && !exchange.answer.is_empty()
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
                    exchange: (answered && self.is_own_answer(exchange)).then(|| Box::new(exchange.clone())),
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
        Ok(is_app_of(&delegation, self.member(), &stated.app, self.documents.own_root())
            && stated.signed.verify_at(APP_SIGNS, stated.kind, &delegation.key).is_ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use yiwang_proto::ambient::{Entropy as _, SeededEntropy};
    use yiwang_proto::merkle::leaf_hash;

    /// The own member's entries in a ledger where others write too: index, the one before plus one, leaf.
    fn chain(entropy: &SeededEntropy, count: usize) -> Vec<(u64, u64, Hash)> {
        let (mut index, mut before) = (0, 0);
        let mut chain = Vec::with_capacity(count);
        for _ in 0..count {
            let mut random = [0; 8];
            entropy.fill(&mut random);
            index += 1 + u64::from(random[0] % 5);
            chain.push((index, before, leaf_hash(&index.to_le_bytes())));
            before = index + 1;
        }
        chain
    }

    fn awaited(entry: &(u64, u64, Hash)) -> Awaited {
        Awaited { leaf: entry.2, names_before: entry.1, head: Head::default() }
    }

    fn gaps(follow: &mut Follow, chain: &[(u64, u64, Hash)]) -> Vec<Gap> {
        chain.iter().flat_map(|(index, before, leaf)| follow.take(*index, *before, leaf)).collect()
    }

    /// A hub that drops one entry in 10,000 is found out, in each of the three ways in which it can do it:
    /// it does not hand the entry on; it makes the next entry skip it; it replaces it by another.
    #[test]
    fn t07_one_entry_dropped_in_ten_thousand_is_found_in_100_of_100_trials() {
        for trial in 0..100_u64 {
            let entropy = SeededEntropy::new(trial);
            let whole = chain(&entropy, 10_000);
            assert_eq!(gaps(&mut Follow::default(), &whole), [], "an honest hub raises no alarm");
            let mut random = [0; 8];
            entropy.fill(&mut random);
            let at = usize::try_from(u64::from_le_bytes(random) % 9_999).unwrap();
            let dropped = whole[at];

            let mut silent = whole.clone();
            silent.remove(at);
            let held = dropped.1;
            let named = dropped.0 + 1;
            assert_eq!(gaps(&mut Follow::default(), &silent), [Gap::NotNext { held, named }]);

            // Linked anew, so that the chain itself shows nothing: the receipt of the entry does.
            let mut relinked = silent.clone();
            relinked[at].1 = dropped.1;
            assert_eq!(gaps(&mut Follow::default(), &relinked), []);
            let mut follow = Follow::default();
            follow.await_entry(dropped.0, awaited(&dropped));
            assert_eq!(gaps(&mut follow, &relinked), [Gap::Dropped(dropped.0)]);

            let mut replaced = whole.clone();
            replaced[at].2 = [9; 32];
            let mut follow = Follow::default();
            follow.await_entry(dropped.0, awaited(&dropped));
            assert_eq!(gaps(&mut follow, &replaced), [Gap::Replaced(dropped.0)]);

            // Nor does a second receipt, which proves another entry at its place, put it there instead.
            let mut follow = Follow::default();
            assert_eq!(follow.await_entry(dropped.0, awaited(&dropped)), None);
            assert_eq!(follow.await_entry(dropped.0, awaited(&dropped)), None);
            let second = follow.await_entry(dropped.0, awaited(&replaced[at]));
            assert_eq!(second, Some(Gap::Replaced(dropped.0)));
            assert_eq!(gaps(&mut follow, &replaced), [Gap::Replaced(dropped.0)]);
        }
    }

    #[test]
    fn what_comes_twice_is_no_gap_and_what_is_awaited_is_bounded() {
        let entropy = SeededEntropy::new(1);
        let whole = chain(&entropy, 50);
        let mut follow = Follow::default();
        assert_eq!(gaps(&mut follow, &whole[..30]), []);
        assert_eq!(gaps(&mut follow, &whole[10..]), [], "sent again after a lost link");
        assert_eq!(follow.own_next(), whole[49].0 + 1);
        // The hub is told what a power cut cannot take back.
        assert_eq!(follow.durable_next(), 0);
        follow.kept(whole[29].0 + 1);
        follow.kept(whole[9].0 + 1);
        assert_eq!(follow.durable_next(), whole[29].0 + 1);
        assert_eq!(Follow::new(77).durable_next(), 77);
        for index in 0..200_000 {
            follow.await_entry(follow.own_next() + index, awaited(&whole[0]));
        }
        assert_eq!(follow.awaited.len(), AWAITED_MAX);
    }
}
