//! Standings at the member's side: issuing its own, well before the last one ends and at once when its list
//! changes, and asking for those of its counterparts.

use crate::client::Client;
use crate::counterparts::{Counterparts, Floor};
use crate::error::ClientError;
use crate::folder::{Folder, FolderError, IssuedStanding, ListStamp};
use crate::tls::{Dial, SystemDial};
use bytes::Bytes;
use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use yiwang_proto::Digest;
use yiwang_proto::ambient::Clock;
use yiwang_proto::codes::Code;
use yiwang_proto::contract::Contract;
use yiwang_proto::delegation::Delegation;
use yiwang_proto::document::SignedDocument;
use yiwang_proto::envelope::SignedStatement;
use yiwang_proto::ids::MemberId;
use yiwang_proto::keys::PublicKey;
use yiwang_proto::limits::DOCUMENT_MAX;
use yiwang_proto::pb;
use yiwang_proto::revocation::{Revocation, Revoked};
use yiwang_proto::standing::{LIFE_MS, Standing};
use yiwang_rpc::directory_service_client::DirectoryServiceClient;

/// A third of the shortest life: two tries may fail before anybody notices.
pub const RENEW_MS: i64 = LIFE_MS / 3;
/// How often the list is looked at: a revocation is to be everywhere within 5 seconds.
const LOOK: Duration = Duration::from_millis(250);
/// Pause after a failure.
const AGAIN: Duration = Duration::from_secs(1);
/// The hub answers when replies that are under way have ended, some seconds at the most.
const PATIENCE: Duration = Duration::from_secs(10);

/// Offers that may be overtaken by the host's own before somebody should look.
const TRIES_MAX: u32 = 5;

/// What the hub said to a standing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Acknowledged {
    /// The entry, where the standing changed something.
    pub index: Option<u64>,
    /// Replies that the hub dropped, because their readers did not take them.
    pub dropped: u32,
}

/// Offers a standing to the hub. When this returns, nothing that was decided before the hub knew it is on its
/// way through the hub any more.
///
/// # Errors
/// [`ClientError`].
pub async fn offer(channel: Channel, issued: &IssuedStanding) -> Result<Acknowledged, ClientError> {
    let standing = pb::SignedStanding {
        standing: issued.signed.bytes().clone(),
        delegation: issued.delegation.bytes().clone(),
    };
    let request = pb::OfferStandingRequest { standing: Some(standing) };
    let mut directory = DirectoryServiceClient::new(channel);
    let answer = tokio::time::timeout(PATIENCE, directory.offer_standing(request))
        .await
        .map_err(|_| ClientError::Transport("no answer in time".to_owned()))??
        .into_inner();
    let index = answer.receipt.map(|receipt| receipt.index);
    Ok(Acknowledged { index, dropped: answer.dropped })
}

/// Issues a standing from the member's list as it is now and offers it until the hub has taken this one or a
/// newer one of the same list: the member's host may issue at the same time.
///
/// # Errors
/// [`ClientError`].
pub async fn issue_and_offer(
    folder: &Folder,
    channel: &Channel,
    clock: &dyn Clock,
) -> Result<(IssuedStanding, Acknowledged), ClientError> {
    let mut tries = 0;
    loop {
        let issued =
            folder.issue_standing(clock.now_ms()).map_err(|error| ClientError::Ask(error.to_string()))?;
        match offer(channel.clone(), &issued).await {
            Ok(acknowledged) => return Ok((issued, acknowledged)),
            Err(ClientError::Hub { code: Code::Replayed }) if tries < TRIES_MAX => tries += 1,
            Err(error) => return Err(error),
        }
    }
}

/// How a member's standings go.
#[derive(Debug, Default)]
pub struct StandingHealth {
    // 0 before the first.
    until_ms: AtomicI64,
}

impl StandingHealth {
    /// Until when the newest standing that the hub took holds; 0 where there is none yet.
    pub fn until_ms(&self) -> i64 {
        self.until_ms.load(Ordering::Relaxed)
    }
}

/// Keeps a member's standings fresh until stopped. `listed` sees the list before each standing that it
/// changed for, so that the member's own adapter and gateway obey it first.
pub async fn keep(
    folder: &Path,
    clock: Arc<dyn Clock>,
    health: Arc<StandingHealth>,
    stop: CancellationToken,
    listed: impl Fn(&Revoked) + Send + Sync,
) {
    keep_over(SystemDial, folder, clock, health, stop, listed).await;
}

