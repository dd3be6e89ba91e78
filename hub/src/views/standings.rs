//! What members said about what is still in force: the newest standing of each that is in the ledger, and
//! every revocation under a root. A revocation under a root is for ever; a standing's holds until its
//! member's next word, also when the standing itself is over.

use super::{DelegationView, Registry, Views};
use bytes::Bytes;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use yiwang_proto::Digest;
use yiwang_proto::codes::Code;
use yiwang_proto::contract::{Contract, Party};
use yiwang_proto::delegation::Delegation;
use yiwang_proto::ids::{MemberId, Officer};
use yiwang_proto::keys::PublicKey;
use yiwang_proto::revocation::{Revocation, Revoked};
use yiwang_proto::standing::Standing;

/// A standing whose signature was verified under its key's delegation.
#[derive(Debug)]
pub struct Held {
    /// What it says.
    pub standing: Standing,
    /// SHA-256 of its signed payload, as entries name it.
    pub digest: Bytes,
    /// The envelope's exact bytes.
    pub envelope: Bytes,
    /// The delegation of the key that signed it.
    pub key: Arc<DelegationView>,
}

/// A standing with its entry.
#[derive(Debug)]
pub struct StandingView {
    /// The standing.
    pub held: Arc<Held>,
    /// Its entry.
    pub index: u64,
}

/// A revocation under a root, with its entry.
#[derive(Debug)]
pub struct RevocationView {
    /// What it says.
    pub revocation: Revocation,
    /// The document's exact bytes.
    pub document: Bytes,
    /// Its entry.
    pub index: u64,
}

/// What an exchange rests on that a member may have taken back.
#[derive(Debug, Clone, Copy)]
pub struct Claims<'a> {
    /// The contract.
    pub contract: &'a Contract,
    /// The app's key.
    pub app: &'a Delegation,
    /// Who acts.
    pub officer: Option<&'a Officer>,
    /// The officer's key, where a ticket or the statement is signed with one.
    pub officer_key: Option<&'a Delegation>,
    /// Where bodies travel sealed: the keys that open the answer and the request, as far as they are known.
    pub sealing: [Option<&'a Delegation>; 2],
    /// The adapter's key, once somebody answered.
    pub adapter: Option<&'a Delegation>,
}

