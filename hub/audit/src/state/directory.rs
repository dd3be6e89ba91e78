//! Members, delegations, contracts, policies, and entries that stand alone.

use super::{Announced, At, Document, Held, Known, Member, Scope, State};
use crate::folded::Fold;
use crate::rules::Rule;
use std::collections::HashSet;
use std::sync::Arc;
use yiwang_proto::audit_scope::AuditScope;
use yiwang_proto::checkpoint::Checkpoint;
use yiwang_proto::contract::Contract;
use yiwang_proto::delegation::Delegation;
use yiwang_proto::folded::{key_of, minute_of};
use yiwang_proto::ids::{AppId, MemberId};
use yiwang_proto::member::MemberCard;
use yiwang_proto::merkle::Hash;
use yiwang_proto::note::SignedNote;
use yiwang_proto::pb;

impl State<'_> {
    /// A card replaces another only with the same root, or with the root that the card before committed to.
    pub(super) fn member(&mut self, at: At, card: &MemberCard) {
        if let Some(before) = self.members.get(&card.member) {
            let same = card.root == before.root;
            let next = yiwang_proto::sha256(card.root.as_bytes()) == before.next_root_digest;
            if !same && !next {
                let what = format!(
                    "replaces the root of `{}` by one that the card in entry {} did not commit to",
                    card.member, before.index
                );
                return self.finding(at, Rule::Member, what);
            }
            // A step to the next root goes only forward, whatever time the cards name.
            if same && card.issued_at_ms < before.issued_at_ms {
                let what =
                    format!("card of `{}` is older than the one in entry {}", card.member, before.index);
                return self.finding(at, Rule::Member, what);
            }
        }
        // Each of them, not the last: a hub that enrolled a false root first could promise the real one as its next.
        if self.pins.get(&card.member).is_some_and(|roots| !roots.contains(&card.root)) {
            let what = format!(
                "the card of `{}` names a root that you did not pin; if the member says that it was its own, pin it too",
                card.member
            );
            self.finding(at, Rule::Pin, what);
        }
        let member = Member {
            index: at.index,
            root: card.root,
            next_root_digest: card.next_root_digest,
            issued_at_ms: card.issued_at_ms,
        };
        self.members.insert(card.member.clone(), member);
    }

    pub(super) fn delegation(&mut self, at: At, delegation: &Arc<Delegation>) {
        match self.roots_of(&delegation.member) {
            [] => self.no_card(at, Rule::Delegation, &delegation.member),
            roots if roots.contains(&delegation.root) => {}
            _ => {
                let what = format!("not signed by the root of `{}`", delegation.member);
                self.finding(at, Rule::Delegation, what);
            }
        }
        self.sealing.take(delegation, self.words.by_root(delegation));
        self.documents.insert(at.index, Document::Delegation(delegation.digest));
        let held = || Held { delegation: Arc::clone(delegation), time_ms: at.time_ms };
        self.delegations.entry(delegation.digest).or_insert_with(held);
    }

    pub(super) fn no_card(&mut self, at: At, rule: Rule, member: &MemberId) {
        let what = match self.scope {
            Scope::Whole => format!("no earlier entry has a card of `{member}`"),
            Scope::Parts => format!("no card of `{member}` in the bundle, and no root pinned"),
        };
        self.finding(at, rule, what);
    }

    pub(super) fn contract(&mut self, at: At, contract: &Arc<Contract>) {
        let text = &contract.text;
        for (side, party) in [("provider", &text.provider), ("consumer", &text.consumer)] {
            match self.roots_of(&party.member) {
                [] => self.no_card(at, Rule::Contract, &party.member),
                roots if roots.contains(&party.root) => {}
                _ => {
                    let what = format!(
                        "names another root for its {side} `{}` than the member's card",
                        party.member
                    );
                    self.finding(at, Rule::Contract, what);
                }
            }
        }
        let before = self.newest.get(&text.id).copied();
        if let Some((version, digest)) = before {
            if text.version <= version {
                let what = format!("`{}` has version {}, not above {version}", text.id, text.version);
                self.finding(at, Rule::Contract, what);
            }
            let parties = |of: &Contract| (of.text.provider.member.clone(), of.text.consumer.member.clone());
            if self.contracts.get(&digest).is_some_and(|known| parties(&known.contract) != parties(contract))
            {
                let what = format!("`{}` is between other members than its version {version}", text.id);
                self.finding(at, Rule::Contract, what);
            }
        }
        let added = self.pinned(at, text);
        let prepared = match self.decider.prepare(Arc::clone(contract), added.as_deref()) {
            Ok(prepared) => Some(Arc::new(prepared)),
            Err(faults) => {
                // Under other rules than ours the contract may well stand.
                if self.policy_is_ours() != Some(false) {
                    let list: Vec<String> = faults.iter().take(5).map(ToString::to_string).collect();
                    self.finding(at, Rule::Contract, format!("cannot stand: {}", list.join("; ")));
                }
                None
            }
        };
        self.documents.insert(at.index, Document::Contract(contract.digest));
        self.operations.entry(text.id.clone()).or_default().extend(text.operations.iter().cloned());
        self.contracts.insert(
            contract.digest,
            Arc::new(Known { contract: Arc::clone(contract), prepared, time_ms: at.time_ms }),
        );
        if before.is_none_or(|(version, _)| text.version > version) {
            self.newest.insert(text.id.clone(), (text.version, contract.digest));
        }
    }

    /// Whether the policy in force is the one of this program; none where no entry says.
    pub(super) fn policy_is_ours(&self) -> Option<bool> {
        self.policies.last_key_value().map(|(_, digest)| *digest == self.decider.digest())
    }

    pub(super) fn policy(&mut self, at: At, raw: &pb::PolicyEntry) {
        match raw.digest.as_ref().try_into() {
            Ok(digest) => {
                self.policies.insert(at.index, digest);
            }
            Err(_) => self.finding(at, Rule::Policy, "its digest is not 32 bytes"),
        }
    }

    pub(super) fn lookup(&mut self, at: At, raw: &pb::LookupEntry) {
        // What was asked for may lie beyond the ledger: the look is an entry before it is answered.
        if raw.from_index > raw.to_index {
            self.finding(at, Rule::Entry, "a look-up that ends before it begins");
        }
        let enrolled = AppId::parse(&raw.auditor).is_ok_and(|auditor| self.auditors.contains(&auditor));
        self.unenrolled_looks += u64::from(self.scope == Scope::Whole && !enrolled);
    }

    /// A ledger that goes on from another one names its last head, which is of another origin.
    pub(super) fn old_head(&mut self, at: At, raw: &pb::OriginEntry) {
        if raw.old_head.is_empty() {
            return;
        }
        let head = SignedNote::parse(&raw.old_head)
            .map_err(|error| error.to_string())
            .and_then(|note| Checkpoint::parse(note.text()).map_err(|error| error.to_string()));
        match head {
            Ok(head) if head.origin == raw.origin => {
                self.finding(at, Rule::Origin, "goes on from a head of its own origin: a fork");
            }
            Ok(head) => {
                self.goes_on_from = Some(format!("`{}` at size {}", head.origin, head.size));
            }
            Err(error) => self.finding(at, Rule::Origin, format!("the head it goes on from: {error}")),
        }
    }

    pub(super) fn auditor(&mut self, at: At, raw: &pb::AuditorEntry) {
        match (AppId::parse(&raw.auditor), AuditScope::check(raw.scope.as_ref())) {
            (Ok(auditor), Ok(_)) => {
                self.auditors.insert(auditor);
            }
            (Err(error), _) => self.finding(at, Rule::Entry, error.to_string()),
            (_, Err(error)) => self.finding(at, Rule::Entry, error.to_string()),
        }
    }

    pub(super) fn dismissal(&mut self, at: At, raw: &pb::DismissalEntry) {
        let known = match raw.who.split_once(':') {
            Some(("member", id)) => MemberId::parse(id).is_ok(),
            Some(("auditor", id)) => AppId::parse(id).is_ok(),
            _ => false,
        };
        if !known || raw.reason.is_empty() {
            self.finding(at, Rule::Entry, "a dismissal of nobody, or without a reason");
        }
        if let Some(Ok(member)) = raw.who.strip_prefix("member:").map(MemberId::parse) {
            self.record_types.dismissed.insert(member);
        }
        if let Some(Ok(auditor)) = raw.who.strip_prefix("auditor:").map(AppId::parse) {
            self.auditors.remove(&auditor);
        }
    }

    pub(super) fn mapping(&mut self, at: At, raw: &pb::MappingEntry) {
        match (MemberId::parse(&raw.member), raw.digest.as_ref().try_into()) {
            (Ok(member), Ok(digest)) => {
                let new = || Announced { newest: digest, all: HashSet::new() };
                let announced = self.mappings.entry((member, raw.mapping.clone())).or_insert_with(new);
                announced.newest = digest;
                announced.all.insert(digest);
            }
            _ => self.finding(at, Rule::Entry, "names no member, or its digest is not 32 bytes"),
        }
    }

    /// Counts and roots of denials; their statements are looked at in [`crate::folded`].
    pub(super) fn folded(&mut self, at: At, raw: &pb::FoldedEntry) {
        let denials = raw.count.saturating_add(raw.unkept);
        *self.outcomes.entry("denied folded".to_owned()).or_default() += denials.min(u64::from(u32::MAX));
        let Some((key, minute_ms)) = key_of(raw) else {
            return self.finding(at, Rule::Folded, "names no consumer, app or service code");
        };
        if denials == 0 {
            self.finding(at, Rule::Folded, "folds no denial");
        }
        let root: Option<Hash> = raw.root.as_ref().try_into().ok();
        let has_root = if raw.count == 0 { raw.root.is_empty() } else { root.is_some() };
        if !has_root {
            self.finding(at, Rule::Folded, "has no root, or one over nothing");
        }
        // A minute can be ahead of its entry only where a clock that was ahead was accepted as it is.
        let ahead = minute_ms > at.time_ms && self.clocks_accepted == 0 && self.scope == Scope::Whole;
        if minute_of(minute_ms) != minute_ms || minute_ms <= 0 || ahead {
            self.finding(at, Rule::Folded, format!("{minute_ms} is no minute that was over or ran then"));
        }
        if key.app.is_some() && self.scope == Scope::Whole && !self.verbatim.has_enough(&key, minute_ms) {
            // No finding: a ledger that was full then refused the first ones, which only the hub's own word tells apart.
            self.folded_early += 1;
        }
        self.folds.push(Fold { index: at.index, key, minute_ms, count: raw.count, root, unkept: raw.unkept });
    }
}
