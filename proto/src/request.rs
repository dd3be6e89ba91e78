//! The request statement: what a consumer's app signs.

use crate::envelope::{EnvelopeError, SignedStatement, payload_type};
use crate::ids::{
    AppId, CaseId, ContractId, FieldName, IdError, MemberId, Officer, Operation, Purpose, RecordType,
    RequestId,
};
use crate::keys::{PublicKey, SecretKey};
use crate::limits::{FIELDS_MAX, STATEMENT_LIFETIME_MS, TAGS_MAX};
use crate::pb;
use crate::tag::Tag;
use prost::Message as _;

/// Why a statement is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StatementError {
    /// Form or signature of the envelope.
    #[error("statement: {0}")]
    Envelope(#[from] EnvelopeError),
    /// Not the canonical encoding of the message.
    #[error("statement is not the canonical encoding of its message")]
    NotCanonical,
    /// An id breaks its grammar.
    #[error("statement: {0}")]
    Id(#[from] IdError),
    /// A value is out of its bounds.
    #[error("statement: {0}")]
    Value(&'static str),
}

/// Place of the app's signature in a request's envelope.
pub const APP_SIGNS: usize = 0;
/// Place of the officer's signature, where the statement rests on one.
pub const OFFICER_SIGNS: usize = 1;

/// Size and root of the ledger that a signer knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Head {
    /// Entries.
    pub size: u64,
    /// RFC 6962 root.
    pub root: crate::merkle::Hash,
}

impl Head {
    pub(crate) fn check(head: Option<&pb::LedgerHead>) -> Result<Self, StatementError> {
        let head = head.ok_or(StatementError::Value("head is missing"))?;
        Ok(Self { size: head.size, root: digest(&head.root, "head.root is not 32 bytes")? })
    }

    /// The message.
    pub fn to_pb(self) -> pb::LedgerHead {
        pb::LedgerHead { size: self.size, root: self.root.to_vec().into() }
    }
}

pub(crate) fn digest(bytes: &[u8], fault: &'static str) -> Result<crate::Digest, StatementError> {
    bytes.try_into().map_err(|_| StatementError::Value(fault))
}

pub(crate) fn tags(raw: &[bytes::Bytes], most: usize) -> Result<Vec<Tag>, StatementError> {
    if raw.len() > most {
        return Err(StatementError::Value("too many subject tags"));
    }
    raw.iter().map(|tag| digest(tag, "a subject tag is not 32 bytes")).collect()
}

pub(crate) fn fields(raw: &[String]) -> Result<Vec<FieldName>, StatementError> {
    if raw.len() > FIELDS_MAX {
        return Err(StatementError::Value("more than 64 fields"));
    }
    if !raw.is_sorted_by(|a, b| a < b) {
        return Err(StatementError::Value("fields are not in ascending order without repeats"));
    }
    raw.iter().map(|name| FieldName::parse(name).map_err(Into::into)).collect()
}

fn officer_by(raw: &pb::RequestStatement) -> Result<OfficerBy, StatementError> {
    let by = match (raw.ticket_digest.as_ref(), raw.officer_delegation_digest.as_ref()) {
        ([], []) => return Ok(OfficerBy::Asserted),
        (ticket, []) => OfficerBy::Ticket(digest(ticket, "ticket_digest is not 32 bytes")?),
        ([], key) => OfficerBy::Signature(digest(key, "officer_delegation_digest is not 32 bytes")?),
        _ => {
            return Err(StatementError::Value(
                "rests on a ticket or on the officer's signature, not on both",
            ));
        }
    };
    // What is proved must be named: the pseudonym is what stands in reports.
    if raw.officer.is_empty() {
        return Err(StatementError::Value("rests on an officer and names none"));
    }
    Ok(by)
}

/// How the statement says that the named officer acts. Whether that holds is for the decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum OfficerBy {
    /// The app says so.
    #[default]
    Asserted,
    /// By the ticket whose payload has this SHA-256.
    Ticket(crate::Digest),
    /// By the officer's own signature on the statement, with the key of the delegation that has this digest.
    Signature(crate::Digest),
}

