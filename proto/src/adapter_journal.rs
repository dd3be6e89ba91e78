//! The records of an adapter's journal: protobuf messages that are never on the wire. They stand here because
//! the offline verifier reads journals too and sees no adapter. Field numbers are fixed: a later version reads
//! old journals.

use crate::limits::STATEMENT_MAX;
use bytes::Bytes;
use prost::Message as _;

/// Bytes of one journal record: two statements at their largest, and the few fields beside them.
pub const RECORD_MAX: usize = 2 * STATEMENT_MAX + 1024;

/// Why bytes are no record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Not a message of this version.
    #[error("not a record that this version knows")]
    Unknown,
}

/// One record.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Record {
    /// The adapter's time, milliseconds since 1970. It goes up from record to record, but for those of
    /// exchanges that ran at once, and for a clock that the operator accepted.
    #[prost(int64, tag = "1")]
    pub time_ms: i64,
    /// What happened.
    #[prost(oneof = "Kind", tags = "2, 3, 4, 5, 20, 21")]
    pub kind: Option<Kind>,
}

/// What a record says.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum Kind {
    /// A request and the answer to it.
    #[prost(message, tag = "2")]
    Exchange(Exchange),
    /// A head of the ledger that was verified and is kept from now on.
    #[prost(message, tag = "3")]
    Head(KeptHead),
    /// A contract version that is in force; older ones are refused from now on.
    #[prost(message, tag = "4")]
    Contract(ContractSeen),
    /// The operator accepted the clock: the record's own time is the highest from now on.
    #[prost(message, tag = "5")]
    ClockAccepted(ClockAccepted),
    /// A counterpart's standing that was verified; older ones are refused from now on.
    #[prost(message, tag = "20")]
    Standing(StandingSeen),
    /// A revocation under a counterpart's or the own root; it counts for ever.
    #[prost(message, tag = "21")]
    Revocation(RevocationSeen),
}

/// A request and its answer, as exact bytes; no body, so no personal data.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Exchange {
    /// The request envelope.
    #[prost(bytes = "bytes", tag = "1")]
    pub request: Bytes,
    /// The answer envelope.
    #[prost(bytes = "bytes", tag = "2")]
    pub answer: Bytes,
    /// The request's signature was good and its id new: the id is used up, and the request counts for the
    /// contract's ceilings.
    #[prost(bool, tag = "3")]
    pub counted: bool,
    /// SHA-256 over consumer, case and the consumer's tag; empty where no source was asked about a subject.
    #[prost(bytes = "bytes", tag = "4")]
    pub subject_key: Bytes,
    /// The provider's own tag of the subject, 32 bytes; empty with `subject_key`.
    #[prost(bytes = "bytes", tag = "5")]
    pub provider_tag: Bytes,
}

/// A verified head.
#[derive(Clone, PartialEq, prost::Message)]
pub struct KeptHead {
    /// The signed note, exact bytes.
    #[prost(bytes = "bytes", tag = "1")]
    pub checkpoint: Bytes,
}

/// A contract version in force.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ContractSeen {
    /// The contract's id.
    #[prost(string, tag = "1")]
    pub contract: String,
    /// Its version.
    #[prost(uint32, tag = "2")]
    pub version: u32,
    /// SHA-256 of its signed payload.
    #[prost(bytes = "bytes", tag = "3")]
    pub digest: Bytes,
}

/// The newest standing under a root.
#[derive(Clone, PartialEq, prost::Message)]
pub struct StandingSeen {
    /// The root's public key, 32 bytes.
    #[prost(bytes = "bytes", tag = "1")]
    pub root: Bytes,
    /// The standing's number.
    #[prost(uint64, tag = "2")]
    pub sequence: u64,
    /// SHA-256 of its signed payload.
    #[prost(bytes = "bytes", tag = "3")]
    pub digest: Bytes,
}

/// A verified revocation.
#[derive(Clone, PartialEq, prost::Message)]
pub struct RevocationSeen {
    /// The document, exact bytes.
    #[prost(bytes = "bytes", tag = "1")]
    pub document: Bytes,
}

/// The way out after a clock had jumped ahead.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ClockAccepted {
    /// The highest time before, milliseconds.
    #[prost(int64, tag = "1")]
    pub before_ms: i64,
}

impl Record {
    /// A record of one moment.
    pub fn new(time_ms: i64, kind: Kind) -> Self {
        Self { time_ms, kind: Some(kind) }
    }

    /// The bytes for the journal.
    pub fn encode(&self) -> Bytes {
        Bytes::from(self.encode_to_vec())
    }

    /// Reads a record; one without a kind comes from a newer version and is refused, because what it says
    /// may forbid an answer.
    ///
    /// # Errors
    /// [`RecordError`] for anything else than a record of this version.
    pub fn decode(data: Bytes) -> Result<Self, RecordError> {
        let record = <Self as prost::Message>::decode(data).map_err(|_| RecordError::Unknown)?;
        if record.kind.is_none() { Err(RecordError::Unknown) } else { Ok(record) }
    }
}
