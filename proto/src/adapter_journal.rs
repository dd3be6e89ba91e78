//! The records of an adapter's journal: protobuf messages that are never on the wire. They stand here because
//! the offline verifier reads journals too and sees no adapter. Field numbers are fixed: a later version reads
//! old journals.

use crate::limits::{ROWS_MAX, STATEMENT_MAX};
use bytes::Bytes;
use prost::Message as _;

/// Settled answers that one record carries along; more wait for the next one.
pub const SETTLED_PER_RECORD: usize = 64;
/// Bytes of one journal record: two statements at their largest, what was settled since the record before, and
/// the few fields beside them. A witness's record holds one checkpoint with one signature, which is less.
pub const RECORD_MAX: usize = 2 * STATEMENT_MAX + beside_statements(SETTLED_PER_RECORD, ROWS_MAX as usize);

/// Bytes of an exchange's record beside its two statements, and of a signature that one of them shares, at most.
pub const fn beside_statements(settled: usize, handed_tags: usize) -> usize {
    settled.saturating_mul(24).saturating_add(handed_tags.saturating_mul(32)).saturating_add(1024)
}

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
    #[prost(oneof = "Kind", tags = "2, 3, 4, 5, 20, 21, 30, 31, 32, 56")]
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
    /// A part of what all records before say, so that a start need not read them.
    #[prost(message, tag = "56")]
    Snapshot(SnapshotPart),
    /// A checkpoint that this adapter cosigns as a witness; nothing that it does not extend is cosigned from
    /// now on.
    #[prost(message, tag = "30")]
    Witnessed(KeptHead),
    /// The own member's entries are held up to here.
    #[prost(message, tag = "31")]
    Followed(Followed),
    /// The operator gave an answer up whose entry does not come: it is owed no more, and was never proved to be in the
    /// ledger.
    #[prost(message, tag = "32")]
    GivenUp(GivenUp),
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
    /// The officer's own key was proved, so that the officer counts by himself.
    #[prost(bool, tag = "6")]
    pub proved: bool,
    /// The digest of the ticket of which this is a use, 32 bytes; empty where it is none.
    #[prost(bytes = "bytes", tag = "7")]
    pub ticket: Bytes,
    /// Earlier answers that were proved to be in the ledger since the record before: the first 16 bytes of
    /// the SHA-256 of each request envelope.
    #[prost(bytes = "bytes", repeated, tag = "30")]
    pub settled: Vec<Bytes>,
    /// The provider's own tags of everybody whose row a batch's page holds, 32 bytes each, ascending: where they are
    /// many, the answer has their root only.
    #[prost(bytes = "bytes", tag = "60")]
    pub handed_tags: Bytes,
}

/// A verified head.
#[derive(Clone, PartialEq, prost::Message)]
pub struct KeptHead {
    /// The signed note, exact bytes.
    #[prost(bytes = "bytes", tag = "1")]
    pub checkpoint: Bytes,
}

/// How far the own member's entries are held.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Followed {
    /// The index of the newest one plus one.
    #[prost(uint64, tag = "1")]
    pub own_next: u64,
    /// As in [`Exchange::settled`].
    #[prost(bytes = "bytes", repeated, tag = "2")]
    pub settled: Vec<Bytes>,
}