/// A request statement whose values satisfy their grammars and limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Unique for its member until it expires.
    pub id: RequestId,
    /// Who asks.
    pub consumer: MemberId,
    /// With which app.
    pub app: AppId,
    /// Who is asked.
    pub provider: MemberId,
    /// Under which contract.
    pub contract: ContractId,
    /// SHA-256 of the contract's signed payload.
    pub contract_digest: crate::Digest,
    /// For which purpose.
    pub purpose: Purpose,
    /// In which case.
    pub case: CaseId,
    /// Which record.
    pub record: RecordType,
    /// By which operation.
    pub operation: Operation,
    /// Which fields, in ascending order.
    pub fields: Vec<FieldName>,
    /// The consumer's tags of the subjects.
    pub subject_tags: Vec<Tag>,
    /// When it was signed, milliseconds.
    pub issued_at_ms: i64,
    /// When it ends, milliseconds.
    pub expires_at_ms: i64,
    /// SHA-256 of the encoded body.
    pub body_digest: crate::Digest,
    /// The newest head that the signer has verified.
    pub head: Head,
    /// The request that this one repeats.
    pub retry_of: Option<RequestId>,
    /// The acting officer.
    pub officer: Option<Officer>,
    /// SHA-256 of the app's delegation.
    pub delegation_digest: crate::Digest,
    /// How the officer is proved.
    pub officer_by: OfficerBy,
    /// SHA-256 of the consumer's delegation for sealing; where it is set, both bodies travel sealed.
    pub sealing: Option<crate::Digest>,
    /// Whether the app signed it together with others; said by the envelope, for contracts that allow it.
    pub in_batch: bool,
}

impl Request {
    /// Checks a statement's payload. Takes the bytes of a signature that was, or is about to be, verified.
    pub fn parse(payload: &bytes::Bytes) -> Result<Self, StatementError> {
        let raw = pb::RequestStatement::decode(payload.clone()).map_err(|_| StatementError::NotCanonical)?;
        if !crate::canonical::is_canonical(&raw, payload) {
            return Err(StatementError::NotCanonical);
        }
        let lifetime = raw.expires_at_ms.checked_sub(raw.issued_at_ms);
        if !lifetime.is_some_and(|ms| (1..=STATEMENT_LIFETIME_MS).contains(&ms)) {
            return Err(StatementError::Value("a synchronous statement lives 1 to 60000 ms"));
        }
        if raw.fields.is_empty() {
            return Err(StatementError::Value("no fields are asked for"));
        }
        if !raw.resume_of.is_empty() {
            return Err(StatementError::Value("batch pages are not served"));
        }
        let some = |text: &str| if text.is_empty() { None } else { Some(text.to_owned()) };
        Ok(Self {
            id: RequestId::parse(&raw.request_id)?,
            consumer: MemberId::parse(&raw.consumer)?,
            app: AppId::parse(&raw.app)?,
            provider: MemberId::parse(&raw.provider)?,
            contract: ContractId::parse(&raw.contract_id)?,
            contract_digest: digest(&raw.contract_digest, "contract_digest is not 32 bytes")?,
            purpose: Purpose::parse(&raw.purpose)?,
            case: CaseId::parse(&raw.case_id)?,
            record: RecordType::parse(&raw.record)?,
            operation: Operation::parse(&raw.operation)?,
            fields: fields(&raw.fields)?,
            subject_tags: tags(&raw.subject_tags, TAGS_MAX)?,
            issued_at_ms: raw.issued_at_ms,
            expires_at_ms: raw.expires_at_ms,
            body_digest: digest(&raw.body_digest, "body_digest is not 32 bytes")?,
            head: Head::check(raw.head.as_ref())?,
            retry_of: some(&raw.retry_of).map(|id| RequestId::parse(&id)).transpose()?,
            officer: some(&raw.officer).map(|id| Officer::parse(&id)).transpose()?,
            delegation_digest: digest(&raw.delegation_digest, "delegation_digest is not 32 bytes")?,
            officer_by: officer_by(&raw)?,
            sealing: match raw.sealing_digest.as_ref() {
                [] => None,
                bytes => Some(digest(bytes, "sealing_digest is not 32 bytes")?),
            },
            in_batch: false,
        })
    }

