//! The standing: a member's signed, short-lived word on what is still in force. The member's adapter host
//! issues it; its counterparts keep the highest sequence and refuse what is older or over.

use crate::delegation::{Delegation, Role};
use crate::envelope::{SignedStatement, payload_type};
use crate::ids::{ContractId, MemberId, Officer};
use crate::keys::SecretKey;
use crate::limits::CLOCK_SKEW_MS;
use crate::pb;
use crate::request::{StatementError, digest};
use crate::revocation::Revoked;
use bytes::Bytes;
use prost::Message as _;

/// Life of a standing, and how old it may be, where no contract says otherwise: 60 seconds.
pub const LIFE_MS: i64 = 60_000;
/// Longest life of a standing: 24 hours, where a contract says so.
pub const LIFETIME_MAX_MS: i64 = 24 * 3600 * 1000;
/// Longest life of the key that signs standings: 7 days, so that a stolen one ends by itself.
pub const KEY_LIFE_MAX_MS: i64 = 7 * 24 * 3600 * 1000;
/// How far a standing's number may be above the milliseconds of its issue. Numbers follow the clock, so a
/// thief of a standing key cannot use them up: after a day at the most the member's own are higher again.
pub const SEQUENCE_AHEAD_MAX: i64 = LIFETIME_MAX_MS;
/// Serials in one standing; digests name delegations better.
const SERIALS_MAX: usize = 128;

/// A standing whose values satisfy their grammars and limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Whose word it is.
    pub member: MemberId,
    /// SHA-256 of its root's public key.
    pub root_digest: crate::Digest,
    /// Counts up; an older one is refused.
    pub sequence: u64,
    /// Serials of revoked delegations, ascending.
    pub revoked_serials: Vec<u64>,
    /// What else is revoked.
    pub revoked: Revoked,
    /// Signed at, milliseconds.
    pub issued_at_ms: i64,
    /// Ends at, milliseconds.
    pub expires_at_ms: i64,
    /// SHA-256 of the standing key's delegation.
    pub delegation_digest: crate::Digest,
}

fn ascending<T: Ord>(items: &[T], fault: &'static str) -> Result<(), StatementError> {
    if items.is_sorted_by(|a, b| a < b) { Ok(()) } else { Err(StatementError::Value(fault)) }
}

fn revoked_of(raw: &pb::Standing) -> Result<Revoked, StatementError> {
    ascending(&raw.revoked_delegations, "revoked delegations are not ascending")?;
    ascending(&raw.revoked_officers, "revoked officers are not ascending")?;
    ascending(&raw.ended_contracts, "ended contracts are not ascending")?;
    let versions: Vec<&String> = raw.ended_versions.iter().map(|ended| &ended.contract_id).collect();
    ascending(&versions, "ended versions are not ascending")?;
    let mut revoked = Revoked::default();
    for one in &raw.revoked_delegations {
        revoked.delegations.insert(digest(one, "a revoked delegation is not 32 bytes")?);
    }
    for ended in &raw.ended_versions {
        revoked.contracts.insert(ContractId::parse(&ended.contract_id)?, Some(ended.version));
    }
    for id in &raw.ended_contracts {
        if revoked.contracts.insert(ContractId::parse(id)?, None).is_some() {
            return Err(StatementError::Value("a contract is ended twice"));
        }
    }
    for officer in &raw.revoked_officers {
        revoked.officers.insert(Officer::parse(officer)?);
    }
    if revoked.fits() { Ok(revoked) } else { Err(StatementError::Value("a standing revokes too much")) }
}

impl Standing {
    /// Checks a payload.
    ///
    /// # Errors
    /// [`StatementError`] for what is not canonical, over a limit or outside its grammar.
    pub fn parse(payload: &Bytes) -> Result<Self, StatementError> {
        let raw = pb::Standing::decode(payload.clone()).map_err(|_| StatementError::NotCanonical)?;
        if !crate::canonical::is_canonical(&raw, payload) {
            return Err(StatementError::NotCanonical);
        }
        let life = raw.expires_at_ms.checked_sub(raw.issued_at_ms);
        if !life.is_some_and(|ms| (1..=LIFETIME_MAX_MS).contains(&ms)) {
            return Err(StatementError::Value("a standing lives at most 24 hours"));
        }
        let most = raw.issued_at_ms.saturating_add(SEQUENCE_AHEAD_MAX);
        if raw.sequence > u64::try_from(most).unwrap_or_default() {
            return Err(StatementError::Value("a standing's number is too far ahead of its time"));
        }
        ascending(&raw.revoked_serials, "revoked serials are not ascending")?;
        if raw.revoked_serials.len() > SERIALS_MAX {
            return Err(StatementError::Value("a standing revokes too much"));
        }
        Ok(Self {
            member: MemberId::parse(&raw.member)?,
            root_digest: digest(&raw.root_digest, "root_digest is not 32 bytes")?,
            sequence: raw.sequence,
            revoked: revoked_of(&raw)?,
            revoked_serials: raw.revoked_serials,
            issued_at_ms: raw.issued_at_ms,
            expires_at_ms: raw.expires_at_ms,
            delegation_digest: digest(&raw.delegation_digest, "delegation_digest is not 32 bytes")?,
        })
    }

