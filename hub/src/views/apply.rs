//! One entry after another makes the views. The same function runs in the sequencer, at start and in a
//! rebuild.

use super::persist::{Row, Table};
use super::{
    AuditorView, CaseStatus, CaseView, ContractView, DelegationView, Held, MemberView, RecordTypeView,
    Registry, RevocationView, StandingView, TicketView, Views,
};
use crate::limits::PUBLISHED_COUNTS_MS;
use bytes::Bytes;
use std::sync::{Arc, PoisonError, RwLockWriteGuard};
use yiwang_policies::RecordTypeVersion;
use yiwang_proto::Digest;
use yiwang_proto::audit_scope::AuditScope;
use yiwang_proto::case::{Act, CaseStatement};
use yiwang_proto::contract::Contract;
use yiwang_proto::delegation::Delegation;
use yiwang_proto::document::SignedDocument;
use yiwang_proto::entry::{self, Kind};
use yiwang_proto::envelope::SignedStatement;
use yiwang_proto::ids::{AppId, MemberId};
use yiwang_proto::limits::{CONTRACT_MAX, DOCUMENT_MAX, TICKET_LIFETIME_MS};
use yiwang_proto::member::MemberCard;
use yiwang_proto::pb;
use yiwang_proto::revocation::Revocation;
use yiwang_proto::standing::Standing;
use yiwang_proto::ticket::Ticket;

/// Why an entry does not fit the state. Drafts are checked before they become entries, so this means that
/// the ledger is not one that this version wrote.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ApplyError(String);

fn fault(error: &dyn std::fmt::Display) -> ApplyError {
    ApplyError(error.to_string())
}

impl Registry {
    fn list(&mut self, contract: &Contract, counts_until_ms: i64) {
        for member in [&contract.text.provider.member, &contract.text.consumer.member] {
            let held = self.held.entry(member.clone()).or_default();
            held.contracts.insert((counts_until_ms, contract.text.id.clone()));
        }
        let (id, sides) = (&contract.text.id, sides(contract));
        self.contract_digests.insert(contract.digest, id.clone());
        self.of_consumer.entry(sides.1.clone()).or_default().insert(id.clone());
        *self.served.entry(sides).or_default() += 1;
    }

    /// Takes back what [`Registry::list`] did, for a version that is replaced.
    fn unlist(&mut self, contract: &Contract, counts_until_ms: i64) {
        for member in [&contract.text.provider.member, &contract.text.consumer.member] {
            let held = self.held.entry(member.clone()).or_default();
            held.contracts.remove(&(counts_until_ms, contract.text.id.clone()));
        }
        let sides = sides(contract);
        self.contract_digests.remove(&contract.digest);
        if let Some(ids) = self.of_consumer.get_mut(&sides.1) {
            ids.remove(&contract.text.id);
        }
        if let Some(count) = self.served.get_mut(&sides) {
            *count -= 1;
            if *count == 0 {
                self.served.remove(&sides);
            }
        }
    }
}

/// Provider and consumer.
fn sides(contract: &Contract) -> (MemberId, MemberId) {
    (contract.text.provider.member.clone(), contract.text.consumer.member.clone())
}

impl Views {
    /// Applies the entry at an index. Entries must come in order.
    pub fn apply(&self, index: u64, entry: &pb::Entry) -> Result<(), ApplyError> {
        let mut rows = Vec::new();
        match entry.kind.as_ref() {
            Some(Kind::Exchange(exchange)) => return self.apply_exchange(index, exchange),
            Some(Kind::CaseStatement(case)) => {
                rows = self.apply_case(index, entry.time_ms, &case.statement)?;
            }
            Some(other) => {
                rows.extend(self.apply_registry(&mut self.write(), index, entry.time_ms, other)?);
            }
            None => return Err(ApplyError("the entry has no kind".to_owned())),
        }
        let mut changes = self.changes();
        changes.rows.append(&mut rows);
        changes.size = index + 1;
        Ok(())
    }

    fn write(&self) -> RwLockWriteGuard<'_, Registry> {
        self.registry.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn apply_exchange(&self, index: u64, exchange: &pb::ExchangeEntry) -> Result<(), ApplyError> {
        let parties = entry::exchange_parties(exchange);
        let mut changes = self.changes();
        for member in parties.into_iter().flat_map(|(consumer, provider)| [consumer, provider]) {
            self.recent.note(&member, index);
            changes.parties.insert(member, index + 1);
        }
        changes.size = index + 1;
        Ok(())
    }

