//! Folded denials: the records of the hub's journal that holds their statements. They are never on the wire; they
//! stand here because the offline verifier reads that journal too and sees no hub. Field numbers are fixed.
//!
//! The first denials of one app, code and minute are ledger entries. Of the rest the ledger holds the count and the
//! RFC 6962 root over the entries that they would have been, exact bytes, in the order of the journal.

use crate::codes::Code;
use crate::entry::{self, Kind};
use crate::envelope::SignedStatement;
use crate::ids::{AppId, MemberId};
use crate::limits::STATEMENT_MAX;
use crate::merkle::{self, Hash};
use crate::pb;
use crate::request::Request;
use bytes::Bytes;
use prost::Message as _;

/// Name of the journal's folder beside the ledger's segments.
pub const FOLDER: &str = "folded";
/// Bytes of one record: a statement at its largest, and the few fields of its entry beside it.
pub const RECORD_MAX: usize = STATEMENT_MAX + 2048;
/// Denials of one app, code and minute that are entries of their own before any is folded. Verifiers hold ledgers
/// against it, so it only ever grows.
pub const VERBATIM: u32 = 60;
/// Milliseconds of the span that is counted at once.
pub const MINUTE_MS: i64 = 60_000;

/// Why a record does not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FoldedError {
    /// Not a record of this version.
    #[error("not a record that this version knows")]
    Unknown,
    /// Its entry is none.
    #[error("its entry: {0}")]
    Entry(#[from] entry::EntryError),
    /// Its entry is no denial by the hub.
    #[error("its entry is not a denial by the hub with a code and a statement")]
    NoDenial,
}

/// One record.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Record {
    /// What it says.
    #[prost(oneof = "Said", tags = "1, 2")]
    pub said: Option<Said>,
}

/// What a record says.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum Said {
    /// A request was denied.
    #[prost(message, tag = "1")]
    Denied(Denied),
    /// The ledger has the counts and roots of all records below this index. A hint where to begin at a start.
    #[prost(uint64, tag = "2")]
    FoldedBelow(u64),
}

/// A denial.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Denied {
    /// The entry that it would have been, exact bytes.
    #[prost(bytes = "bytes", tag = "1")]
    pub entry: Bytes,
    /// Counted with all apps of its member that are not counted one by one.
    #[prost(bool, tag = "2")]
    pub with_member: bool,
}

/// What is counted together.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// The consumer; the connection's member where no signature was good.
    pub consumer: MemberId,
    /// The app, where its signature was good and it is counted by itself.
    pub app: Option<AppId>,
    /// The service code.
    pub code: Code,
}

/// The beginning of a moment's minute.
#[must_use]
pub fn minute_of(time_ms: i64) -> i64 {
    time_ms.div_euclid(MINUTE_MS).saturating_mul(MINUTE_MS)
}

/// A denial taken apart.
#[derive(Debug, Clone)]
pub struct Statement {
    /// What it is counted with.
    pub key: Key,
    /// The beginning of its minute.
    pub minute_ms: i64,
    /// When the hub denied it.
    pub time_ms: i64,
    /// The entry that it would have been.
    pub exchange: pb::ExchangeEntry,
    /// The signed request with its values; none where no signature was good.
    pub request: Option<(SignedStatement, Request)>,
}

impl Record {
    /// From the bytes of a journal.
    ///
    /// # Errors
    /// [`FoldedError::Unknown`] where this version does not know what it says.
    pub fn read(bytes: &Bytes) -> Result<Said, FoldedError> {
        Self::decode(bytes.clone()).ok().and_then(|record| record.said).ok_or(FoldedError::Unknown)
    }

    /// As bytes for the journal.
    #[must_use]
    pub fn of(said: Said) -> Bytes {
        Bytes::from(Self { said: Some(said) }.encode_to_vec())
    }
}

impl Denied {
    /// The leaf of the folded root.
    #[must_use]
    pub fn leaf(&self) -> Hash {
        merkle::leaf_hash(&self.entry)
    }

