//! What members said about what is still in force: standings and revocations under a root, and whether the
//! exchanges that rest on them were right.

use super::exchanges::Subject;
use super::{At, Known, Scope, State};
use crate::parse::Stated;
use crate::rules::Rule;
use std::collections::HashMap;
use yiwang_proto::Digest;
use yiwang_proto::codes::Code;
use yiwang_proto::contract::Party;
use yiwang_proto::delegation::Delegation;
use yiwang_proto::ids::{MemberId, Officer};
use yiwang_proto::keys::PublicKey;
use yiwang_proto::pb::Outcome;
use yiwang_proto::request::{OfficerBy, Request};
use yiwang_proto::revocation::{Revocation, Revoked};
use yiwang_proto::standing::Standing;

/// Time that may pass between a denial and its entry.
const DECISION_DELAY_MS: i64 = 2_000;

#[derive(Debug)]
struct Word {
    index: u64,
    digest: Digest,
    standing: Standing,
    key: std::sync::Arc<Delegation>,
}

#[derive(Debug, Default)]
struct Rooted {
    whole: bool,
    revoked: Revoked,
}

/// The words of all members, as they stand at an entry.
#[derive(Debug, Default)]
pub(super) struct Words {
    newest: HashMap<MemberId, Word>,
    /// The last words under roots that were replaced, by their roots.
    former: HashMap<PublicKey, Standing>,
    roots: HashMap<PublicKey, Rooted>,
    /// Exchanges that were answered before anybody had said anything.
    pub(super) unsaid: u64,
}

/// What an exchange rests on.
#[derive(Clone, Copy)]
struct Claims<'a> {
    contract: &'a Known,
    app: Option<&'a Delegation>,
    adapter: Option<&'a Delegation>,
    officer: Option<&'a Officer>,
    /// The officer's key and the consumer's for sealing. The provider's for sealing is named in the body only.
    besides: [Option<&'a Delegation>; 2],
}

impl Words {
    /// Whether a root took back one of its keys, or itself.
    pub(super) fn by_root(&self, key: &Delegation) -> bool {
        let rooted = self.roots.get(&key.root);
        rooted.is_some_and(|rooted| rooted.whole || rooted.revoked.delegations.contains(&key.digest))
    }

    fn word_under(&self, member: &MemberId, root: &PublicKey) -> Option<&Word> {
        self.newest.get(member).filter(|word| word.key.root == *root && !self.by_root(&word.key))
    }

    /// A member's newest word and the root that it is under.
    pub(super) fn newest_of(&self, member: &MemberId) -> Option<(&PublicKey, &Standing)> {
        let word = self.newest.get(member).filter(|word| !self.by_root(&word.key))?;
        Some((&word.key.root, &word.standing))
    }

    /// The same, and its last ones under roots that were replaced.
    pub(super) fn of<'w>(
        &'w self,
        member: &'w MemberId,
    ) -> impl Iterator<Item = (&'w PublicKey, &'w Standing)> {
        self.newest_of(member)
            .into_iter()
            .chain(self.former.iter().filter(|(_, word)| word.member == *member))
    }

    pub(super) fn key_revoked(&self, key: &Delegation) -> bool {
        let said = self.word_under(&key.member, &key.root).is_some_and(|word| word.standing.revokes(key));
        said || self.by_root(key)
    }

    fn ended(&self, party: &Party, claims: &Claims<'_>, officer: Option<&Officer>) -> bool {
        let text = &claims.contract.contract.text;
        let rooted = self.roots.get(&party.root);
        let said = self.word_under(&party.member, &party.root).map(|word| &word.standing.revoked);
        let lists = [rooted.map(|rooted| &rooted.revoked), said];
        rooted.is_some_and(|rooted| rooted.whole)
            || lists
                .into_iter()
                .flatten()
                .any(|list| list.ends(&text.id, text.version) || list.officer(officer))
    }

    fn revoked(&self, claims: &Claims<'_>) -> bool {
        let text = &claims.contract.contract.text;
        self.ended(&text.consumer, claims, claims.officer)
            || self.ended(&text.provider, claims, None)
            || [claims.app, claims.adapter]
                .into_iter()
                .chain(claims.besides)
                .flatten()
                .any(|key| self.key_revoked(key))
    }

    /// Whether the last word under a root that was replaced took a key back: a denial may have been decided before the
    /// first one under the next root, and entered after it.
    fn former_revoked(&self, key: &Delegation) -> bool {
        self.former.get(&key.root).is_some_and(|word| word.revokes(key))
    }

    /// The same of all that an exchange rests on.
    fn was_revoked(&self, claims: &Claims<'_>) -> bool {
        let text = &claims.contract.contract.text;
        let ended = |party: &Party, officer: Option<&Officer>| {
            let word = self.former.get(&party.root).map(|word| &word.revoked);
            word.is_some_and(|list| list.ends(&text.id, text.version) || list.officer(officer))
        };
        ended(&text.consumer, claims.officer)
            || ended(&text.provider, None)
            || claims.besides.into_iter().flatten().any(|key| self.former_revoked(key))
    }

    /// The side whose word cannot be relied on at a time.
    fn stale(&self, claims: &Claims<'_>, now_ms: i64) -> Option<&'static str> {
        let text = &claims.contract.contract.text;
        let fresh = |party: &Party| {
            self.word_under(&party.member, &party.root).is_some_and(|word| {
                word.standing.in_force(now_ms, text.standing_age_ms()) && now_ms < word.key.valid_until_ms
            })
        };
        [("consumer", &text.consumer), ("provider", &text.provider)]
            .into_iter()
            .find(|(_, party)| !fresh(party))
            .map(|(side, _)| side)
    }
}