    /// The hot path of [`Views::apply`] for exchanges that the sequencer itself finishes: the parties are
    /// known, so the statement is not parsed again.
    pub fn apply_exchange_of(&self, index: u64, consumer: &MemberId, provider: &MemberId) {
        let mut changes = self.changes();
        for member in [consumer, provider] {
            self.recent.note(member, index);
            match changes.parties.get_mut(member) {
                Some(last) => *last = index + 1,
                None => drop(changes.parties.insert(member.clone(), index + 1)),
            }
        }
        changes.size = index + 1;
    }

    pub(super) fn apply_registry(
        &self,
        registry: &mut Registry,
        index: u64,
        time_ms: i64,
        kind: &Kind,
    ) -> Result<Option<Row>, ApplyError> {
        let row = |table, key: Vec<u8>| Ok(Some(Row::point(table, key, index)));
        match kind {
            Kind::Origin(origin) => {
                registry.origin = Some(origin.origin.clone());
                row(Table::Origin, b"origin".to_vec())
            }
            Kind::Member(member) => {
                let document = parse(&member.card, DOCUMENT_MAX)?;
                let card = MemberCard::open(&document).map_err(|error| fault(&error))?;
                let mut cards =
                    registry.members.get(&card.member).map(|old| old.cards.clone()).unwrap_or_default();
                cards.push(index);
                // A row for each card: evidence of an old exchange rests on the card of its time.
                let key = [card.member.as_str().as_bytes(), b"/", &index.to_be_bytes()].concat();
                registry.members.insert(card.member.clone(), Arc::new(MemberView { card, index, cards }));
                row(Table::Members, key)
            }
            Kind::Delegation(doc) => {
                let digest = apply_delegation(registry, index, time_ms, &doc.document)?;
                row(Table::Delegations, digest.to_vec())
            }
            Kind::Contract(doc) => self.apply_contract(registry, index, time_ms, &doc.document),
            Kind::RecordType(doc) => self.apply_record_type(registry, index, &doc.document).map(Some),
            Kind::Policy(policy) => {
                let digest = policy.digest.as_ref().try_into();
                registry.policy = Some((index, digest.map_err(|error| fault(&error))?));
                row(Table::Policy, b"policy".to_vec())
            }
            Kind::Auditor(raw) => {
                let scope = AuditScope::check(raw.scope.as_ref()).map_err(|error| fault(&error))?;
                let auditor = AppId::parse(&raw.auditor).map_err(|error| fault(&error))?;
                let key = auditor.as_str().as_bytes().to_vec();
                registry.auditors.insert(auditor, Arc::new(AuditorView { scope, index }));
                row(Table::Auditors, key)
            }
            Kind::Mapping(raw) => {
                let member = MemberId::parse(&raw.member).map_err(|error| fault(&error))?;
                let digest = raw.digest.as_ref().try_into().map_err(|error| fault(&error))?;
                let key = [raw.member.as_bytes(), b"/", raw.mapping.as_bytes()].concat();
                registry.mappings.insert((member, raw.mapping.clone()), digest);
                row(Table::Mappings, key)
            }
            Kind::Dismissal(raw) => {
                registry.dismissed.insert(raw.who.clone(), time_ms);
                row(Table::Dismissals, raw.who.as_bytes().to_vec())
            }
            Kind::Ticket(doc) => {
                keep_ticket(registry, index, &doc.document)?;
                // Not stored beside: tickets live for hours, and a start reads them back from the ledger's tail.
                Ok(None)
            }
            Kind::Standing(entry) => apply_standing(registry, index, &entry.statement).map(Some),
            Kind::Revocation(doc) => {
                let document = parse(&doc.document, DOCUMENT_MAX)?;
                let revocation = Revocation::open(&document).map_err(|error| fault(&error))?;
                let key = revocation.digest.to_vec();
                let view = RevocationView { revocation, document: doc.document.clone(), index };
                registry.words.take_revocation(view);
                row(Table::Revocations, key)
            }
            Kind::Lookup(_)
            | Kind::Folded(_)
            | Kind::Snapshot(_)
            | Kind::Clock(_)
            | Kind::Exchange(_)
            | Kind::CaseStatement(_) => Ok(None),
        }
    }

    /// Takes in a ticket that a start finds in the ledger's tail; it was verified before it became an entry.
    pub fn restore_ticket(&self, index: u64, document: &Bytes) {
        if let Err(error) = keep_ticket(&mut self.write(), index, document) {
            tracing::error!(%error, index, "a ticket could not be read back");
        }
    }

