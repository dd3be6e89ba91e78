//! Words that members sign, and bodies that are sealed. The harness signs what the fuzzer makes up: no fuzzer finds a
//! signature, and what a key's owner signs is not trusted either.

use super::{canonical, key};
use bytes::Bytes;
use std::sync::OnceLock;
use yiwang_proto::ambient::SeededEntropy;
use yiwang_proto::delegation::{Delegation, Role};
use yiwang_proto::document::SignedDocument;
use yiwang_proto::envelope::{SignedStatement, payload_type};
use yiwang_proto::ids::{AppId, MemberId};
use yiwang_proto::limits::DOCUMENT_MAX;
use yiwang_proto::revocation::{Revocation, Revoked};
use yiwang_proto::sealing::{Direction, Opener, Recipient, Sealed, seal};
use yiwang_proto::standing::Standing;
use yiwang_proto::ticket::{Draft, Ticket};

const DAY_MS: i64 = 24 * 3600 * 1000;
/// The moment around which the seeds' keys are valid.
const NOW_MS: i64 = 1_795_000_000_000;

/// A delegation of the seeds' member under a root that is the harness's key too.
fn delegation(role: Role, name: &str) -> Delegation {
    let (Ok(member), Ok(name)) = (MemberId::parse("police"), AppId::parse(name)) else {
        unreachable!("fixed ids")
    };
    let (from, until) = (NOW_MS - DAY_MS, NOW_MS + 6 * DAY_MS);
    let document = Delegation::sign(&key(), &member, role, &name, key().public(), 7, from, until);
    match Delegation::open(&document) {
        Ok(delegation) => delegation,
        Err(error) => unreachable!("a fixed delegation: {error}"),
    }
}

/// What is accepted covers itself, and is the same after it was written and read.
fn revoked(list: &Revoked) {
    assert!(list.fits() && list.covers(list));
    let again = Revoked::from_json(&list.to_json());
    assert_eq!(again.as_ref(), Ok(list));
}

pub fn standing(data: &[u8]) {
    let payload = Bytes::copy_from_slice(data);
    if let Ok(standing) = Standing::parse(&payload) {
        canonical(data, standing.sign(&key()));
        revoked(&standing.revoked);
        assert!(!standing.in_force(standing.expires_at_ms, i64::MAX), "it is over at its end");
    }
    static KEY: OnceLock<Delegation> = OnceLock::new();
    let delegation = KEY.get_or_init(|| delegation(Role::Standing, "main"));
    let signed = SignedStatement::sign(payload_type::STANDING, data.to_vec(), &key());
    let opened = Standing::open(&signed, delegation);
    assert_eq!(opened, Standing::open(&signed, delegation));
    if let Ok(standing) = opened {
        assert_eq!(standing.member, delegation.member);
        let _ = standing.revokes(delegation);
    }
}

pub fn revocation(data: &[u8]) {
    if let Ok(list) = Revoked::from_json(data) {
        revoked(&list);
    }
    let document = SignedDocument::sign(payload_type::REVOCATION, data, &[&key()]);
    let opened = Revocation::open(&document);
    assert_eq!(opened, Revocation::open(&document));
    if let Ok(revocation) = opened {
        revoked(&revocation.revoked);
        let Revocation { root, member, whole_root, issued_at_ms, .. } = &revocation;
        let again = Revocation::sign(&key(), root, member, &revocation.revoked, *whole_root, *issued_at_ms);
        let again = Revocation::open(&again);
        assert_eq!(again.map(|again| Revocation { digest: revocation.digest, ..again }), Ok(revocation));
    }
    if let Ok(signed) = SignedDocument::parse(Bytes::copy_from_slice(data), DOCUMENT_MAX) {
        let _ = Revocation::open(&signed);
    }
}

pub fn ticket(data: &[u8]) {
    static OFFICER: OnceLock<Delegation> = OnceLock::new();
    let officer = OFFICER.get_or_init(|| delegation(Role::Officer, "o-aaaaaaaaaaaaaaaa"));
    let document = SignedDocument::sign(payload_type::TICKET, data, &[&key()]);
    let read = Ticket::read(&document);
    assert_eq!(read, Ticket::read(&document));
    let verified = Ticket::verify(&document, officer);
    if let Ok(ticket) = read {
        assert!(!ticket.valid_at(ticket.expires_at_ms) && ticket.valid_at(ticket.issued_at_ms));
        let fits = ticket.delegation_digest == officer.digest
            && ticket.member == officer.member
            && ticket.officer.as_str() == officer.name.as_str();
        assert_eq!(verified.is_ok(), fits, "{verified:?}");
        let draft = Draft {
            member: ticket.member.clone(),
            officer: ticket.officer.clone(),
            app: ticket.app.clone(),
            case: ticket.case.clone(),
            uses: ticket.uses,
            issued_at_ms: ticket.issued_at_ms,
            expires_at_ms: ticket.expires_at_ms,
            delegation_digest: ticket.delegation_digest,
        };
        let again = Ticket::read(&draft.sign(ticket.id.clone(), &key()));
        assert_eq!(again.map(|again| Ticket { digest: ticket.digest, ..again }), Ok(ticket));
    } else {
        assert!(verified.is_err());
    }
    if let Ok(signed) = SignedDocument::parse(Bytes::copy_from_slice(data), DOCUMENT_MAX) {
        assert!(Ticket::verify(&signed, officer).is_err() || signed.payload_type() == payload_type::TICKET);
    }
}

/// Bytes from outside first; then the same bytes as a body that is sealed, of which one bit is turned.
pub fn sealed(data: &[u8]) {
    let delegation = [9; 32];
    let opener = Opener::new(key(), delegation);
    let statement = yiwang_proto::sha256(b"a statement");
    let foreign = Bytes::copy_from_slice(data);
    let parsed = Sealed::parse(&foreign);
    for direction in [Direction::Request, Direction::Answer] {
        let opened = opener.open(direction, &statement, &foreign);
        assert_eq!(opened, opener.open(direction, &statement, &foreign));
        assert!(opened.is_err() || parsed.is_ok(), "what opens has a form");
    }
    // The two first bytes say which bit is turned; the rest is the body.
    let Some((at, body)) = data.split_first_chunk::<2>() else { return };
    let recipient = Recipient { key: key().public(), delegation };
    let entropy = SeededEntropy::new(u64::from(u16::from_be_bytes(*at)));
    let Ok(whole) = seal(Direction::Request, &recipient, &statement, body, &entropy) else {
        unreachable!("a short body and a fixed key")
    };
    assert_eq!(opener.open(Direction::Request, &statement, &whole).as_deref(), Ok(body));
    assert!(opener.open(Direction::Answer, &statement, &whole).is_err(), "the other direction");
    assert!(opener.open(Direction::Request, &delegation, &whole).is_err(), "another statement");
    let mut bent = whole.to_vec();
    let bit = usize::from(u16::from_be_bytes(*at)) % (bent.len() * 8);
    if let Some(byte) = bent.get_mut(bit / 8) {
        *byte ^= 1 << (bit % 8);
    }
    let opened = opener.open(Direction::Request, &statement, &Bytes::from(bent));
    assert!(opened.is_err(), "bit {bit} was turned");
}