/// An answer whose receipt nobody waits for any more, because the operator said so. What calls an answer settled is
/// [`Exchange::settled`] and [`Followed::settled`] alone.
#[derive(Clone, PartialEq, prost::Message)]
pub struct GivenUp {
    /// SHA-256 of the request's signed payload, 32 bytes: its name in the answer and in the ledger.
    #[prost(bytes = "bytes", tag = "1")]
    pub request: Bytes,
    /// The first 16 bytes of the SHA-256 of the request envelope, as in [`Exchange::settled`].
    #[prost(bytes = "bytes", tag = "2")]
    pub envelope: Bytes,
    /// SHA-256 of the answer envelope, 32 bytes: there may be another answer to the request.
    #[prost(bytes = "bytes", tag = "3")]
    pub answer: Bytes,
    /// Why, in the operator's words: one line, without names and values.
    #[prost(string, tag = "4")]
    pub reason: String,
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
    /// The record whose version it pins; empty for records of the program, with the two that follow.
    #[prost(string, tag = "50")]
    pub record: String,
    /// The pinned version's number.
    #[prost(uint32, tag = "51")]
    pub record_version: u32,
    /// The pinned version's digest.
    #[prost(bytes = "bytes", tag = "52")]
    pub record_digest: Bytes,
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

/// A part of a snapshot; it counts only with all others of the same id.
#[derive(Clone, PartialEq, prost::Message)]
pub struct SnapshotPart {
    /// Names the snapshot.
    #[prost(uint64, tag = "1")]
    pub id: u64,
    /// Which part, from 0.
    #[prost(uint32, tag = "2")]
    pub number: u32,
    /// How many parts there are.
    #[prost(uint32, tag = "3")]
    pub all: u32,
    /// The kept head, a signed note, exact bytes; empty in other parts, and before the first link.
    #[prost(bytes = "bytes", tag = "4")]
    pub checkpoint: Bytes,
    /// Contract versions in force.
    #[prost(message, repeated, tag = "5")]
    pub contracts: Vec<ContractSeen>,
    /// Tags and the subjects that they stand for.
    #[prost(message, repeated, tag = "6")]
    pub pairs: Vec<Pair>,
    /// Request ids that are used up.
    #[prost(message, repeated, tag = "7")]
    pub ids: Vec<UsedId>,
    /// Counters of the present minute and day.
    #[prost(message, repeated, tag = "8")]
    pub counters: Vec<Counted>,
    /// The checkpoint that was cosigned last, a signed note, exact bytes; empty in other parts, and where nothing
    /// was cosigned.
    #[prost(bytes = "bytes", tag = "30")]
    pub witnessed: Bytes,
    /// How far the own member's entries are held; 0 in other parts.
    #[prost(uint64, tag = "31")]
    pub own_next: u64,
    /// The envelopes of a request and its answer that have no receipt; a part holds one such pair.
    #[prost(bytes = "bytes", tag = "32")]
    pub owed_request: Bytes,
    /// See `owed_request`.
    #[prost(bytes = "bytes", tag = "33")]
    pub owed_answer: Bytes,
    /// The highest standing of each root.
    #[prost(message, repeated, tag = "20")]
    pub standings: Vec<StandingSeen>,
    /// A revocation under a root, exact bytes; a part holds one, since it may fill a record.
    #[prost(bytes = "bytes", tag = "21")]
    pub revocation: Bytes,
    /// Uses of officers' tickets.
    #[prost(message, repeated, tag = "40")]
    pub tickets: Vec<TicketUsed>,
}

/// A consumer's tag and the provider's own of the same subject.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Pair {
    /// Half of the SHA-256 over consumer, case and the consumer's tag, 16 bytes.
    #[prost(bytes = "bytes", tag = "1")]
    pub key: Bytes,
    /// Half of the provider's tag, 16 bytes.
    #[prost(bytes = "bytes", tag = "2")]
    pub tag: Bytes,
    /// When it was used last, days since 1970.
    #[prost(int64, tag = "3")]
    pub day: i64,
}

/// How often an officer's ticket was used.
#[derive(Clone, PartialEq, prost::Message)]
pub struct TicketUsed {
    /// The ticket's digest, 32 bytes.
    #[prost(bytes = "bytes", tag = "1")]
    pub ticket: Bytes,
    /// Uses so far.
    #[prost(uint32, tag = "2")]
    pub uses: u32,
    /// The last one, milliseconds since 1970.
    #[prost(int64, tag = "3")]
    pub last_ms: i64,
}

/// A used-up request id.
#[derive(Clone, PartialEq, prost::Message)]
pub struct UsedId {
    /// When it expires, in steps of ten seconds since 1970.
    #[prost(int64, tag = "1")]
    pub bucket: i64,
    /// Half of the SHA-256 over member and id, 16 bytes.
    #[prost(bytes = "bytes", tag = "2")]
    pub key: Bytes,
}

/// A counter of a contract's ceiling.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Counted {
    /// The contract's id.
    #[prost(string, tag = "1")]
    pub contract: String,
    /// The app that is counted; empty where an officer is.
    #[prost(string, tag = "2")]
    pub app: String,
    /// The officer who is counted.
    #[prost(string, tag = "3")]
    pub officer: String,
    /// A counter of the UTC day; else of the minute.
    #[prost(bool, tag = "4")]
    pub daily: bool,
    /// Which day or minute since 1970.
    #[prost(int64, tag = "5")]
    pub window: i64,
    /// The count.
    #[prost(uint32, tag = "6")]
    pub count: u32,
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