    fn apply_contract(
        &self,
        registry: &mut Registry,
        index: u64,
        time_ms: i64,
        document: &Bytes,
    ) -> Result<Option<Row>, ApplyError> {
        let signed = parse(document, CONTRACT_MAX)?;
        let contract = Arc::new(Contract::open(&signed).map_err(|error| fault(&error))?);
        let added =
            contract.text.pinned_record_type().and_then(|pin| registry.record_types.get(&pin).cloned());
        let prepared = self
            .decider
            .prepare(Arc::clone(&contract), added.as_ref().map(|view| &view.version))
            .map_err(|faults| ApplyError(format!("the contract does not fit the catalogue: {faults:?}")))?;
        let id = contract.text.id.clone();
        if let Some(old) = registry.contracts.get(&id).cloned() {
            registry.unlist(&old.contract, old.counts_until_ms);
        }
        let counts_until_ms = contract.valid_until_ms.max(time_ms + PUBLISHED_COUNTS_MS);
        registry.list(&contract, counts_until_ms);
        registry.words.take_contract(&contract);
        let view = ContractView { counts_until_ms, prepared, contract, document: document.clone(), index };
        registry.contracts.insert(id.clone(), Arc::new(view));
        Ok(Some(Row::point(Table::Contracts, id.as_str().as_bytes().to_vec(), index)))
    }

    fn apply_record_type(
        &self,
        registry: &mut Registry,
        index: u64,
        document: &Bytes,
    ) -> Result<Row, ApplyError> {
        let signed = parse(document, CONTRACT_MAX)?;
        // Catalogue and lint judged it before it was entered; a later program may judge otherwise, and must still start.
        let version = RecordTypeVersion::read(&signed).map_err(|error| fault(&error))?;
        let (digest, record, number) = (version.digest, version.text.record.clone(), version.text.version);
        let view = Arc::new(RecordTypeView { version, document: document.clone(), index });
        for provider in &view.version.text.providers {
            registry.held.entry(provider.member.clone()).or_default().record_types += 1;
        }
        registry.record_types.insert(digest, Arc::clone(&view));
        // Rows are read back in the order of their keys, not of their entries.
        let newest = registry.newest_types.get(&record).is_none_or(|held| held.version.text.version < number);
        if newest {
            registry.newest_types.insert(record, view);
        }
        Ok(Row::point(Table::RecordTypes, digest.to_vec(), index))
    }

    fn apply_case(&self, index: u64, time_ms: i64, bytes: &Bytes) -> Result<Vec<Row>, ApplyError> {
        let statement = read_case(bytes)?;
        let mut registry = self.write();
        let open = registry.cases.get(&statement.case).cloned();
        let before = open.as_ref().map_or(0, |case| case.tags.len());
        let (entries, closed) = match (&statement.act, open) {
            (Act::Open { matter }, None) => {
                let mut tags = statement.subject_tags;
                tags.sort_unstable();
                tags.dedup();
                let view = CaseView {
                    member: statement.member.clone(),
                    matter: matter.clone(),
                    tags,
                    entries: vec![index],
                    opened_at_ms: time_ms,
                };
                registry.cases.insert(statement.case.clone(), Arc::new(view));
                (vec![index], false)
            }
            (Act::Add { .. }, Some(old)) => {
                let mut view = CaseView::clone(&old);
                view.tags.extend(statement.subject_tags);
                view.tags.sort_unstable();
                view.tags.dedup();
                view.entries.push(index);
                let entries = view.entries.clone();
                registry.cases.insert(statement.case.clone(), Arc::new(view));
                (entries, false)
            }
            (Act::Close { .. }, Some(old)) => {
                registry.cases.remove(&statement.case);
                let mut entries = old.entries.clone();
                entries.push(index);
                (entries, true)
            }
            _ => return Err(ApplyError(format!("case `{}` is not in that state", statement.case))),
        };
        let after = registry.cases.get(&statement.case).map(|case| case.tags.len());
        let held = registry.held.entry(statement.member.clone()).or_default();
        held.case_tags = (held.case_tags + after.unwrap_or_default()).saturating_sub(before);
        match statement.act {
            Act::Open { .. } => held.open_cases += 1,
            Act::Close { .. } => held.open_cases = held.open_cases.saturating_sub(1),
            Act::Add { .. } => {}
        }
        drop(registry);
        let mut changes = self.changes();
        self.recent.note(&statement.member, index);
        changes.parties.insert(statement.member, index + 1);
        if closed {
            changes.closed.insert(statement.case.clone(), entries.clone());
        }
        Ok(vec![Row::case(&statement.case, &entries, closed)])
    }

