//! What counterparts say is still in force, and what the own member took back. The hub relays it and is
//! believed in nothing: every word is verified under the root that the contract names, the highest sequence
//! of each root is kept durably, and a word that is over counts for nothing. A hub that hides a revocation
//! gains the rest of one standing's life, no more.

use crate::adapter::Adapter;
use crate::journal::{Kind, Record, RevocationSeen, StandingSeen};
use crate::reply::Refusal;
use bytes::Bytes;
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;
use tokio::sync::Notify;
use yiwang_proto::codes::Code;
use yiwang_proto::contract::Contract;
use yiwang_proto::delegation::Delegation;
use yiwang_proto::document::SignedDocument;
use yiwang_proto::envelope::SignedStatement;
use yiwang_proto::ids::Officer;
use yiwang_proto::keys::PublicKey;
use yiwang_proto::limits::{CLOCK_SKEW_MS, DOCUMENT_MAX};
use yiwang_proto::revocation::{Revocation, Revoked};
use yiwang_proto::standing::Standing;
use yiwang_proto::{Digest, pb};

/// Roots whose words are kept: more than one department has counterparts. A hub that makes up roots fills
/// these places and gains nothing but refusals.
const ROOTS_MAX: usize = 4096;
/// Revocations of one root that are kept: twice as many as an honest hub enters for a member. Of a root that has more, nothing
/// is believed any more: which of its keys still count is not known here.
const REVOCATIONS_OF_ROOT: usize = 2048;
/// Of all roots: 32 MiB of usual ones. Only a hub that makes up roots comes here.
const REVOCATIONS_MAX: usize = 65_536;
/// Standings and revocations of one frame that are looked at.
const FRAME_MAX: usize = 128;

/// The newest sequence of each root with the digest of that standing, as the journal has it.
pub(crate) type Floors = HashMap<PublicKey, (u64, Digest)>;

#[derive(Debug)]
struct Held {
    standing: Standing,
    key: Delegation,
}

#[derive(Debug, Default)]
struct Rooted {
    whole: bool,
    revoked: Revoked,
    // Revocations that are kept, and whether there were more than that.
    kept: usize,
    full: bool,
}

impl Rooted {
    /// Nothing of the root counts.
    fn is_over(&self) -> bool {
        self.whole || self.full
    }
}

#[derive(Debug, Default)]
struct Known {
    newest: HashMap<PublicKey, Held>,
    floors: Floors,
    roots: HashMap<PublicKey, Rooted>,
    seen: std::collections::HashSet<Digest>,
    // Their exact bytes, for the journal's snapshots.
    documents: Vec<Bytes>,
    own: Revoked,
}

/// All words that this adapter knows.
#[derive(Debug, Default)]
pub(crate) struct Standings {
    known: RwLock<Known>,
    // Words that came and are not yet durable: whoever would refuse for want of one waits for them.
    coming: AtomicUsize,
    settled: Notify,
}

/// What a request rests on.
#[derive(Clone, Copy)]
pub(crate) struct Claims<'a> {
    pub(crate) contract: &'a Contract,
    pub(crate) app: &'a Delegation,
    pub(crate) officer: Option<&'a Officer>,
    /// The officer's key, where a ticket or the statement is signed with one.
    pub(crate) officer_key: Option<&'a Delegation>,
    /// The app's key for sealing, where bodies travel sealed.
    pub(crate) sealing: Option<&'a Delegation>,
    /// This adapter's own keys: the one that signs, and the one that opens sealed bodies where they do.
    pub(crate) own: [Option<&'a Delegation>; 2],
}

impl Known {
    fn by_root(&self, key: &Delegation) -> bool {
        self.roots
            .get(&key.root)
            .is_some_and(|rooted| rooted.is_over() || rooted.revoked.delegations.contains(&key.digest))
    }

    fn take_revocation(&mut self, revocation: &Revocation, document: Bytes) {
        if !self.seen.insert(revocation.digest) {
            return;
        }
        self.documents.push(document);
        let rooted = self.roots.entry(revocation.root).or_default();
        rooted.kept += 1;
        rooted.whole |= revocation.whole_root;
        rooted.revoked.merge(&revocation.revoked);
    }

