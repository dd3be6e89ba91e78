//! Filters by a name that no exchange has. Most likely it was mistyped, and "0 exchanges" would read as if nobody had asked.

use crate::accesses::{Access, Filter, glance};
use crate::error::AuditError;
use crate::source::Entries;
use std::collections::BTreeSet;
use yiwang_proto::ids::{CaseId, ContractId, MemberId, Officer, Purpose, RecordType};
use yiwang_proto::nearest::meant_or_known;

/// What exchanges name. Of cases and officers, of which there are as many as exchanges, only whether the wanted one is there.
#[derive(Debug, Default)]
pub(crate) struct Named {
    members: BTreeSet<String>,
    contracts: BTreeSet<String>,
    purposes: BTreeSet<String>,
    records: BTreeSet<String>,
    case: bool,
    officer: bool,
}

impl Named {
    /// Takes note of one exchange.
    pub fn take(&mut self, filter: &Filter, row: &Access) {
        for (names, name) in [
            (&mut self.members, &row.peer),
            (&mut self.contracts, &row.contract),
            (&mut self.purposes, &row.purpose),
            (&mut self.records, &row.record),
        ] {
            note(names, name);
        }
        note(&mut self.members, &row.consumer);
        note(&mut self.members, &row.provider);
        self.case |= filter.case.as_ref().is_some_and(|case| case.as_str() == row.case);
        self.officer |= filter.officer.as_ref().is_some_and(|officer| officer.as_str() == row.officer);
    }

    /// That the wanted case or officer is in some exchange.
    pub fn has(&mut self, case: bool, officer: bool) {
        self.case |= case;
        self.officer |= officer;
    }

    /// A sentence for each name of the filter that no exchange has; with what was most likely meant. A member counts as named
    /// on whichever side.
    pub fn unknown(&self, filter: &Filter) -> Vec<String> {
        if self.members.is_empty() {
            return vec!["the ledger has no exchange".to_owned()];
        }
        let members = &self.members;
        let listed = [
            ("member", filter.member.as_ref().map(MemberId::as_str), members),
            ("consumer", filter.consumer.as_ref().map(MemberId::as_str), members),
            ("provider", filter.provider.as_ref().map(MemberId::as_str), members),
            ("contract", filter.contract.as_ref().map(ContractId::as_str), &self.contracts),
            ("purpose", filter.purpose.as_ref().map(Purpose::as_str), &self.purposes),
            ("record", filter.record.as_ref().map(RecordType::as_str), &self.records),
        ];
        let told = |(what, wanted, names): (&str, Option<&str>, &BTreeSet<String>)| {
            let wanted = wanted.filter(|wanted| !names.contains(*wanted))?;
            let next = meant_or_known(wanted, names.iter().map(String::as_str));
            Some(format!("no exchange names {what} `{wanted}`; {next}"))
        };
        let single = [
            ("case", filter.case.as_ref().map(CaseId::as_str), self.case),
            ("officer", filter.officer.as_ref().map(Officer::as_str), self.officer),
        ];
        let absent = |(what, wanted, is_there): (&str, Option<&str>, bool)| {
            wanted.filter(|_| !is_there).map(|wanted| format!("no exchange names {what} `{wanted}`"))
        };
        listed.into_iter().filter_map(told).chain(single.into_iter().filter_map(absent)).collect()
    }
}

fn note(names: &mut BTreeSet<String>, name: &str) {
    if !name.is_empty() && !names.contains(name) {
        names.insert(name.to_owned());
    }
}

/// Whether a filter names anything that could be mistyped.
pub(crate) fn is_by_name(filter: &Filter) -> bool {
    let Filter { member, consumer, provider, contract, case, officer, purpose, record, .. } = filter;
    [member, consumer, provider].into_iter().any(Option::is_some)
        || contract.is_some()
        || case.is_some()
        || officer.is_some()
        || purpose.is_some()
        || record.is_some()
}

/// As [`Named::unknown`], from one pass over all entries; for a filter that nothing passed.
///
/// # Errors
/// [`AuditError`] for an entry that cannot be read.
pub(crate) fn unknown(entries: &dyn Entries, filter: &Filter) -> Result<Vec<String>, AuditError> {
    if !is_by_name(filter) {
        return Ok(Vec::new());
    }
    let (mut named, mut fault) = (Named::default(), None);
    entries.each(entries.oldest(), &mut |index, bytes, _| {
        match glance(index, &bytes) {
            Ok(found) => {
                if let Some(found) = found {
                    named.take(filter, &found.access);
                }
            }
            Err(error) => fault = Some(error),
        }
        fault.is_none()
    })?;
    fault.map_or_else(|| Ok(named.unknown(filter)), Err)
}