/// As [`keep`], over another network than the system's.
pub async fn keep_over(
    dial: impl Dial,
    folder: &Path,
    clock: Arc<dyn Clock>,
    health: Arc<StandingHealth>,
    stop: CancellationToken,
    listed: impl Fn(&Revoked) + Send + Sync,
) {
    let mut keeper = Keeper { dial, folder, clock, health, last: None };
    let mut channel = None;
    while !stop.is_cancelled() {
        let Some(round) = stop.run_until_cancelled(keeper.round(&mut channel, &listed)).await else { return };
        let pause = match round {
            Ok(()) => LOOK,
            Err(why) => {
                tracing::warn!(%why, "no new standing of this member; counterparts refuse when the last one ends");
                channel = None;
                AGAIN
            }
        };
        if stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
            return;
        }
    }
}

struct Keeper<'a, D> {
    dial: D,
    folder: &'a Path,
    clock: Arc<dyn Clock>,
    health: Arc<StandingHealth>,
    last: Option<(i64, ListStamp)>,
}

impl<D: Dial> Keeper<'_, D> {
    async fn round(
        &mut self,
        channel: &mut Option<Channel>,
        listed: &(impl Fn(&Revoked) + Send + Sync),
    ) -> Result<(), String> {
        let words = |error: FolderError| error.to_string();
        let folder = Folder::open(self.folder).map_err(words)?;
        let (now_ms, stamp) = (self.clock.now_ms(), folder.list_stamp());
        if let Some((issued_ms, known)) = self.last
            && known == stamp
            && (issued_ms..issued_ms.saturating_add(RENEW_MS)).contains(&now_ms)
        {
            return Ok(());
        }
        let issued = folder.issue_standing(now_ms).map_err(words)?;
        listed(&issued.standing.revoked);
        let open = match channel.take() {
            Some(open) => open,
            None => {
                let (dial, clock) = (self.dial.clone(), Arc::clone(&self.clock));
                folder.enrolled().map_err(words)?.channel_lazy_over(dial, clock).map_err(words)?
            }
        };
        match offer(open.clone(), &issued).await {
            // Another program of this member issued a newer one meanwhile; the next round has a higher number.
            Ok(_) | Err(ClientError::Hub { code: Code::Replayed }) => {}
            Err(error) => return Err(error.to_string()),
        }
        *channel = Some(open);
        // A contract may take older ones; as long as the shortest one's word is not renewed, something is wrong here.
        let until_ms = issued.standing.expires_at_ms.min(now_ms.saturating_add(LIFE_MS));
        self.health.until_ms.store(until_ms, Ordering::Relaxed);
        self.last = Some((now_ms, stamp));
        Ok(())
    }
}

/// How often floors are written while nobody takes anything back: one that is a little old lets pass only a word that
/// said the same, and that is over within its own life.
const FLOORS_EVERY_MS: i64 = 60_000;

/// What counts of all counterparts, also after a restart.
#[derive(Debug)]
pub(crate) struct KeptWords {
    // Floors as high as they are known; the store's may be a little lower.
    known: Counterparts,
    // What the newest word under each root takes back, where this process heard it.
    said: HashMap<PublicKey, (Revoked, Vec<u64>)>,
    written_ms: Option<i64>,
}

impl KeptWords {
    pub(crate) fn new(known: Counterparts) -> Self {
        Self { known, said: HashMap::new(), written_ms: None }
    }

    /// What must be durable before a word counts; none where nothing new is in it, most of the time.
    fn due(&self, word: &Word, revocations: &[(Revocation, Bytes)], now_ms: i64) -> Option<Counterparts> {
        let mut due = Counterparts::default();
        for (revocation, document) in revocations.iter().filter(|(known, _)| !self.known.has(known)) {
            due.add(revocation, document.clone());
        }
        let said = self.said.get(&word.root);
        let same = said.is_some_and(|(revoked, serials)| {
            *revoked == word.standing.revoked && *serials == word.standing.revoked_serials
        });
        let fresh =
            self.written_ms.is_some_and(|at| (at..at.saturating_add(FLOORS_EVERY_MS)).contains(&now_ms));
        if due == Counterparts::default() && same && fresh {
            return None;
        }
        due.raise_all(&self.known);
        due.raise(&word.root, word.floor());
        Some(due)
    }

    /// A word counts from now on.
    fn took(&mut self, word: &Word, revocations: Vec<(Revocation, Bytes)>) {
        if self.known.floor(&word.root).is_none_or(|held| held.sequence <= word.standing.sequence) {
            self.known.raise(&word.root, word.floor());
            let said = (word.standing.revoked.clone(), word.standing.revoked_serials.clone());
            self.said.insert(word.root, said);
        }
        for (revocation, document) in revocations {
            self.known.add(&revocation, document);
        }
    }
}

