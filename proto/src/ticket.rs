//! An officer's ticket: with it an app may ask, for one case, a number of times, for data of class up to 2.
//! A JSON document in a DSSE envelope, signed by the officer's own key, which the member's root delegated
//! under the officer's pseudonym. It stands in the ledger once; requests name it by its digest.

use crate::delegation::{Delegation, Role};
use crate::document::SignedDocument;
use crate::envelope::{EnvelopeError, payload_type};
use crate::ids::{AppId, CaseId, MemberId, Officer, RequestId};
use crate::keys::{PublicKey, SecretKey};
use crate::limits::{TICKET_LIFETIME_MS, TICKET_USES_MAX};
use crate::time::{TimeError, format_rfc3339, parse_rfc3339};
use serde::{Deserialize, Serialize};

/// Value of `format`.
pub const FORMAT: &str = "yiwang-ticket/1";

/// Why a ticket is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TicketError {
    /// Form or signature of the envelope.
    #[error("ticket: {0}")]
    Envelope(#[from] EnvelopeError),
    /// The payload is not as it must be.
    #[error("ticket text: {0}")]
    Text(String),
    /// A time does not parse.
    #[error("ticket: {0}")]
    Time(#[from] TimeError),
    /// The delegation makes no officer's key of it.
    #[error("ticket: {0}")]
    Officer(&'static str),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    format: String,
    /// A UUID, so that two tickets that say the same are two.
    id: RequestId,
    member: MemberId,
    officer: Officer,
    app: AppId,
    case: CaseId,
    uses: u32,
    issued_at: String,
    expires_at: String,
    /// SHA-256 of the officer's delegation, hexadecimal.
    delegation: String,
}

/// What a ticket says. Its signature is verified by [`Ticket::verify`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ticket {
    /// Names the ticket.
    pub id: RequestId,
    /// The officer's member.
    pub member: MemberId,
    /// The officer's pseudonym.
    pub officer: Officer,
    /// The app that may ask.
    pub app: AppId,
    /// The case that it may ask in.
    pub case: CaseId,
    /// How many queries.
    pub uses: u32,
    /// First moment, milliseconds.
    pub issued_at_ms: i64,
    /// First moment that is no longer valid, milliseconds.
    pub expires_at_ms: i64,
    /// SHA-256 of the officer's delegation.
    pub delegation_digest: crate::Digest,
    /// SHA-256 of the signed payload; requests name it.
    pub digest: crate::Digest,
}

/// What an officer signs.
#[derive(Debug, Clone)]
pub struct Draft {
    /// The member.
    pub member: MemberId,
    /// The officer.
    pub officer: Officer,
    /// For which app.
    pub app: AppId,
    /// In which case.
    pub case: CaseId,
    /// How often.
    pub uses: u32,
    /// From when, milliseconds.
    pub issued_at_ms: i64,
    /// Until when, milliseconds.
    pub expires_at_ms: i64,
    /// The officer's delegation.
    pub delegation_digest: crate::Digest,
}

impl Draft {
    /// Signs it with the officer's key under a new id.
    pub fn sign(&self, id: RequestId, key: &SecretKey) -> SignedDocument {
        let raw = Raw {
            format: FORMAT.to_owned(),
            id,
            member: self.member.clone(),
            officer: self.officer.clone(),
            app: self.app.clone(),
            case: self.case.clone(),
            uses: self.uses,
            issued_at: format_rfc3339(self.issued_at_ms),
            expires_at: format_rfc3339(self.expires_at_ms),
            delegation: crate::hex(&self.delegation_digest),
        };
        // A struct of strings and numbers always serialises.
        let payload = serde_json::to_vec(&raw).unwrap_or_default();
        SignedDocument::sign(payload_type::TICKET, &payload, &[key])
    }
}

impl Ticket {
    /// Reads a ticket whose signature is not yet verified: to find the delegation that it names.
    ///
    /// # Errors
    /// [`TicketError`].
    pub fn read(document: &SignedDocument) -> Result<Self, TicketError> {
        if document.payload_type() != payload_type::TICKET {
            return Err(EnvelopeError::WrongType { expected: payload_type::TICKET }.into());
        }
        let raw: Raw = serde_json::from_slice(document.unverified_payload())
            .map_err(|error| TicketError::Text(error.to_string()))?;
        let want = |holds: bool, fault: &str| {
            if holds { Ok(()) } else { Err(TicketError::Text(fault.to_owned())) }
        };
        want(raw.format == FORMAT, "format is not `yiwang-ticket/1`")?;
        want((1..=TICKET_USES_MAX).contains(&raw.uses), "uses is 1 to 200")?;
        let (issued, expires) = (parse_rfc3339(&raw.issued_at)?, parse_rfc3339(&raw.expires_at)?);
        let life = expires.checked_sub(issued);
        want(
            life.is_some_and(|ms| (1..=TICKET_LIFETIME_MS).contains(&ms)),
            "a ticket lives at most 12 hours",
        )?;
        let delegation = from_hex(&raw.delegation)
            .ok_or_else(|| TicketError::Text("delegation is not 64 hexadecimal digits".to_owned()))?;
        Ok(Self {
            id: raw.id,
            member: raw.member,
            officer: raw.officer,
            app: raw.app,
            case: raw.case,
            uses: raw.uses,
            issued_at_ms: issued,
            expires_at_ms: expires,
            delegation_digest: delegation,
            digest: document.digest(),
        })
    }

    /// Reads a ticket and verifies it: signed by the key of this delegation, which makes it a key of the
    /// officer whom the ticket names. Whether the delegation's root counts, and times, are for the decision.
    ///
    /// # Errors
    /// [`TicketError`].
    pub fn verify(document: &SignedDocument, delegation: &Delegation) -> Result<Self, TicketError> {
        let ticket = Self::read(document)?;
        if ticket.delegation_digest != delegation.digest {
            return Err(TicketError::Officer("names another delegation"));
        }
        if let Some(fault) = officer_fault(delegation, &ticket.member, &ticket.officer, &delegation.root) {
            return Err(TicketError::Officer(fault));
        }
        document.verify(payload_type::TICKET, &delegation.key)?;
        Ok(ticket)
    }

    /// Whether it holds at a moment.
    pub fn valid_at(&self, now_ms: i64) -> bool {
        (self.issued_at_ms..self.expires_at_ms).contains(&now_ms)
    }
}

/// Why a delegation is none of this officer under this root; none where it is. The delegation's name is
/// the officer's pseudonym.
pub fn officer_fault(
    delegation: &Delegation,
    member: &MemberId,
    officer: &Officer,
    root: &PublicKey,
) -> Option<&'static str> {
    if delegation.root != *root {
        Some("the officer's key is not under the consumer's root")
    } else if delegation.role != Role::Officer {
        Some("the delegation is not for an officer")
    } else if delegation.member != *member {
        Some("the officer is of another member")
    } else if delegation.name.as_str() != officer.as_str() {
        Some("the key is of another officer")
    } else {
        None
    }
}

