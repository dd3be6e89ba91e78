//! What an auditor may see of the ledger. Heads, proofs and leaf hashes are for everybody; this is about what
//! entries say.

use crate::case::CaseStatement;
use crate::contract::Contract;
use crate::document::SignedDocument;
use crate::entry::{Kind, exchange_parties};
use crate::envelope::SignedStatement;
use crate::ids::{IdError, MemberId, RecordType};
use crate::limits::DOCUMENT_MAX;
use crate::pb;
use crate::request::Request;
use crate::ticket::Ticket;
use std::collections::BTreeSet;

/// Members or records that a scope may name: above this, it is all.
pub const NAMES_MAX: usize = 256;

/// Why a scope is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScopeError {
    /// A name that is none.
    #[error("audit scope: {0}")]
    Name(#[from] IdError),
    /// More than [`NAMES_MAX`] names.
    #[error("audit scope: more than {NAMES_MAX} members or records; give the whole ledger")]
    TooMany,
    /// All, and only some.
    #[error("audit scope: the whole ledger and single members or records at once")]
    Both,
}

/// A scope whose names are well-formed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AuditScope {
    /// Everything.
    pub all: bool,
    /// Of which one must be a party; empty for any, if records are named.
    pub members: BTreeSet<MemberId>,
    /// About which records; empty for any, if members are named.
    pub records: BTreeSet<RecordType>,
}

impl AuditScope {
    /// The whole ledger.
    #[must_use]
    pub fn everything() -> Self {
        Self { all: true, ..Self::default() }
    }

    /// Checks a message; none is the empty scope.
    ///
    /// # Errors
    /// See [`ScopeError`].
    pub fn check(raw: Option<&pb::AuditScope>) -> Result<Self, ScopeError> {
        let Some(raw) = raw else { return Ok(Self::default()) };
        if raw.members.len() > NAMES_MAX || raw.records.len() > NAMES_MAX {
            return Err(ScopeError::TooMany);
        }
        if raw.all && !(raw.members.is_empty() && raw.records.is_empty()) {
            return Err(ScopeError::Both);
        }
        Ok(Self {
            all: raw.all,
            members: raw.members.iter().map(|name| MemberId::parse(name)).collect::<Result<_, _>>()?,
            records: raw.records.iter().map(|name| RecordType::parse(name)).collect::<Result<_, _>>()?,
        })
    }

    /// As a message.
    #[must_use]
    pub fn to_pb(&self) -> pb::AuditScope {
        pb::AuditScope {
            all: self.all,
            members: self.members.iter().map(|id| id.as_str().to_owned()).collect(),
            records: self.records.iter().map(|id| id.as_str().to_owned()).collect(),
        }
    }

    /// Whether the scope shows an entry to its auditor. What carries the trust of everything else (origin,
    /// members' cards, delegations, revocations, standings, dismissals, rules, record types, mappings, scopes, accepted clocks) is
    /// shown to every auditor: it is about keys and rules, and nothing could be verified without it.
    #[must_use]
    pub fn shows(&self, auditor: &str, entry: &pb::Entry) -> bool {
        if self.all {
            return true;
        }
        match &entry.kind {
            Some(
                Kind::Origin(_)
                | Kind::Member(_)
                | Kind::Delegation(_)
                | Kind::Revocation(_)
                | Kind::Policy(_)
                | Kind::Mapping(_)
                | Kind::RecordType(_)
                | Kind::Snapshot(_)
                | Kind::Auditor(_)
                | Kind::Standing(_)
                | Kind::Clock(_)
                | Kind::Dismissal(_),
            ) => true,
            Some(Kind::Contract(raw)) => Contract::open_bytes(raw.document.clone())
                .is_ok_and(|contract| self.shows_contract(&contract)),
            Some(Kind::CaseStatement(raw)) => SignedStatement::parse(raw.statement.clone())
                .ok()
                .and_then(|signed| CaseStatement::parse(signed.unverified_payload()).ok())
                .is_some_and(|statement| self.covers(&[&statement.member], None)),
            Some(Kind::Ticket(raw)) => SignedDocument::parse(raw.document.clone(), DOCUMENT_MAX)
                .ok()
                .and_then(|document| Ticket::read(&document).ok())
                .is_some_and(|ticket| self.covers(&[&ticket.member], None)),
            Some(Kind::Exchange(raw)) => self.shows_exchange(raw),
            Some(Kind::Folded(raw)) => {
                MemberId::parse(&raw.consumer).is_ok_and(|consumer| self.covers(&[&consumer], None))
            }
            // Who audits what is between that auditor and those who see all.
            Some(Kind::Lookup(raw)) => raw.auditor == auditor,
            None => false,
        }
    }