    /// Whether one more is kept. One that takes the whole root back always is, once.
    fn make_room(&mut self, revocation: &Revocation) -> Result<(), &'static str> {
        let (all, roots) = (self.seen.len(), self.roots.len());
        let Some(rooted) = self.roots.get_mut(&revocation.root) else {
            return if roots < ROOTS_MAX { Ok(()) } else { Err("too many roots have revoked something") };
        };
        if rooted.whole {
            return Err("its root took itself back before");
        }
        if !revocation.whole_root && (rooted.kept >= REVOCATIONS_OF_ROOT || all >= REVOCATIONS_MAX) {
            if !std::mem::replace(&mut rooted.full, true) {
                tracing::error!(member = %revocation.member, "more revocations of a root than are kept: nothing under it counts");
            }
            return Err("too many of its root are known");
        }
        Ok(())
    }

    fn objection(&self, claims: &Claims<'_>, now_ms: i64) -> Option<(Code, &'static str)> {
        let text = &claims.contract.text;
        let (id, version) = (&text.id, text.version);
        // The own member's word first: it needs no hub.
        let mut own = claims.own.into_iter().flatten();
        if self.own.ends(id, version) || own.any(|key| self.own.delegations.contains(&key.digest)) {
            return Some((Code::Revoked, "provider: this member's own list"));
        }
        let rooted = [&text.provider.root, &text.consumer.root].map(|root| self.roots.get(root));
        for rooted in rooted.into_iter().flatten() {
            if rooted.full {
                return Some((Code::Revoked, "more revocations under the root than are kept"));
            }
            if rooted.whole || rooted.revoked.ends(id, version) || rooted.revoked.officer(claims.officer) {
                return Some((Code::Revoked, "a revocation under the root"));
            }
        }
        let theirs = [
            (Some(claims.app), "consumer: the app's key"),
            (claims.officer_key, "consumer: the officer's key"),
            (claims.sealing, "consumer: the app's key for sealing"),
        ];
        let keys = theirs.iter().map(|(key, _)| *key).chain(claims.own);
        if keys.flatten().any(|key| self.by_root(key)) {
            return Some((Code::Revoked, "a revocation under the root"));
        }
        let consumer = &text.consumer;
        let held = self.newest.get(&consumer.root).filter(|held| {
            held.standing.member == consumer.member
                && !self.by_root(&held.key)
                && now_ms < held.key.valid_until_ms
        });
        let Some(held) = held else { return Some((Code::StandingStale, "consumer: no standing is known")) };
        let taken_back =
            theirs.into_iter().find(|(key, _)| key.is_some_and(|key| held.standing.revokes(key)));
        if let Some((_, clause)) = taken_back {
            Some((Code::Revoked, clause))
        } else if held.standing.revoked.ends(id, version) {
            Some((Code::Revoked, "consumer: the contract"))
        } else if held.standing.revoked.officer(claims.officer) {
            Some((Code::Revoked, "consumer: the officer"))
        } else if !held.standing.in_force(now_ms, text.standing_age_ms()) {
            Some((Code::StandingStale, "consumer: the newest standing is over"))
        } else {
            None
        }
    }
}

impl Standings {
    /// With what the journal remembers.
    pub(crate) fn new(floors: Floors, revocations: Vec<(Revocation, Bytes)>) -> Self {
        let mut known = Known { floors, ..Known::default() };
        for (revocation, document) in revocations {
            known.take_revocation(&revocation, document);
        }
        Self { known: RwLock::new(known), ..Self::default() }
    }

    /// What a snapshot of the journal holds of this: the highest standing of each root, and the revocations.
    pub(crate) fn kept(&self) -> (Vec<StandingSeen>, Vec<Bytes>) {
        let known = self.read();
        let floors = known.floors.iter().map(|(root, (sequence, digest))| StandingSeen {
            root: Bytes::copy_from_slice(root.as_bytes()),
            sequence: *sequence,
            digest: Bytes::copy_from_slice(digest),
        });
        (floors.collect(), known.documents.clone())
    }

    fn read(&self) -> RwLockReadGuard<'_, Known> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Known> {
        self.known.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether everything that a request rests on is still in force: a few look-ups, no signature, no write.
    /// Only a refusal for want of a word waits, and only while one is coming.
    pub(crate) async fn check(
        &self,
        claims: Claims<'_>,
        now_ms: i64,
        patience: Duration,
    ) -> Result<(), Refusal> {
        let denied = |(code, clause)| Err(Refusal::denied(code, clause));
        let first = self.read().objection(&claims, now_ms);
        match first {
            None => return Ok(()),
            Some(objection @ (Code::Revoked, _)) => return denied(objection),
            Some(_) => {}
        }
        // What did not settle in time is judged as it stands.
        let _ = tokio::time::timeout(patience, self.settle()).await;
        let second = self.read().objection(&claims, now_ms);
        second.map_or(Ok(()), denied)
    }

    async fn settle(&self) {
        loop {
            let settled = self.settled.notified();
            tokio::pin!(settled);
            settled.as_mut().enable();
            if self.coming.load(Ordering::Acquire) == 0 {
                return;
            }
            settled.await;
        }
    }

    /// Whether the own member's list or its root took back one of this adapter's own keys.
    pub(crate) fn revokes_own(&self, key: &Delegation) -> bool {
        let known = self.read();
        known.own.delegations.contains(&key.digest) || known.by_root(key)
    }

    /// How old the oldest of the newest standings is, and how many there are.
    pub(crate) fn ages(&self, now_ms: i64) -> (usize, i64) {
        let known = self.read();
        let oldest =
            known.newest.values().map(|held| now_ms.saturating_sub(held.standing.issued_at_ms)).max();
        (known.newest.len(), oldest.unwrap_or_default())
    }
}

/// Words that are on their way into the journal.
pub(crate) struct Coming {
    adapter: Arc<Adapter>,
    words: pb::LinkStandings,
}

