//! What can be checked of one entry alone: its form, and documents under the roots that they name.

use bytes::Bytes;
use std::sync::Arc;
use yiwang_policies::RecordTypeVersion;
use yiwang_proto::Digest;
use yiwang_proto::answer::Answer;
use yiwang_proto::case::CaseStatement;
use yiwang_proto::contract::Contract;
use yiwang_proto::delegation::Delegation;
use yiwang_proto::document::SignedDocument;
use yiwang_proto::entry::{self, Kind};
use yiwang_proto::envelope::{SignedStatement, payload_type};
use yiwang_proto::limits::{CONTRACT_MAX, DOCUMENT_MAX};
use yiwang_proto::member::MemberCard;
use yiwang_proto::pb;
use yiwang_proto::request::Request;
use yiwang_proto::revocation::Revocation;
use yiwang_proto::standing::Standing;
use yiwang_proto::ticket::Ticket;

/// A statement with its envelope; the signature is not yet verified.
#[derive(Debug, Clone)]
pub(crate) struct Stated<T> {
    pub signed: SignedStatement,
    pub statement: Arc<T>,
    pub digest: Digest,
}

/// An exchange entry with its statements taken apart.
#[derive(Debug)]
pub(crate) struct Exchange {
    pub raw: pb::ExchangeEntry,
    /// None where the entry keeps no request.
    pub request: Option<Result<Stated<Request>, String>>,
    /// None where nobody answered.
    pub answer: Option<Result<Stated<Answer>, String>>,
}

/// An entry by kind. Errors are what is wrong with it.
#[derive(Debug)]
pub(crate) enum Body {
    Origin(pb::OriginEntry),
    Member(Result<Box<MemberCard>, String>),
    Delegation(Result<Arc<Delegation>, String>),
    Contract(Result<Arc<Contract>, String>),
    /// With the entry before it of its member plus one; 0 where the entry does not say.
    Case(Result<Stated<CaseStatement>, String>, u64),
    Exchange(Box<Exchange>),
    Policy(pb::PolicyEntry),
    Lookup(pb::LookupEntry),
    Revocation(Result<Box<Revocation>, String>),
    RecordType(Result<Arc<RecordTypeVersion>, String>),
    Standing(Result<Stated<Standing>, String>),
    Mapping(pb::MappingEntry),
    Folded(pb::FoldedEntry),
    Clock(pb::ClockEntry),
    Dismissal(pb::DismissalEntry),
    Ticket(Result<Box<(SignedDocument, Ticket)>, String>),
    Snapshot,
    Auditor(pb::AuditorEntry),
}

/// One entry, decoded.
#[derive(Debug)]
pub(crate) struct Parsed {
    pub index: u64,
    pub time_ms: i64,
    pub kind: &'static str,
    pub body: Body,
}

/// Decodes an entry and checks what needs no other entry. Errors: bytes that are no entry.
pub(crate) fn parse(index: u64, bytes: &Bytes) -> Result<Parsed, String> {
    let decoded = entry::decode(bytes).map_err(|error| error.to_string())?;
    let Some(kind) = decoded.kind else { return Err("entry has no kind".to_owned()) };
    let name = entry::kind_name(&kind);
    let body = match kind {
        Kind::Origin(raw) => Body::Origin(raw),
        Kind::Member(raw) => {
            let card = document(raw.card, DOCUMENT_MAX).and_then(|card| text(MemberCard::open(&card)));
            Body::Member(card.map(Box::new))
        }
        Kind::Delegation(raw) => {
            let opened = document(raw.document, DOCUMENT_MAX).and_then(|doc| text(Delegation::open(&doc)));
            Body::Delegation(opened.map(Arc::new))
        }
        Kind::Contract(raw) => {
            let opened = document(raw.document, CONTRACT_MAX).and_then(|doc| text(Contract::open(&doc)));
            Body::Contract(opened.map(Arc::new))
        }
        Kind::Revocation(raw) => {
            let opened = document(raw.document, DOCUMENT_MAX).and_then(|doc| text(Revocation::open(&doc)));
            Body::Revocation(opened.map(Box::new))
        }
        Kind::RecordType(raw) => {
            let opened =
                document(raw.document, CONTRACT_MAX).and_then(|doc| text(RecordTypeVersion::open(&doc)));
            Body::RecordType(opened.map(Arc::new))
        }
        Kind::Standing(raw) => {
            Body::Standing(stated(&raw.statement, payload_type::STANDING, Standing::parse))
        }
        Kind::CaseStatement(raw) => {
            let stated = stated(&raw.statement, payload_type::CASE, CaseStatement::parse);
            Body::Case(stated, raw.previous_of_member)
        }
        Kind::Exchange(raw) => Body::Exchange(Box::new(exchange(raw))),
        Kind::Policy(raw) => Body::Policy(raw),
        Kind::Lookup(raw) => Body::Lookup(raw),
        Kind::Mapping(raw) => Body::Mapping(raw),
        Kind::Folded(raw) => Body::Folded(raw),
        Kind::Ticket(raw) => Body::Ticket(
            document(raw.document, DOCUMENT_MAX)
                .and_then(|doc| text(Ticket::read(&doc)).map(|ticket| Box::new((doc, ticket)))),
        ),
        Kind::Snapshot(_) => Body::Snapshot,
        Kind::Auditor(raw) => Body::Auditor(raw),
        Kind::Clock(raw) => Body::Clock(raw),
        Kind::Dismissal(raw) => Body::Dismissal(raw),
    };
    Ok(Parsed { index, time_ms: decoded.time_ms, kind: name, body })
}

fn exchange(raw: pb::ExchangeEntry) -> Exchange {
    let request =
        (!raw.request.is_empty()).then(|| envelope(&raw.request, payload_type::REQUEST, Request::of));
    let answer = (!raw.answer.is_empty()).then(|| stated(&raw.answer, payload_type::ANSWER, Answer::parse));
    Exchange { raw, request, answer }
}

fn stated<T, E: std::fmt::Display>(
    bytes: &Bytes,
    kind: &'static str,
    open: impl FnOnce(&Bytes) -> Result<T, E>,
) -> Result<Stated<T>, String> {
    envelope(bytes, kind, |signed| open(signed.unverified_payload()))
}

fn envelope<T, E: std::fmt::Display>(
    bytes: &Bytes,
    kind: &'static str,
    open: impl FnOnce(&SignedStatement) -> Result<T, E>,
) -> Result<Stated<T>, String> {
    let signed = text(SignedStatement::parse(bytes.clone()))?;
    text(signed.expect_type(kind))?;
    let statement = Arc::new(text(open(&signed))?);
    let digest = signed.digest();
    Ok(Stated { signed, statement, digest })
}

fn document(bytes: Bytes, limit: usize) -> Result<SignedDocument, String> {
    text(SignedDocument::parse(bytes, limit))
}

fn text<T, E: std::fmt::Display>(result: Result<T, E>) -> Result<T, String> {
    result.map_err(|error| error.to_string())
}