/// Why an exchange may not go on, with the clause for its entry.
pub type Objection = (Code, &'static str);

/// The newest standings of consumer and provider.
pub type Pair = [Option<Arc<StandingView>>; 2];

#[derive(Debug, Default)]
struct Rooted {
    whole: bool,
    revoked: Revoked,
}

/// The part of the registry that says what no longer counts.
#[derive(Default)]
pub(super) struct Words {
    standings: HashMap<MemberId, Arc<StandingView>>,
    roots: HashMap<PublicKey, Rooted>,
    documents: HashMap<Digest, Arc<RevocationView>>,
    // The same by their members, in the order of their entries.
    of_members: HashMap<MemberId, Vec<Arc<RevocationView>>>,
    providers_of: HashMap<MemberId, BTreeSet<MemberId>>,
    consumers_of: HashMap<MemberId, BTreeSet<MemberId>>,
    // For tests only: a hub that looks at none of it.
    blind: AtomicBool,
}

impl Words {
    pub(super) fn take_standing(&mut self, view: StandingView) {
        self.standings.insert(view.held.standing.member.clone(), Arc::new(view));
    }

    pub(super) fn take_revocation(&mut self, view: RevocationView) {
        let rooted = self.roots.entry(view.revocation.root).or_default();
        rooted.whole |= view.revocation.whole_root;
        rooted.revoked.merge(&view.revocation.revoked);
        let view = Arc::new(view);
        self.of_members.entry(view.revocation.member.clone()).or_default().push(Arc::clone(&view));
        self.documents.insert(view.revocation.digest, view);
    }

    pub(super) fn take_contract(&mut self, contract: &Contract) {
        let (provider, consumer) = (&contract.text.provider.member, &contract.text.consumer.member);
        self.providers_of.entry(consumer.clone()).or_default().insert(provider.clone());
        self.consumers_of.entry(provider.clone()).or_default().insert(consumer.clone());
    }

    /// Whether its root took a key back, or itself.
    fn revoked_by_root(&self, key: &Delegation) -> bool {
        self.roots
            .get(&key.root)
            .is_some_and(|rooted| rooted.whole || rooted.revoked.delegations.contains(&key.digest))
    }

    /// The member's newest standing, if it is one under that root.
    fn standing_under(&self, member: &MemberId, root: &PublicKey) -> Option<&Arc<StandingView>> {
        self.standings.get(member).filter(|view| {
            view.held.key.delegation.root == *root && !self.revoked_by_root(&view.held.key.delegation)
        })
    }

    fn revoked(&self, key: &Delegation) -> bool {
        self.revoked_by_root(key)
            || self.standing_under(&key.member, &key.root).is_some_and(|view| view.held.standing.revokes(key))
    }

    fn party_objects(
        &self,
        party: &Party,
        contract: &Contract,
        officer: Option<&Officer>,
    ) -> Option<Objection> {
        let (id, version) = (&contract.text.id, contract.text.version);
        let by_root = self.roots.get(&party.root);
        let standing = self.standing_under(&party.member, &party.root);
        let lists = [by_root.map(|rooted| &rooted.revoked), standing.map(|view| &view.held.standing.revoked)];
        if by_root.is_some_and(|rooted| rooted.whole) {
            Some((Code::Revoked, "the root that signed the contract"))
        } else if lists.into_iter().flatten().any(|list| list.ends(id, version)) {
            Some((Code::Revoked, "the contract"))
        } else if lists.into_iter().flatten().any(|list| list.officer(officer)) {
            Some((Code::Revoked, "the officer"))
        } else {
            None
        }
    }

    fn objection(&self, claims: &Claims<'_>, pair: &Pair, now_ms: i64) -> Option<Objection> {
        let text = &claims.contract.text;
        if let Some(objection) = self
            .party_objects(&text.consumer, claims.contract, claims.officer)
            .or_else(|| self.party_objects(&text.provider, claims.contract, None))
        {
            return Some(objection);
        }
        let [opens_answer, opens_request] = claims.sealing;
        let keys = [
            (Some(claims.app), "the app's key"),
            (claims.officer_key, "the officer's key"),
            (opens_answer, "the consumer's key for sealing"),
            (opens_request, "the provider's key for sealing"),
            (claims.adapter, "the adapter's key"),
        ];
        for (key, clause) in keys {
            if key.is_some_and(|key| self.revoked(key)) {
                return Some((Code::Revoked, clause));
            }
        }
        let age_ms = text.standing_age_ms();
        let sides =
            [(&text.consumer, "the consumer's standing"), (&text.provider, "the provider's standing")];
        for ((party, clause), view) in sides.into_iter().zip(pair) {
            let fresh = view.as_ref().is_some_and(|view| {
                let key = &view.held.key.delegation;
                key.root == party.root
                    && !self.revoked_by_root(key)
                    && now_ms < key.valid_until_ms
                    && view.held.standing.in_force(now_ms, age_ms)
            });
            if !fresh {
                return Some((Code::StandingStale, clause));
            }
        }
        None
    }
}

impl Views {
    fn words<T>(&self, look: impl FnOnce(&Words) -> T) -> T {
        look(&self.registry().words)
    }

    /// What both parties' newest words in the ledger say about an exchange, and which words those are. A few
    /// look-ups under one lock; no signature is checked here.
    pub fn standing_of(&self, claims: &Claims<'_>, now_ms: i64) -> (Pair, Option<Objection>) {
        self.words(|words| {
            let text = &claims.contract.text;
            let pair = [&text.consumer.member, &text.provider.member]
                .map(|member| words.standings.get(member).cloned());
            let objection = if words.blind.load(Ordering::Relaxed) {
                None
            } else {
                words.objection(claims, &pair, now_ms)
            };
            (pair, objection)
        })
    }

    /// Whether a key was revoked, by its member's standing or its root.
    pub fn revoked(&self, key: &Delegation) -> bool {
        self.words(|words| !words.blind.load(Ordering::Relaxed) && words.revoked(key))
    }

    /// Whether a key is under the root that its member's card names now.
    pub fn is_of_the_root(&self, key: &Delegation) -> bool {
        self.member(&key.member).is_some_and(|view| view.card.root == key.root)
    }

    /// Whether a root took back one of its keys, or itself.
    pub fn revoked_by_root(&self, key: &Delegation) -> bool {
        self.words(|words| words.revoked_by_root(key))
    }

    /// A member's newest standing in the ledger.
    pub fn standing(&self, member: &MemberId) -> Option<Arc<StandingView>> {
        self.words(|words| words.standings.get(member).cloned())
    }

    /// A revocation by the digest of its payload.
    pub fn revocation(&self, digest: &Digest) -> Option<Arc<RevocationView>> {
        self.words(|words| words.documents.get(digest).cloned())
    }

    /// All revocations of a member, by their entries.
    pub fn revocations_of(&self, member: &MemberId) -> Vec<Arc<RevocationView>> {
        self.words(|words| words.of_members.get(member).cloned().unwrap_or_default())
    }

    /// How many they are, and their bytes.
    pub(super) fn revocations_held(&self, member: &MemberId) -> (usize, usize) {
        self.words(|words| {
            let of = words.of_members.get(member).map(Vec::as_slice).unwrap_or_default();
            (of.len(), of.iter().map(|view| view.document.len()).sum())
        })
    }

    /// Whether a root took itself back.
    pub fn is_over(&self, root: &PublicKey) -> bool {
        self.words(|words| words.roots.get(root).is_some_and(|rooted| rooted.whole))
    }

    /// Members that provide to this one under any contract.
    pub fn providers_of(&self, consumer: &MemberId) -> Vec<MemberId> {
        self.words(|words| words.providers_of.get(consumer).into_iter().flatten().cloned().collect())
    }

    /// Members that this one provides to under any contract.
    pub fn consumers_of(&self, provider: &MemberId) -> Vec<MemberId> {
        self.words(|words| words.consumers_of.get(provider).into_iter().flatten().cloned().collect())
    }

    /// For tests of an evil hub: revocations and standings are looked at no more.
    pub fn look_away(&self) {
        self.words(|words| words.blind.store(true, Ordering::Relaxed));
    }
}

impl Registry {
    /// The key that signed a standing, if its delegation is in the ledger.
    pub(super) fn key_of(&self, standing: &Standing) -> Option<Arc<DelegationView>> {
        self.delegations.get(&standing.delegation_digest).cloned()
    }
}