impl Drop for Coming {
    fn drop(&mut self) {
        let standings = &self.adapter.standings;
        if standings.coming.fetch_sub(1, Ordering::AcqRel) == 1 {
            standings.settled.notify_waiters();
        }
    }
}

impl Coming {
    /// Announces words, so that no request that comes after them is judged without them.
    pub(crate) fn new(adapter: &Arc<Adapter>, words: pb::LinkStandings) -> Self {
        adapter.standings.coming.fetch_add(1, Ordering::AcqRel);
        Self { adapter: Arc::clone(adapter), words }
    }

    /// Verifies them, makes them durable and then obeys them.
    pub(crate) async fn take(mut self) {
        let words = std::mem::take(&mut self.words);
        for document in words.revocations.into_iter().take(FRAME_MAX) {
            if let Err(why) = self.adapter.take_revocation(document).await {
                tracing::warn!(why, "a revocation that the hub relays does not count");
            }
        }
        for raw in words.standings.iter().take(FRAME_MAX) {
            if let Err(why) = self.adapter.take_standing(raw).await {
                tracing::warn!(why, "a standing that the hub relays does not count");
            }
        }
    }
}

impl Adapter {
    /// What this member itself revoked. It wins over everything that comes from elsewhere.
    pub fn obey(&self, own: &Revoked) {
        let mut known = self.standings.write();
        // A list only grows; one that shrank was tampered with, or is of another folder.
        if !own.covers(&known.own) {
            tracing::error!(
                "the member's own list of revocations holds less than before; what is known stays"
            );
        }
        known.own.merge(own);
    }

    /// Takes a counterpart's standing. Durable before it counts.
    ///
    /// # Errors
    /// Why it does not count.
    pub async fn take_standing(&self, raw: &pb::SignedStanding) -> Result<(), &'static str> {
        let document = SignedDocument::parse(raw.delegation.clone(), DOCUMENT_MAX)
            .map_err(|_| "its key's delegation")?;
        let signed = SignedStatement::parse(raw.standing.clone()).map_err(|_| "its form")?;
        let digest = signed.digest();
        let key = Delegation::open(&document).map_err(|_| "its key's delegation")?;
        let standing = Standing::open(&signed, &key).map_err(|_| "its signature, key or values")?;
        let now_ms = self.now_ms();
        if standing.issued_at_ms > now_ms.saturating_add(CLOCK_SKEW_MS) {
            return Err("it was issued over 30 s ahead");
        }
        if standing.expires_at_ms <= now_ms {
            return Err("it is over");
        }
        {
            let known = self.standings.read();
            if known.by_root(&key) {
                return Err("its key is revoked under the root");
            }
            match known.floors.get(&key.root) {
                Some((sequence, _)) if *sequence > standing.sequence => return Err("a newer one is known"),
                Some((sequence, kept)) if *sequence == standing.sequence && *kept != digest => {
                    self.counters().alarm();
                    return Err("another one of the same number is known");
                }
                Some(_) => {}
                None if known.floors.len() >= ROOTS_MAX => return Err("too many roots are known"),
                None => {}
            }
            if known.newest.get(&key.root).is_some_and(|old| old.standing.sequence == standing.sequence) {
                return Ok(());
            }
        }
        let seen = StandingSeen {
            root: Bytes::copy_from_slice(key.root.as_bytes()),
            sequence: standing.sequence,
            digest: Bytes::copy_from_slice(&digest),
        };
        self.write_down(Record::new(now_ms, Kind::Standing(seen)))
            .await
            .map_err(|_| "the journal cannot take it")?;
        let mut known = self.standings.write();
        // Another one of the same root may have become durable meanwhile.
        if known.floors.get(&key.root).is_none_or(|(sequence, _)| *sequence <= standing.sequence) {
            known.floors.insert(key.root, (standing.sequence, digest));
            known.newest.insert(key.root, Held { standing, key });
        }
        Ok(())
    }

    /// Takes a revocation under a root. Durable before it counts; counts for ever.
    ///
    /// # Errors
    /// Why it does not count.
    pub async fn take_revocation(&self, document: Bytes) -> Result<(), &'static str> {
        let signed = SignedDocument::parse(document.clone(), DOCUMENT_MAX).map_err(|_| "its form")?;
        let revocation = Revocation::open(&signed).map_err(|_| "its signature or values")?;
        // The next root is not known here: no contract names it.
        if !revocation.counts_under(&revocation.root, None) {
            return Err("it is signed by another root than it is about");
        }
        {
            let mut known = self.standings.write();
            if known.seen.contains(&revocation.digest) {
                return Ok(());
            }
            known.make_room(&revocation)?;
        }
        let seen = RevocationSeen { document: document.clone() };
        self.write_down(Record::new(self.now_ms(), Kind::Revocation(seen)))
            .await
            .map_err(|_| "the journal cannot take it")?;
        self.standings.write().take_revocation(&revocation, document);
        Ok(())
    }
}