    /// Signs a standing.
    pub fn sign(&self, key: &SecretKey) -> SignedStatement {
        let whole = |upto: &Option<u32>| upto.is_none();
        let raw = pb::Standing {
            member: self.member.as_str().to_owned(),
            root_digest: self.root_digest.to_vec().into(),
            sequence: self.sequence,
            revoked_serials: self.revoked_serials.clone(),
            ended_contracts: self
                .revoked
                .contracts
                .iter()
                .filter(|(_, upto)| whole(upto))
                .map(|(id, _)| id.as_str().to_owned())
                .collect(),
            issued_at_ms: self.issued_at_ms,
            expires_at_ms: self.expires_at_ms,
            revoked_delegations: self.revoked.delegations.iter().map(|d| d.to_vec().into()).collect(),
            ended_versions: self
                .revoked
                .contracts
                .iter()
                .filter_map(|(id, upto)| {
                    upto.map(|version| pb::EndedVersion { contract_id: id.as_str().to_owned(), version })
                })
                .collect(),
            revoked_officers: self.revoked.officers.iter().map(|id| id.as_str().to_owned()).collect(),
            delegation_digest: self.delegation_digest.to_vec().into(),
        };
        SignedStatement::sign(payload_type::STANDING, raw.encode_to_vec(), key)
    }

    /// Verifies a standing under the delegation of its key. The delegation's own signature was verified;
    /// whether its root counts is for the caller.
    ///
    /// # Errors
    /// [`StatementError`]: another kind, a bad signature, a key that may not sign this member's standings.
    pub fn open(signed: &SignedStatement, delegation: &Delegation) -> Result<Self, StatementError> {
        let standing = Self::parse(signed.verify(payload_type::STANDING, &delegation.key)?)?;
        let life = delegation.valid_until_ms.checked_sub(delegation.valid_from_ms);
        if life.is_none_or(|ms| ms > KEY_LIFE_MAX_MS) {
            return Err(StatementError::Value("the standing key lives longer than 7 days"));
        }
        let fits = delegation.role == Role::Standing
            && delegation.member == standing.member
            && delegation.digest == standing.delegation_digest
            && crate::sha256(delegation.root.as_bytes()) == standing.root_digest
            && delegation.valid_at(standing.issued_at_ms);
        if fits { Ok(standing) } else { Err(StatementError::Value("the key may not sign this standing")) }
    }

    /// Whether it may be relied on: not over, and not older than `age_ms`.
    pub fn in_force(&self, now_ms: i64, age_ms: i64) -> bool {
        now_ms.saturating_add(CLOCK_SKEW_MS) >= self.issued_at_ms
            && now_ms < self.expires_at_ms.min(self.issued_at_ms.saturating_add(age_ms))
    }

    /// Whether it may be entered in a ledger at a time: neither it, signed under `key`, nor that delegation is over. How
    /// old a word an exchange may rest on is for the exchange's contract ([`Self::in_force`]).
    pub fn holds_at(&self, key: &Delegation, time_ms: i64) -> bool {
        self.in_force(time_ms, i64::MAX) && key.valid_at(time_ms)
    }

