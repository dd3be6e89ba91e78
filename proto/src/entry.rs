//! Ledger entries: the leaves of the log. Built once, hashed, stored and handed out as exact bytes.

use crate::ids::MemberId;
use crate::limits::ENTRY_MAX;
use crate::pb;
use bytes::Bytes;
use prost::Message as _;

/// Why bytes are no entry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    /// Over 65,535 bytes.
    #[error("entry of {0} bytes is over the limit of 65535")]
    TooLarge(usize),
    /// Not the canonical encoding.
    #[error("entry is not the canonical encoding of its message")]
    NotCanonical,
    /// No known kind.
    #[error("entry has no kind that this version knows")]
    NoKind,
}

/// The kinds of entries.
pub use crate::pb::entry::Kind;

/// Encodes an entry; refuses one that would not fit the log.
pub fn encode(entry: &pb::Entry) -> Result<Bytes, EntryError> {
    let size = entry.encoded_len();
    if size > ENTRY_MAX {
        return Err(EntryError::TooLarge(size));
    }
    Ok(Bytes::from(entry.encode_to_vec()))
}

/// Decodes an entry; refuses other encodings and unknown fields or kinds.
pub fn decode(bytes: &Bytes) -> Result<pb::Entry, EntryError> {
    if bytes.len() > ENTRY_MAX {
        return Err(EntryError::TooLarge(bytes.len()));
    }
    let entry = pb::Entry::decode(bytes.clone()).map_err(|_| EntryError::NotCanonical)?;
    if !crate::canonical::is_canonical(&entry, bytes) {
        return Err(EntryError::NotCanonical);
    }
    if entry.kind.is_none() {
        return Err(EntryError::NoKind);
    }
    Ok(entry)
}

/// A short name of an entry's kind, for people.
pub fn kind_name(kind: &Kind) -> &'static str {
    match kind {
        Kind::Origin(_) => "origin",
        Kind::Member(_) => "member",
        Kind::Delegation(_) => "delegation",
        Kind::Contract(_) => "contract",
        Kind::CaseStatement(_) => "case",
        Kind::Exchange(_) => "exchange",
        Kind::Policy(_) => "policy",
        Kind::Lookup(_) => "lookup",
        Kind::Revocation(_) => "revocation",
        Kind::Mapping(_) => "mapping",
        Kind::Folded(_) => "folded",
        Kind::Snapshot(_) => "snapshot",
        Kind::Auditor(_) => "auditor",
        Kind::Clock(_) => "clock",
        Kind::Dismissal(_) => "dismissal",
        Kind::Ticket(_) => "ticket",
        Kind::Standing(_) => "standing",
        Kind::RecordType(_) => "record-type",
    }
}

/// Of a request's statement what says who takes part; the rest is passed over.
#[derive(Clone, PartialEq, Eq, prost::Message)]
struct Parties {
    #[prost(string, tag = "2")]
    consumer: String,
    #[prost(string, tag = "4")]
    provider: String,
}

/// The same as [`exchange_parties`] without a look at the rest of the statement, for whoever goes through very many entries
/// that it entered itself. Who may read an entry is not decided by it.
pub fn recorded_parties(exchange: &pb::ExchangeEntry) -> Option<(MemberId, MemberId)> {
    let signed = crate::envelope::SignedStatement::parse(exchange.request.clone()).ok()?;
    let parties = Parties::decode(signed.unverified_payload().clone()).ok()?;
    Some((MemberId::parse(&parties.consumer).ok()?, MemberId::parse(&parties.provider).ok()?))
}

/// The consumer and provider that an exchange entry names in its statement, if it is kept verbatim.
pub fn exchange_parties(exchange: &pb::ExchangeEntry) -> Option<(MemberId, MemberId)> {
    let signed = crate::envelope::SignedStatement::parse(exchange.request.clone()).ok()?;
    let request = crate::request::Request::parse(signed.unverified_payload()).ok()?;
    Some((request.consumer, request.provider))
}