/// The bytes of 64 hexadecimal digits.
pub fn from_hex(text: &str) -> Option<crate::Digest> {
    if text.len() != 64 || !text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) {
        return None;
    }
    let mut digest = crate::Digest::default();
    for (at, byte) in digest.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(at * 2..at * 2 + 2)?, 16).ok()?;
    }
    Some(digest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ambient::SeededEntropy;

    fn key(seed: u8) -> SecretKey {
        SecretKey::from_seed(&[seed; 32])
    }

    fn delegation(root: u8, role: Role, name: &Officer, of: u8) -> Delegation {
        let (member, name) = (MemberId::parse("street").unwrap(), AppId::parse(name.as_str()).unwrap());
        let document = Delegation::sign(&key(root), &member, role, &name, key(of).public(), 1, 0, 1000);
        Delegation::open(&document).unwrap()
    }

    fn draft(officer: &Officer, delegation: &Delegation) -> Draft {
        Draft {
            member: MemberId::parse("street").unwrap(),
            officer: officer.clone(),
            app: AppId::parse("desk").unwrap(),
            case: CaseId::new(1_795_000_000_000, &SeededEntropy::new(2)),
            uses: 3,
            issued_at_ms: 0,
            expires_at_ms: 3_600_000,
            delegation_digest: delegation.digest,
        }
    }

    #[test]
    fn a_ticket_is_the_officers_alone() {
        let entropy = SeededEntropy::new(1);
        let (one, two) = (Officer::new(&entropy), Officer::new(&entropy));
        let good = delegation(1, Role::Officer, &one, 7);
        let id = || RequestId::new(0, &entropy);
        let signed = draft(&one, &good).sign(id(), &key(7));
        let ticket = Ticket::verify(&signed, &good).unwrap();
        assert_eq!((ticket.uses, &ticket.officer), (3, &one));
        assert!(ticket.valid_at(0) && ticket.valid_at(3_599_999) && !ticket.valid_at(3_600_000));
        let forged = draft(&one, &good).sign(id(), &key(8));
        assert!(matches!(Ticket::verify(&forged, &good), Err(TicketError::Envelope(_))));
        for (role, officer) in [(Role::App, &one), (Role::Officer, &two)] {
            let other = delegation(1, role, officer, 7);
            let signed = draft(&one, &other).sign(id(), &key(7));
            assert!(matches!(Ticket::verify(&signed, &other), Err(TicketError::Officer(_))));
        }
        let another = delegation(1, Role::Officer, &one, 8);
        assert!(Ticket::verify(&signed, &another).is_err(), "another delegation than it names");
    }

    #[test]
    fn a_ticket_is_bounded() {
        let entropy = SeededEntropy::new(1);
        let officer = Officer::new(&entropy);
        let good = delegation(1, Role::Officer, &officer, 7);
        let bends: [fn(&mut Draft); 5] = [
            |d| d.uses = 0,
            |d| d.uses = TICKET_USES_MAX + 1,
            |d| d.expires_at_ms = TICKET_LIFETIME_MS + 1,
            |d| d.expires_at_ms = 0,
            |d| d.issued_at_ms = 3_600_000,
        ];
        for bend in bends {
            let mut bent = draft(&officer, &good);
            bend(&mut bent);
            let signed = bent.sign(RequestId::new(0, &entropy), &key(7));
            assert!(matches!(Ticket::verify(&signed, &good), Err(TicketError::Text(_))));
        }
    }
}
