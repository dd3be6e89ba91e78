//! What one member may keep open and how fast it may add to it. All of it stands in the ledger for ever and
//! most of it in memory, so a member that is enrolled, and no more than that, must not be able to fill both.

use crate::ledger::{Draft, Linear};
use crate::limits;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use yiwang_proto::codes::Code;
use yiwang_proto::document::SignedDocument;
use yiwang_proto::entry::Kind;
use yiwang_proto::envelope::payload_type;
use yiwang_proto::ids::MemberId;
use yiwang_proto::limits::CONTRACT_MAX;
use yiwang_proto::revocation::Revocation;

/// Ceilings per member; `[quotas]` of `hub.toml` may set others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct QuotaLimits {
    /// Cases that are open.
    pub open_cases: usize,
    /// Subject tags of all its open cases.
    pub case_tags: usize,
    /// Delegations that are in force or younger than 30 days.
    pub delegations: usize,
    /// Contracts, as either side, that are in force or younger than 30 days.
    pub contracts: usize,
    /// Versions of record types that it provides; they are kept for ever.
    pub record_types: usize,
    /// Revocations under its roots; they are kept for ever, and by all its providers.
    pub revocations: usize,
    /// Case statements and published documents, per second on average.
    pub per_second: u32,
    /// The same at once, after a quiet time.
    pub burst: u32,
}

impl Default for QuotaLimits {
    fn default() -> Self {
        Self {
            open_cases: limits::OPEN_CASES_MAX,
            case_tags: limits::CASE_TAGS_MAX,
            delegations: limits::DELEGATIONS_MAX,
            contracts: limits::CONTRACTS_MAX,
            record_types: limits::RECORD_TYPES_OF_MEMBER,
            revocations: limits::REVOCATIONS_OF_MEMBER,
            per_second: limits::ADDED_PER_SECOND,
            burst: limits::ADDED_BURST,
        }
    }
}

/// What a member holds now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Holdings {
    /// Open cases.
    pub open_cases: usize,
    /// Tags of its open cases.
    pub case_tags: usize,
    /// Delegations that count.
    pub delegations: usize,
    /// Contracts that count.
    pub contracts: usize,
    /// Versions of record types that it provides.
    pub record_types: usize,
    /// Revocations under its roots.
    pub revocations: usize,
    /// Bytes of those.
    pub revocation_bytes: usize,
}

/// A token bucket, in microseconds of its own time: one statement costs as long as it takes to refill.
struct Bucket {
    left_us: u64,
    at_us: u64,
}

/// The ceilings, and the buckets of the members. One bucket per enrolled member, so their number is bounded.
pub struct Quotas {
    limits: QuotaLimits,
    buckets: Mutex<HashMap<MemberId, Bucket>>,
}

impl Quotas {
    /// All buckets full.
    pub fn new(limits: QuotaLimits) -> Self {
        Self { limits, buckets: Mutex::default() }
    }

    /// The ceilings.
    pub fn limits(&self) -> &QuotaLimits {
        &self.limits
    }

    /// Takes one statement from the member's bucket.
    pub fn take(&self, member: &MemberId, monotonic_us: u64) -> Result<(), Code> {
        let cost = 1_000_000 / u64::from(self.limits.per_second.max(1));
        let full = cost.saturating_mul(u64::from(self.limits.burst));
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let bucket = buckets.entry(member.clone()).or_insert(Bucket { left_us: full, at_us: monotonic_us });
        let passed = monotonic_us.saturating_sub(bucket.at_us);
        bucket.left_us = bucket.left_us.saturating_add(passed).min(full);
        bucket.at_us = monotonic_us;
        bucket.left_us = bucket.left_us.checked_sub(cost).ok_or(Code::QuotaExceeded)?;
        Ok(())
    }

    /// Takes what a document costs: a record type is read word by word, a hundred times the work of others.
    pub fn take_for(
        &self,
        member: &MemberId,
        document: &SignedDocument,
        monotonic_us: u64,
    ) -> Result<(), Code> {
        let times = if document.payload_type() == payload_type::RECORD_TYPE { 100 } else { 1 };
        (0..times).try_for_each(|_| self.take(member, monotonic_us))
    }

    /// A draft of a document that is entered only below its publisher's ceilings.
    pub fn publish(&self, member: &MemberId, document: &Bytes, draft: Box<dyn Draft>) -> Box<dyn Draft> {
        let signed = SignedDocument::parse(document.clone(), CONTRACT_MAX).ok();
        let kind = match signed.as_ref().map(SignedDocument::payload_type) {
            Some(payload_type::CONTRACT) => Counts::Contract,
            Some(payload_type::RECORD_TYPE) => Counts::RecordType,
            // The last word under a root; it is said once.
            Some(payload_type::REVOCATION) if is_of_whole_root(signed.as_ref()) => Counts::Always,
            Some(payload_type::REVOCATION) => Counts::Revocation,
            _ => Counts::Delegation,
        };
        Box::new(Within { draft, member: member.clone(), kind, limits: self.limits })
    }
}

fn is_of_whole_root(document: Option<&SignedDocument>) -> bool {
    document.and_then(|document| Revocation::open(document).ok()).is_some_and(|word| word.whole_root)
}

/// What a document counts as.
#[derive(Clone, Copy)]
enum Counts {
    Delegation,
    Contract,
    RecordType,
    Revocation,
    Always,
}

struct Within {
    draft: Box<dyn Draft>,
    member: MemberId,
    kind: Counts,
    limits: QuotaLimits,
}

impl Draft for Within {
    fn finish(self: Box<Self>, at: &Linear<'_>) -> Result<Kind, Code> {
        let held = at.views.holdings(&self.member, at.time_ms);
        let full = match self.kind {
            Counts::Contract => held.contracts >= self.limits.contracts,
            Counts::Delegation => held.delegations >= self.limits.delegations,
            Counts::RecordType => held.record_types >= self.limits.record_types,
            Counts::Revocation => {
                held.revocations >= self.limits.revocations
                    || held.revocation_bytes >= limits::REVOCATION_BYTES_OF_MEMBER
            }
            Counts::Always => false,
        };
        if full { Err(Code::QuotaExceeded) } else { self.draft.finish(at) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_lets_a_burst_through_and_refills() {
        let quotas = Quotas::new(QuotaLimits { per_second: 2, burst: 3, ..QuotaLimits::default() });
        let (one, other) = (MemberId::parse("police").unwrap(), MemberId::parse("health").unwrap());
        for _ in 0..3 {
            assert_eq!(quotas.take(&one, 7), Ok(()));
        }
        assert_eq!(quotas.take(&one, 7), Err(Code::QuotaExceeded));
        assert_eq!(quotas.take(&other, 7), Ok(()), "each member has its own");
        assert_eq!(quotas.take(&one, 499_000), Err(Code::QuotaExceeded));
        assert_eq!(quotas.take(&one, 500_007), Ok(()), "half a second is one statement");
        assert_eq!(quotas.take(&one, 500_007), Err(Code::QuotaExceeded));
        for _ in 0..3 {
            assert_eq!(quotas.take(&one, 100_000_000), Ok(()));
        }
        assert_eq!(quotas.take(&one, 100_000_000), Err(Code::QuotaExceeded), "never more than the burst");
    }
}