impl State<'_> {
    pub(super) fn standing(&mut self, at: At, stated: &Stated<Standing>) {
        let said = &stated.statement;
        let member = said.member.clone();
        let Some(key) =
            self.delegations.get(&said.delegation_digest).map(|held| std::sync::Arc::clone(&held.delegation))
        else {
            let what = "signed under a delegation that no earlier entry carries";
            return self.finding(at, Rule::Standing, what);
        };
        if let Err(fault) = Standing::open(&stated.signed, &key) {
            return self.finding(at, Rule::Standing, format!("of `{member}`: {fault}"));
        }
        if !self.roots_of(&member).contains(&key.root) {
            return self.finding(at, Rule::Standing, format!("its key is not under the root of `{member}`"));
        }
        if self.words.by_root(&key) {
            return self.finding(at, Rule::Standing, "its key was revoked under the root");
        }
        if !said.holds_at(&key, at.time_ms) {
            self.finding(at, Rule::Standing, "recorded outside the time that it, or its key, holds");
        }
        // Each root counts for itself.
        let before = self.words.newest.get(&member).filter(|old| old.key.root == key.root);
        if let Some(old) = before.filter(|old| old.standing.sequence >= said.sequence) {
            let what = format!("its number {} is not above that of entry {}", said.sequence, old.index);
            return self.finding(at, Rule::Standing, what);
        }
        let said_under = key.root;
        let word = Word { index: at.index, digest: stated.digest, standing: Standing::clone(said), key };
        if let Some(old) = self.words.newest.insert(member, word)
            && old.key.root != said_under
            && !self.words.by_root(&old.key)
        {
            self.words.former.insert(old.key.root, old.standing);
        }
    }

    pub(super) fn revocation(&mut self, at: At, revocation: &Revocation) {
        let member = &revocation.member;
        let next = self.members.get(member).map(|member| member.next_root_digest);
        match self.roots_of(member) {
            [] => self.no_card(at, Rule::Revocation, member),
            roots if roots.iter().any(|root| revocation.counts_under(root, next.as_ref())) => {
                let rooted = self.words.roots.entry(revocation.root).or_default();
                rooted.whole |= revocation.whole_root;
                rooted.revoked.merge(&revocation.revoked);
                self.take_back_sealing(revocation);
            }
            _ => {
                self.finding(at, Rule::Revocation, format!("not signed by the root of `{member}`"));
            }
        }
    }

    /// The officer's key and the consumer's for sealing, as far as earlier entries carry them.
    fn keys_besides(&self, request: &Request) -> [Option<&Delegation>; 2] {
        let officer = match &request.officer_by {
            OfficerBy::Asserted => None,
            OfficerBy::Signature(digest) => Some(*digest),
            OfficerBy::Ticket(digest) => self.tickets.delegation_of(digest),
        };
        [officer, request.sealing].map(|digest| self.delegations.get(&digest?).map(|held| &*held.delegation))
    }

    /// The standings that an entry names are the newest ones, and what was answered or withheld is right in
    /// view of them.
    pub(super) fn freshness(
        &mut self,
        subject: Subject<'_>,
        app: Option<&Delegation>,
        contract: Option<&Known>,
        adapter: Option<Digest>,
    ) {
        let Subject { at, raw, ending, request, passed } = subject;
        let request = &request.statement;
        let words = [&request.consumer, &request.provider].map(|member| self.words.newest.get(member));
        let right: Vec<(u64, &[u8])> =
            words.into_iter().flatten().map(|word| (word.index, word.digest.as_slice())).collect();
        let named: Vec<(u64, &[u8])> = raw
            .standing_indexes
            .iter()
            .copied()
            .zip(raw.standing_digests.iter().map(AsRef::as_ref))
            .collect();
        let silent = raw.standing_digests.is_empty() && raw.standing_indexes.is_empty();
        let same = raw.standing_indexes.len() == raw.standing_digests.len() && named == right;
        // A late answer rests on the words of its first entry, which were checked there.
        if raw.late_of != 0 {
            return;
        }
        // An entry that was not decided rests on nobody's word, and what is withheld for another reason than a word
        // lets nothing out.
        let by_word = matches!(ending.code, Some(Code::Revoked | Code::StandingStale));
        let withheld = ending.outcome == Outcome::Withheld && !by_word;
        let may_be_silent = !passed || withheld;
        let holds = same || (silent && may_be_silent);
        if !holds {
            let what = "names other standings than the newest ones of its parties";
            return self.finding(at, Rule::Standing, what);
        }
        let Some(contract) = contract else { return };
        let adapter = adapter.and_then(|digest| self.delegations.get(&digest));
        let adapter = adapter.map(|held| &*held.delegation);
        let besides = self.keys_besides(request);
        let claims = Claims { contract, app, adapter, officer: request.officer.as_ref(), besides };
        let revoked = self.words.revoked(&claims);
        let stale = self.words.stale(&claims, at.time_ms);
        match (ending.outcome, ending.code) {
            (Outcome::Answered, _) if revoked => {
                self.decisions.contradicted += 1;
                self.finding(at, Rule::Decision, "was answered under what its member had revoked");
            }
            // Ledgers of before standings have none of anybody; a hub could keep all of them back.
            (Outcome::Answered, _) if self.words.newest.is_empty() && !self.standings_demanded => {
                self.words.unsaid += 1;
            }
            (Outcome::Answered, _) => {
                if let Some(side) = stale {
                    self.decisions.contradicted += 1;
                    let what = format!("was answered without a standing of its {side} in force");
                    self.finding(at, Rule::Decision, what);
                }
            }
            (Outcome::Withheld, Some(Code::Revoked)) if !revoked && !self.unseen_key_revoked(request) => {
                self.finding(at, Rule::Decision, "was withheld as revoked, and no entry revokes it");
            }
            (Outcome::Withheld, Some(Code::StandingStale)) if stale.is_none() => {
                self.finding(at, Rule::Decision, "was withheld for want of a standing that was in force");
            }
            _ => {}
        }
    }

    /// Whether a denial of the hub for want of a word, or because of one, is right; counted here.
    pub(super) fn denied_by_word(
        &mut self,
        subject: Subject<'_>,
        app: Option<&Delegation>,
        contract: Option<&Known>,
    ) {
        let Subject { at, request, ending, .. } = subject;
        let officer = request.statement.officer.as_ref();
        let key_revoked = app.is_some_and(|key| self.words.key_revoked(key));
        let besides = self.keys_besides(&request.statement);
        let claims = contract.map(|contract| Claims { contract, app, adapter: None, officer, besides });
        let right = match (ending.code, claims) {
            (Some(Code::Revoked), claims) => {
                key_revoked
                    || app.is_some_and(|key| self.words.former_revoked(key))
                    || claims.is_some_and(|claims| self.words.revoked(&claims))
                    || claims.is_some_and(|claims| self.words.was_revoked(&claims))
                    || self.unseen_key_revoked(&request.statement)
            }
            (_, Some(claims)) => [at.time_ms, at.time_ms.saturating_sub(DECISION_DELAY_MS)]
                .into_iter()
                .any(|ms| self.words.stale(&claims, ms).is_some()),
            (_, None) => false,
        };
        match (right, self.scope, ending.code) {
            (true, ..) => self.decisions.denied_again += 1,
            (_, Scope::Whole, Some(Code::Revoked)) => {
                self.decisions.contradicted += 1;
                self.finding(at, Rule::Decision, "was denied as revoked, and no entry revokes it");
            }
            _ => self.not_decided("denied for want of a word that came meanwhile, or is not at hand"),
        }
    }
}