    /// Fills the memory from the stored rows. Rows only point at entries; the entries are what counts.
    pub(super) fn load_stored(&self, read: &dyn Fn(u64) -> Option<Bytes>) -> Result<(), ApplyError> {
        let entry_at = |index: u64| {
            let bytes = read(index).ok_or_else(|| ApplyError(format!("entry {index} cannot be read")))?;
            entry::decode(&bytes).map_err(|error| fault(&error))
        };
        // Standings after the delegations of their keys.
        for table in Table::POINTS {
            for index in self.stored.points(table) {
                let entry = entry_at(index)?;
                if let Some(kind) = &entry.kind {
                    self.apply_registry(&mut self.write(), index, entry.time_ms, kind)?;
                }
            }
        }
        for entries in self.stored.open_cases() {
            for index in entries {
                let entry = entry_at(index)?;
                if let Some(Kind::CaseStatement(case)) = &entry.kind {
                    self.apply_case(index, entry.time_ms, &case.statement)?;
                }
            }
        }
        // Cases were applied without what came between them: what is remembered must have no gap.
        self.recent.forget();
        let mut changes = self.changes();
        changes.parties = self.stored.parties();
        changes.rows.clear();
        Ok(())
    }

    /// Whether a case id was ever used.
    pub fn case_is_unknown(&self, id: &yiwang_proto::ids::CaseId) -> bool {
        matches!(self.case(id), CaseStatus::Unknown)
    }
}

fn apply_delegation(
    registry: &mut Registry,
    index: u64,
    time_ms: i64,
    bytes: &Bytes,
) -> Result<Digest, ApplyError> {
    let document = parse(bytes, DOCUMENT_MAX)?;
    let delegation = Delegation::open(&document).map_err(|error| fault(&error))?;
    let digest = delegation.digest;
    let counts_until_ms = delegation.valid_until_ms.max(time_ms + PUBLISHED_COUNTS_MS);
    let held = registry.held.entry(delegation.member.clone()).or_default();
    held.delegations.insert((counts_until_ms, digest));
    let view = DelegationView { delegation, document: bytes.clone(), index };
    registry.delegations.insert(digest, Arc::new(view));
    Ok(digest)
}

/// Keeps a ticket, and forgets those that are over for every clock.
fn keep_ticket(registry: &mut Registry, index: u64, document: &Bytes) -> Result<(), ApplyError> {
    let ticket = Ticket::read(&parse(document, DOCUMENT_MAX)?).map_err(|error| fault(&error))?;
    let over = ticket.issued_at_ms.saturating_sub(TICKET_LIFETIME_MS);
    registry.tickets.retain(|_, view| view.ticket.expires_at_ms > over);
    let digest = ticket.digest;
    registry.tickets.insert(digest, Arc::new(TicketView { ticket, document: document.clone(), index }));
    Ok(())
}

/// A standing's signature was verified before it became an entry.
fn apply_standing(registry: &mut Registry, index: u64, bytes: &Bytes) -> Result<Row, ApplyError> {
    let signed = SignedStatement::parse(bytes.clone()).map_err(|error| fault(&error))?;
    let standing = Standing::parse(signed.unverified_payload()).map_err(|error| fault(&error))?;
    let missing = || ApplyError(format!("the standing key of `{}` is not in the ledger", standing.member));
    let key = registry.key_of(&standing).ok_or_else(missing)?;
    let row = Row::point(Table::Standings, standing.member.as_str().as_bytes().to_vec(), index);
    let digest = Bytes::copy_from_slice(&signed.digest());
    let held = Arc::new(Held { standing, digest, envelope: bytes.clone(), key });
    registry.words.take_standing(StandingView { held, index });
    Ok(row)
}

fn parse(bytes: &Bytes, limit: usize) -> Result<SignedDocument, ApplyError> {
    SignedDocument::parse(bytes.clone(), limit).map_err(|error| fault(&error))
}

/// The statement of a case entry. Its signature was verified before it became an entry.
fn read_case(bytes: &Bytes) -> Result<CaseStatement, ApplyError> {
    let signed = SignedStatement::parse(bytes.clone()).map_err(|error| fault(&error))?;
    CaseStatement::parse(signed.unverified_payload()).map_err(|error| fault(&error))
}