    /// Checks the statement of an envelope, and that it carries no signature which nobody will verify: the app's,
    /// and after it the officer's where the statement says that it rests on one.
    ///
    /// # Errors
    /// [`StatementError`].
    pub fn of(signed: &SignedStatement) -> Result<Self, StatementError> {
        let mut request = Self::parse(signed.unverified_payload())?;
        request.in_batch = signed.is_in_batch();
        let wanted = if matches!(request.officer_by, OfficerBy::Signature(_)) { 2 } else { 1 };
        match signed.signature_count() {
            found if found > wanted => Err(EnvelopeError::Unverified { found, wanted }.into()),
            _ => Ok(request),
        }
    }

    /// Signs the statement with the app's key, and with the officer's as second signature.
    pub fn sign_with_officer(&self, key: &SecretKey, officer: &SecretKey) -> SignedStatement {
        let signed = self.sign(key);
        crate::prepared::add_signature(&signed, payload_type::REQUEST, officer).unwrap_or(signed)
    }

    /// Signs the statement.
    pub fn sign(&self, key: &SecretKey) -> SignedStatement {
        SignedStatement::sign(payload_type::REQUEST, self.payload(), key)
    }

    /// The bytes that are signed.
    pub fn payload(&self) -> Vec<u8> {
        let text = |id: &Option<RequestId>| id.as_ref().map(|id| id.as_str().to_owned()).unwrap_or_default();
        let raw = pb::RequestStatement {
            request_id: self.id.as_str().to_owned(),
            consumer: self.consumer.as_str().to_owned(),
            app: self.app.as_str().to_owned(),
            provider: self.provider.as_str().to_owned(),
            contract_id: self.contract.as_str().to_owned(),
            contract_digest: self.contract_digest.to_vec().into(),
            purpose: self.purpose.as_str().to_owned(),
            case_id: self.case.as_str().to_owned(),
            record: self.record.as_str().to_owned(),
            operation: self.operation.as_str().to_owned(),
            fields: self.fields.iter().map(|field| field.as_str().to_owned()).collect(),
            subject_tags: self.subject_tags.iter().map(|tag| tag.to_vec().into()).collect(),
            issued_at_ms: self.issued_at_ms,
            expires_at_ms: self.expires_at_ms,
            body_digest: self.body_digest.to_vec().into(),
            head: Some(self.head.to_pb()),
            retry_of: text(&self.retry_of),
            officer: self.officer.as_ref().map(|id| id.as_str().to_owned()).unwrap_or_default(),
            delegation_digest: self.delegation_digest.to_vec().into(),
            ticket_digest: match self.officer_by {
                OfficerBy::Ticket(digest) => bytes::Bytes::copy_from_slice(&digest),
                _ => bytes::Bytes::new(),
            },
            resume_of: String::new(),
            sealing_digest: self
                .sealing
                .map(|digest| bytes::Bytes::copy_from_slice(&digest))
                .unwrap_or_default(),
            officer_delegation_digest: match self.officer_by {
                OfficerBy::Signature(digest) => bytes::Bytes::copy_from_slice(&digest),
                _ => bytes::Bytes::new(),
            },
        };
        raw.encode_to_vec()
    }

    /// Verifies the app's signature of a request envelope and checks its statement.
    pub fn open(signed: &SignedStatement, key: &PublicKey) -> Result<Self, StatementError> {
        signed.verify_at(APP_SIGNS, payload_type::REQUEST, key)?;
        Self::of(signed)
    }
}