    /// Whether the scope shows a contract.
    #[must_use]
    pub fn shows_contract(&self, contract: &Contract) -> bool {
        let text = &contract.text;
        self.all || self.covers(&[&text.provider.member, &text.consumer.member], Some(&text.record))
    }

    fn shows_exchange(&self, raw: &pb::ExchangeEntry) -> bool {
        if raw.request.is_empty() {
            return MemberId::parse(&raw.peer).is_ok_and(|peer| self.covers(&[&peer], None));
        }
        let request = SignedStatement::parse(raw.request.clone())
            .ok()
            .and_then(|signed| Request::parse(signed.unverified_payload()).ok());
        match (request, exchange_parties(raw)) {
            (Some(request), Some((consumer, provider))) => {
                self.covers(&[&consumer, &provider], Some(&request.record))
            }
            _ => false,
        }
    }

    /// Whether the scope reaches what is between these parties; one that shows all is not asked. `record` is none where the
    /// entry is about no record; then a scope of records alone does not reach it.
    #[must_use]
    pub fn covers(&self, parties: &[&MemberId], record: Option<&RecordType>) -> bool {
        if self.members.is_empty() && self.records.is_empty() {
            return false;
        }
        let member = self.members.is_empty() || parties.iter().any(|party| self.members.contains(*party));
        let about = match record {
            Some(record) => self.records.is_empty() || self.records.contains(record),
            None => !self.members.is_empty(),
        };
        member && about
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(members: &[&str], records: &[&str]) -> AuditScope {
        let text = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        AuditScope::check(Some(&pb::AuditScope {
            all: false,
            members: text(members),
            records: text(records),
        }))
        .unwrap()
    }

    #[test]
    fn a_scope_covers_its_members_and_records_and_nothing_without_any() {
        let (police, health) = (MemberId::parse("police").unwrap(), MemberId::parse("health").unwrap());
        let person = RecordType::parse("Person").unwrap();
        assert!(!scope(&[], &[]).covers(&[&police], Some(&person)));
        assert!(scope(&["police"], &[]).covers(&[&health, &police], Some(&person)));
        assert!(!scope(&["police"], &[]).covers(&[&health], Some(&person)));
        assert!(scope(&[], &["Person"]).covers(&[&health], Some(&person)));
        assert!(!scope(&[], &["Person"]).covers(&[&health], None), "a case is about no record");
        assert!(!scope(&["police"], &["Residence"]).covers(&[&police], Some(&person)));
        assert!(scope(&["police"], &["Person"]).covers(&[&police], None));
    }

    #[test]
    fn keys_and_rules_are_shown_look_ups_only_to_their_auditor() {
        let entry = |kind| pb::Entry { time_ms: 1, kind: Some(kind) };
        let none = AuditScope::default();
        assert!(none.shows("a", &entry(Kind::Policy(pb::PolicyEntry::default()))));
        let lookup = entry(Kind::Lookup(pb::LookupEntry { auditor: "a".to_owned(), ..Default::default() }));
        assert!(none.shows("a", &lookup) && !none.shows("b", &lookup));
        assert!(AuditScope::everything().shows("b", &lookup));
        assert!(!none.shows("a", &entry(Kind::Exchange(pb::ExchangeEntry::default()))));
    }

    #[test]
    fn scopes_are_checked() {
        let both = pb::AuditScope { all: true, members: vec!["police".to_owned()], records: Vec::new() };
        assert_eq!(AuditScope::check(Some(&both)), Err(ScopeError::Both));
        let many =
            pb::AuditScope { all: false, members: vec!["police".to_owned(); 257], records: Vec::new() };
        assert_eq!(AuditScope::check(Some(&many)), Err(ScopeError::TooMany));
        let bad = pb::AuditScope { all: false, members: vec!["P".to_owned()], records: Vec::new() };
        assert!(matches!(AuditScope::check(Some(&bad)), Err(ScopeError::Name(_))));
        assert_eq!(AuditScope::check(None), Ok(AuditScope::default()));
        let good = scope(&["health", "police"], &["Person"]);
        assert_eq!(AuditScope::check(Some(&good.to_pb())), Ok(good));
    }
}