    /// Whether it revokes a delegation of its member.
    pub fn revokes(&self, delegation: &Delegation) -> bool {
        self.revoked.delegations.contains(&delegation.digest)
            || self.revoked_serials.binary_search(&delegation.serial).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::AppId;

    fn delegation(days: i64, role: Role, of: &SecretKey) -> Delegation {
        let root = SecretKey::from_seed(&[1; 32]);
        let (member, name) = (MemberId::parse("police").unwrap(), AppId::parse("main").unwrap());
        let until = days * 24 * 3600 * 1000;
        Delegation::open(&Delegation::sign(&root, &member, role, &name, of.public(), 4, 0, until)).unwrap()
    }

    fn standing(delegation: &Delegation) -> Standing {
        Standing {
            member: delegation.member.clone(),
            root_digest: crate::sha256(delegation.root.as_bytes()),
            sequence: 9,
            revoked_serials: vec![3, 5],
            revoked: Revoked {
                delegations: [[1; 32], [2; 32]].into(),
                contracts: [("aaa".parse().unwrap(), None), ("bbb".parse().unwrap(), Some(2))].into(),
                officers: [Officer::parse("o-aaaaaaaaaaaaaaaa").unwrap()].into(),
            },
            issued_at_ms: 100_000,
            expires_at_ms: 160_000,
            delegation_digest: delegation.digest,
        }
    }

    #[test]
    fn a_standing_is_signed_by_its_members_standing_key_only() {
        let key = SecretKey::from_seed(&[2; 32]);
        let right = delegation(7, Role::Standing, &key);
        let said = standing(&right);
        assert_eq!(Standing::open(&said.sign(&key), &right).unwrap(), said);
        let stranger = SecretKey::from_seed(&[3; 32]);
        assert!(Standing::open(&said.sign(&stranger), &right).is_err());
        for wrong in [delegation(8, Role::Standing, &key), delegation(7, Role::Adapter, &key)] {
            let said = Standing { delegation_digest: wrong.digest, ..said.clone() };
            assert!(Standing::open(&said.sign(&key), &wrong).is_err());
        }
        let other = Standing { member: MemberId::parse("health").unwrap(), ..said.clone() };
        assert!(Standing::open(&other.sign(&key), &right).is_err());
        let early = Standing { issued_at_ms: -5, expires_at_ms: 10, ..said };
        assert!(Standing::open(&early.sign(&key), &right).is_err(), "before the key was delegated");
    }

    #[test]
    fn it_counts_until_its_end_or_the_age_that_a_contract_allows() {
        let said = standing(&delegation(7, Role::Standing, &SecretKey::from_seed(&[2; 32])));
        let day = LIFETIME_MAX_MS;
        assert!(said.in_force(159_999, day) && !said.in_force(160_000, day));
        assert!(said.in_force(109_999, 10_000) && !said.in_force(110_000, 10_000));
        assert!(said.in_force(70_000, day) && !said.in_force(69_999, day), "from 30 s before its issue on");
        let key = delegation(7, Role::Standing, &SecretKey::from_seed(&[2; 32]));
        assert!(said.holds_at(&key, 159_999) && !said.holds_at(&key, 160_000));
        assert!(said.holds_at(&key, 70_000) && !said.holds_at(&key, 69_999), "however old it is");
        let ended = Delegation { valid_until_ms: 120_000, ..key };
        assert!(said.holds_at(&ended, 119_999) && !said.holds_at(&ended, 120_000), "its key ends first");
        let mut revoked = delegation(9, Role::App, &SecretKey::from_seed(&[4; 32]));
        assert!(!said.revokes(&revoked));
        revoked.digest = [2; 32];
        assert!(said.revokes(&revoked));
        (revoked.digest, revoked.serial) = ([9; 32], 5);
        assert!(said.revokes(&revoked));
    }

    #[test]
    fn hostile_payloads_are_refused() {
        let key = SecretKey::from_seed(&[2; 32]);
        let good = standing(&delegation(7, Role::Standing, &key)).sign(&key);
        let raw = pb::Standing::decode(good.unverified_payload().clone()).unwrap();
        let bends: [fn(&mut pb::Standing); 10] = [
            |raw| raw.sequence = u64::MAX,
            |raw| raw.revoked_delegations.reverse(),
            |raw| raw.revoked_delegations.push(vec![3; 31].into()),
            |raw| raw.revoked_serials = vec![5, 5],
            |raw| raw.ended_contracts.push("bbb".to_owned()),
            |raw| raw.ended_versions.push(pb::EndedVersion { contract_id: "aba".to_owned(), version: 1 }),
            |raw| raw.revoked_officers = vec!["somebody".to_owned()],
            |raw| raw.expires_at_ms = raw.issued_at_ms + LIFETIME_MAX_MS + 1,
            |raw| raw.expires_at_ms = raw.issued_at_ms,
            |raw| raw.revoked_delegations = (0..=128_u8).map(|n| vec![n; 32].into()).collect(),
        ];
        for (at, bend) in bends.into_iter().enumerate() {
            let mut bent = raw.clone();
            bend(&mut bent);
            assert!(Standing::parse(&Bytes::from(bent.encode_to_vec())).is_err(), "bend {at}");
        }
        let mut extra = good.unverified_payload().to_vec();
        extra.extend_from_slice(&[0xc2, 0x3e, 0x01, b'x']);
        assert!(Standing::parse(&Bytes::from(extra)).is_err());
        assert!(Standing::parse(good.unverified_payload()).is_ok());
    }
}