/// A counterpart's word, verified.
#[derive(Debug)]
pub(crate) struct Word {
    standing: Standing,
    // Of the standing's signed payload.
    digest: Digest,
    /// The key that signed it.
    key: Digest,
    key_until_ms: i64,
    root: PublicKey,
    // Under that root, for ever.
    revoked: Revoked,
    whole_root: bool,
}

/// Whose word was missing or too old, where an exchange was refused with `standing_stale`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Silent {
    /// The member that asked.
    Consumer,
    /// The department that was asked.
    Provider,
}

impl Silent {
    /// As the clause says it, the hub's or an adapter's; none where there is no clause, or one of another rule.
    pub fn of(clause: &str) -> Option<Self> {
        let clause = yiwang_proto::clause::clause_of(clause);
        if clause == "the-consumers-standing" || clause.starts_with("consumer:") {
            Some(Self::Consumer)
        } else if clause == "the-providers-standing" || clause.starts_with("provider:") {
            Some(Self::Provider)
        } else {
            None
        }
    }
}

impl Client {
    fn word_of(&self, member: &MemberId) -> Option<Arc<Word>> {
        self.words.lock().unwrap_or_else(PoisonError::into_inner).get(member).cloned()
    }

    /// Whether the provider still stands by a key of its adapter's and the contract. A look-up, and once within the
    /// age that the contract allows a question to the hub, which is believed in nothing.
    pub(crate) async fn stands_by(&self, contract: &Contract, key: &Delegation) -> Result<(), ClientError> {
        let provider = &contract.text.provider;
        let age_ms = contract.text.standing_age_ms();
        let fresh = |word: &Word| {
            let now_ms = self.clock.now_ms();
            word.root == provider.root && now_ms < word.key_until_ms && word.standing.in_force(now_ms, age_ms)
        };
        let word = match self.word_of(&provider.member).filter(|word| fresh(word)) {
            Some(word) => word,
            None => self.ask_word(&provider.member, &provider.root).await?,
        };
        if !fresh(&word) {
            return Err(ClientError::unverified(
                "the provider's newest standing is over: nobody can tell whether its adapter's keys still count",
            ));
        }
        let text = &contract.text;
        let revoked = word.whole_root
            || word.standing.revokes(key)
            || word.revoked.delegations.contains(&word.key)
            || word.revoked.delegations.contains(&key.digest)
            || [&word.revoked, &word.standing.revoked]
                .into_iter()
                .any(|list| list.ends(&text.id, text.version));
        if revoked {
            return Err(ClientError::unverified(
                "the provider revoked a key of its adapter's or the contract",
            ));
        }
        Ok(())
    }

    async fn ask_word(&self, member: &MemberId, root: &PublicKey) -> Result<Arc<Word>, ClientError> {
        let held = self.word_of(member).filter(|word| word.root == *root);
        let floor = self.kept_words().known.floor(root);
        let held = held.map_or(0, |word| word.standing.sequence).max(floor.map_or(0, |floor| floor.sequence));
        let mut directory = DirectoryServiceClient::new(self.channel.clone());
        let request = pb::GetStandingsRequest { members: vec![member.as_str().to_owned()] };
        let answer = directory.get_standings(request).await?.into_inner();
        let raw = answer.standings.into_iter().next();
        let raw = raw.ok_or_else(|| ClientError::unverified("the hub shows no standing of the provider"))?;
        let mut word = open_word(&raw, member, root)?;
        if held > word.standing.sequence {
            return Err(older());
        }
        if floor.is_some_and(|floor| floor.sequence == word.standing.sequence && floor.digest != word.digest)
        {
            return Err(ClientError::unverified(
                "the hub shows another standing than before under one number",
            ));
        }
        let mut revocations = Vec::new();
        for document in answer.revocations {
            let signed =
                SignedDocument::parse(document.clone(), DOCUMENT_MAX).map_err(ClientError::unverified)?;
            let revocation = Revocation::open(&signed).map_err(ClientError::unverified)?;
            if revocation.counts_under(root, None) {
                revocations.push((revocation, document));
            }
        }
        self.keep_word(&mut word, revocations).await?;
        let mut words = self.words.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(old) = words.get(member).filter(|old| old.root == *root) {
            word = word.after(old, held)?;
        }
        let word = Arc::new(word);
        words.insert(member.clone(), Arc::clone(&word));
        Ok(word)
    }
}