    /// Takes the denial apart. No signature is verified.
    ///
    /// # Errors
    /// [`FoldedError`] where it is not a denial by the hub.
    pub fn open(&self) -> Result<Statement, FoldedError> {
        let entry = entry::decode(&self.entry)?;
        let Some(Kind::Exchange(exchange)) = entry.kind else { return Err(FoldedError::NoDenial) };
        let code = Code::parse(&exchange.code).ok_or(FoldedError::NoDenial)?;
        let request = if exchange.request.is_empty() {
            None
        } else {
            let signed =
                SignedStatement::parse(exchange.request.clone()).map_err(|_| FoldedError::NoDenial)?;
            let request = Request::of(&signed).map_err(|_| FoldedError::NoDenial)?;
            Some((signed, request))
        };
        let told = request.is_some() != (exchange.request_digest.len() == merkle::HASH_BYTES);
        if exchange.outcome() != pb::Outcome::Denied || !exchange.answer.is_empty() || !told {
            return Err(FoldedError::NoDenial);
        }
        let consumer = match &request {
            Some((_, request)) => request.consumer.clone(),
            None => MemberId::parse(&exchange.peer).map_err(|_| FoldedError::NoDenial)?,
        };
        let app = request.as_ref().filter(|_| !self.with_member).map(|(_, request)| request.app.clone());
        let key = Key { consumer, app, code };
        Ok(Statement { key, minute_ms: minute_of(entry.time_ms), time_ms: entry.time_ms, exchange, request })
    }
}

/// The key and minute of a folded entry; none where it is malformed.
#[must_use]
pub fn key_of(entry: &pb::FoldedEntry) -> Option<(Key, i64)> {
    let app = if entry.app.is_empty() { None } else { Some(AppId::parse(&entry.app).ok()?) };
    let key = Key { consumer: MemberId::parse(&entry.consumer).ok()?, app, code: Code::parse(&entry.code)? };
    Some((key, entry.minute_ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn denial(bend: impl FnOnce(&mut pb::ExchangeEntry)) -> Denied {
        let mut exchange = pb::ExchangeEntry {
            peer: "street-office".to_owned(),
            request_digest: Bytes::from(vec![7; 32]),
            code: Code::SignatureInvalid.as_str().to_owned(),
            ..pb::ExchangeEntry::default()
        };
        exchange.set_outcome(pb::Outcome::Denied);
        bend(&mut exchange);
        let entry = pb::Entry { time_ms: 61_001, kind: Some(Kind::Exchange(exchange)) };
        Denied { entry: entry::encode(&entry).unwrap(), with_member: false }
    }

    #[test]
    fn a_record_survives_its_bytes_and_says_what_it_is_counted_with() {
        let denied = denial(|_| ());
        let bytes = Record::of(Said::Denied(denied.clone()));
        assert!(bytes.len() <= RECORD_MAX);
        assert_eq!(Record::read(&bytes), Ok(Said::Denied(denied.clone())));
        let opened = denied.open().unwrap();
        assert_eq!((opened.minute_ms, opened.time_ms), (60_000, 61_001));
        assert_eq!(opened.key.consumer.as_str(), "street-office");
        assert_eq!((opened.key.app, opened.key.code), (None, Code::SignatureInvalid));
        assert_eq!(Record::read(&Bytes::from_static(b"\x22\x00")), Err(FoldedError::Unknown));
    }

    #[test]
    fn what_is_no_denial_by_the_hub_is_none() {
        for bend in [
            (|raw: &mut pb::ExchangeEntry| raw.set_outcome(pb::Outcome::Answered)) as fn(&mut _),
            |raw| raw.answer = Bytes::from_static(b"x"),
            |raw| raw.code = "no code".to_owned(),
            |raw| raw.request_digest = Bytes::new(),
            |raw| raw.peer = "No Member".to_owned(),
            |raw| raw.request = Bytes::from_static(b"junk"),
        ] {
            assert_eq!(denial(bend).open().map(|_| ()), Err(FoldedError::NoDenial));
        }
        let lookup = pb::Entry { time_ms: 1, kind: Some(Kind::Lookup(pb::LookupEntry::default())) };
        let denied = Denied { entry: entry::encode(&lookup).unwrap(), with_member: false };
        assert_eq!(denied.open().map(|_| ()), Err(FoldedError::NoDenial));
    }

    #[test]
    fn minutes_begin_at_their_first_millisecond() {
        assert_eq!([minute_of(0), minute_of(59_999), minute_of(60_000)], [0, 0, 60_000]);
        assert_eq!(minute_of(-1), -60_000);
    }
}