impl Client {
    fn kept_words(&self) -> MutexGuard<'_, KeptWords> {
        self.kept_words.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes durable what a word changes, before it counts, and lets it know what its root revoked, now or long ago.
    async fn keep_word(
        &self,
        word: &mut Word,
        revocations: Vec<(Revocation, Bytes)>,
    ) -> Result<(), ClientError> {
        let now_ms = self.clock.now_ms();
        let due = self.kept_words().due(word, &revocations, now_ms);
        let written = due.is_some();
        if let Some(due) = due {
            let store = Arc::clone(&self.heads);
            let kept = tokio::task::spawn_blocking(move || store.keep_counterparts(&due)).await;
            let kept = kept.map_err(std::io::Error::other).and_then(|kept| kept);
            kept.map_err(|error| {
                ClientError::Ask(format!("what the provider takes back cannot be kept: {error}"))
            })?;
        }
        let mut kept = self.kept_words();
        if written {
            kept.written_ms = Some(now_ms);
        }
        kept.took(word, revocations);
        for revocation in kept.known.revocations(&word.root) {
            word.whole_root |= revocation.whole_root;
            word.revoked.merge(&revocation.revoked);
        }
        Ok(())
    }
}

fn older() -> ClientError {
    ClientError::unverified("the hub shows an older standing than before")
}

impl Word {
    fn floor(&self) -> Floor {
        Floor { sequence: self.standing.sequence, digest: self.digest }
    }

    /// What counts after this one was shown: nothing older than what was held when it was asked for. Questions run at
    /// once, and their answers come in any order, so a newer word may be held by now; that one stays.
    fn after(mut self, old: &Self, held: u64) -> Result<Self, ClientError> {
        if held > self.standing.sequence {
            return Err(older());
        }
        if old.standing.sequence > self.standing.sequence {
            self.standing = old.standing.clone();
            self.digest = old.digest;
            (self.key, self.key_until_ms) = (old.key, old.key_until_ms);
        }
        // What a root revoked stays revoked, also when the hub shows it no more.
        self.revoked.merge(&old.revoked);
        self.whole_root |= old.whole_root;
        Ok(self)
    }
}

fn open_word(raw: &pb::SignedStanding, member: &MemberId, root: &PublicKey) -> Result<Word, ClientError> {
    let document =
        SignedDocument::parse(raw.delegation.clone(), DOCUMENT_MAX).map_err(ClientError::unverified)?;
    let key = Delegation::open_under(&document, root).map_err(ClientError::unverified)?;
    let signed = SignedStatement::parse(raw.standing.clone()).map_err(ClientError::unverified)?;
    let standing = Standing::open(&signed, &key).map_err(ClientError::unverified)?;
    if standing.member != *member {
        return Err(ClientError::unverified("the hub shows another member's standing"));
    }
    Ok(Word {
        standing,
        digest: signed.digest(),
        key: key.digest,
        key_until_ms: key.valid_until_ms,
        root: *root,
        revoked: Revoked::default(),
        whole_root: false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use yiwang_proto::keys::SecretKey;

    fn word(sequence: u64, officers: &[&str]) -> Word {
        let officers = officers.iter().map(|name| name.parse().unwrap()).collect();
        let standing = Standing {
            member: MemberId::parse("police").unwrap(),
            root_digest: [1; 32],
            sequence,
            revoked_serials: Vec::new(),
            revoked: Revoked::default(),
            issued_at_ms: 0,
            expires_at_ms: 60_000,
            delegation_digest: [2; 32],
        };
        let revoked = Revoked { officers, ..Revoked::default() };
        Word {
            standing,
            digest: [3; 32],
            key: [2; 32],
            key_until_ms: 60_000,
            root: SecretKey::from_seed(&[7; 32]).public(),
            revoked,
            whole_root: false,
        }
    }

    #[test]
    fn an_answer_that_was_overtaken_accuses_nobody_and_an_older_word_does() {
        // Two questions were sent while 5 was held; the second one's answer came first.
        let one = "o-aaaaaaaaaaaaaaaa";
        let kept = word(6, &[]).after(&word(7, &[one]), 5).unwrap();
        assert_eq!(kept.standing.sequence, 7, "the newer one stays");
        assert!(!kept.revoked.officers.is_empty(), "and what was revoked");
        assert_eq!(word(8, &[]).after(&word(7, &[]), 7).unwrap().standing.sequence, 8);
        assert!(
            word(6, &[]).after(&word(7, &[]), 7).is_err(),
            "older than what was held when it was asked for"
        );
    }
}
