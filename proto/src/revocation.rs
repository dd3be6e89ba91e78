//! What a member revoked, and the document that its root signs about it. A revocation under the root is for
//! ever and outranks every standing; a standing says the same for its own short life.

use crate::Digest;
use crate::delegation::DelegationError;
use crate::document::SignedDocument;
use crate::envelope::payload_type;
use crate::ids::{ContractId, MemberId, Officer};
use crate::keys::{PublicKey, SecretKey};
use crate::time::{format_rfc3339, parse_rfc3339};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Delegations in one list: a member's keys of some years; a list must fit a statement of 16 KiB.
pub const DELEGATIONS_MAX: usize = 128;
/// Contracts in one list, for the same reason.
pub const CONTRACTS_MAX: usize = 64;
/// Officers in one list, for the same reason.
pub const OFFICERS_MAX: usize = 128;

/// A set of things that no longer count.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Revoked {
    /// Delegations by the SHA-256 of their signed payload.
    pub delegations: BTreeSet<Digest>,
    /// Contracts: all versions, or those up to a version.
    pub contracts: BTreeMap<ContractId, Option<u32>>,
    /// Officers by pseudonym.
    pub officers: BTreeSet<Officer>,
}

impl Revoked {
    /// Whether nothing is revoked.
    pub fn is_empty(&self) -> bool {
        self.delegations.is_empty() && self.contracts.is_empty() && self.officers.is_empty()
    }

    /// Whether a version of a contract is ended.
    pub fn ends(&self, contract: &ContractId, version: u32) -> bool {
        self.contracts.get(contract).is_some_and(|upto| upto.is_none_or(|upto| version <= upto))
    }

    /// Whether the officer may no longer act; an exchange without officer has none to revoke.
    pub fn officer(&self, officer: Option<&Officer>) -> bool {
        officer.is_some_and(|officer| self.officers.contains(officer))
    }

    /// Takes in another set.
    pub fn merge(&mut self, other: &Self) {
        self.delegations.extend(other.delegations.iter().copied());
        self.officers.extend(other.officers.iter().cloned());
        for (contract, upto) in &other.contracts {
            let entry = self.contracts.entry(contract.clone()).or_insert(*upto);
            *entry = match (*entry, *upto) {
                (Some(old), Some(new)) => Some(old.max(new)),
                _ => None,
            };
        }
    }

    /// Whether the other set holds nothing that this one does not.
    pub fn covers(&self, other: &Self) -> bool {
        let mut both = self.clone();
        both.merge(other);
        both == *self
    }

    /// Whether it fits a standing or a document.
    pub fn fits(&self) -> bool {
        self.delegations.len() <= DELEGATIONS_MAX
            && self.contracts.len() <= CONTRACTS_MAX
            && self.officers.len() <= OFFICERS_MAX
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawContract {
    id: ContractId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    up_to_version: Option<u32>,
}

/// [`Revoked`] as it stands in documents and files.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRevoked {
    #[serde(default)]
    delegations: Vec<String>,
    #[serde(default)]
    contracts: Vec<RawContract>,
    #[serde(default)]
    officers: Vec<Officer>,
}

impl RawRevoked {
    fn of(revoked: &Revoked) -> Self {
        Self {
            delegations: revoked.delegations.iter().map(|digest| crate::hex(digest)).collect(),
            contracts: revoked
                .contracts
                .iter()
                .map(|(id, up_to_version)| RawContract { id: id.clone(), up_to_version: *up_to_version })
                .collect(),
            officers: revoked.officers.iter().cloned().collect(),
        }
    }

    fn check(self) -> Result<Revoked, &'static str> {
        let mut revoked = Revoked { officers: self.officers.into_iter().collect(), ..Revoked::default() };
        for text in &self.delegations {
            let digest = crate::digest_of_hex(text).ok_or("a delegation is not 64 hexadecimal digits")?;
            revoked.delegations.insert(digest);
        }
        for contract in self.contracts {
            let one = BTreeMap::from([(contract.id, contract.up_to_version)]);
            revoked.merge(&Revoked { contracts: one, ..Revoked::default() });
        }
        if revoked.fits() { Ok(revoked) } else { Err("more is revoked than one list may hold") }
    }
}

impl Revoked {
    /// The JSON of a member's own list.
    pub fn to_json(&self) -> Vec<u8> {
        // A struct of strings and numbers always serialises.
        serde_json::to_vec_pretty(&RawRevoked::of(self)).unwrap_or_default()
    }

    /// Reads the JSON of a member's own list.
    ///
    /// # Errors
    /// In words, what is wrong with it.
    pub fn from_json(json: &[u8]) -> Result<Self, String> {
        let raw: RawRevoked = serde_json::from_slice(json).map_err(|error| error.to_string())?;
        raw.check().map_err(str::to_owned)
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    format: String,
    member: MemberId,
    root: PublicKey,
    signed_by: PublicKey,
    whole_root: bool,
    revoked: RawRevoked,
    issued_at: String,
}

const FORMAT: &str = "yiwang-revocation/1";

/// A revocation whose signature was verified under the key that it names as signer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revocation {
    /// Who revokes.
    pub member: MemberId,
    /// The root that it is about.
    pub root: PublicKey,
    /// The root, or the next root that the member's card commits to.
    pub signer: PublicKey,
    /// Whether the root itself is revoked, with everything under it.
    pub whole_root: bool,
    /// What is revoked.
    pub revoked: Revoked,
    /// When it was signed, milliseconds.
    pub issued_at_ms: i64,
    /// SHA-256 of the signed payload.
    pub digest: Digest,
}

impl Revocation {
    /// Verifies a document under the signer that it names itself. Whether that signer counts is said by
    /// [`Revocation::counts_under`].
    ///
    /// # Errors
    /// [`DelegationError`], as for any document of a root.
    pub fn open(document: &SignedDocument) -> Result<Self, DelegationError> {
        let text = |what: &str| DelegationError::Text(what.to_owned());
        let raw: Raw = serde_json::from_slice(document.unverified_payload())
            .map_err(|error| DelegationError::Text(error.to_string()))?;
        if raw.format != FORMAT {
            return Err(text("format is not `yiwang-revocation/1`"));
        }
        document.verify(payload_type::REVOCATION, &raw.signed_by)?;
        let revoked = raw.revoked.check().map_err(text)?;
        if revoked.is_empty() && !raw.whole_root {
            return Err(text("it revokes nothing"));
        }
        Ok(Self {
            member: raw.member,
            root: raw.root,
            signer: raw.signed_by,
            whole_root: raw.whole_root,
            revoked,
            issued_at_ms: parse_rfc3339(&raw.issued_at)?,
            digest: document.digest(),
        })
    }

    /// Whether it counts for a root: signed by it, or by the next root that a card committed to.
    pub fn counts_under(&self, root: &PublicKey, next_root: Option<&Digest>) -> bool {
        self.root == *root
            && (self.signer == *root
                || next_root.is_some_and(|next| crate::sha256(self.signer.as_bytes()) == *next))
    }

    /// Signs a revocation. `signer` is the root, or the next root where the root is lost.
    pub fn sign(
        signer: &SecretKey,
        root: &PublicKey,
        member: &MemberId,
        revoked: &Revoked,
        whole_root: bool,
        issued_at_ms: i64,
    ) -> SignedDocument {
        let raw = Raw {
            format: FORMAT.to_owned(),
            member: member.clone(),
            root: *root,
            signed_by: signer.public(),
            whole_root,
            revoked: RawRevoked::of(revoked),
            issued_at: format_rfc3339(issued_at_ms),
        };
        // A struct of strings and lists always serialises.
        let payload = serde_json::to_vec(&raw).unwrap_or_default();
        SignedDocument::sign(payload_type::REVOCATION, &payload, &[signer])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some() -> Revoked {
        let contracts = [("gas-street-benefit", Some(3)), ("police-street-person", None)];
        Revoked {
            delegations: [[7; 32]].into(),
            contracts: contracts.map(|(id, upto)| (ContractId::parse(id).unwrap(), upto)).into(),
            officers: [Officer::parse("o-aaaaaaaaaaaaaaaa").unwrap()].into(),
        }
    }

    #[test]
    fn a_list_says_which_versions_it_ends_and_only_grows() {
        let mut list = some();
        let (gas, police) = ("gas-street-benefit", "police-street-person");
        let ends = |list: &Revoked, id, version| list.ends(&ContractId::parse(id).unwrap(), version);
        assert!(ends(&list, gas, 3) && !ends(&list, gas, 4) && ends(&list, police, u32::MAX));
        let higher = Revoked { contracts: [(gas.parse().unwrap(), Some(5))].into(), ..Revoked::default() };
        assert!(!list.covers(&higher));
        list.merge(&higher);
        assert!(ends(&list, gas, 5) && list.covers(&higher) && list.covers(&some()));
        assert_eq!(Revoked::from_json(&list.to_json()).unwrap(), list);
        assert!(Revoked::from_json(br#"{"delegations":["zz"]}"#).is_err());
        assert!(Revoked::from_json(br#"{"keys":[]}"#).is_err(), "unknown keys are refused");
    }

    #[test]
    fn a_revocation_counts_under_its_root_or_the_next_one() {
        let [root, next, other] = [1, 2, 3].map(|seed| SecretKey::from_seed(&[seed; 32]));
        let member = MemberId::parse("police").unwrap();
        let commits = crate::sha256(next.public().as_bytes());
        for (signer, counts) in [(&root, true), (&next, true), (&other, false)] {
            let document = Revocation::sign(signer, &root.public(), &member, &some(), false, 1000);
            let opened = Revocation::open(&document).unwrap();
            assert_eq!((&opened.revoked, opened.whole_root), (&some(), false));
            assert_eq!(opened.counts_under(&root.public(), Some(&commits)), counts);
            assert!(!opened.counts_under(&other.public(), None));
            let forged = SignedDocument::sign(
                payload_type::REVOCATION,
                document.unverified_payload(),
                &[&member_key()],
            );
            assert!(Revocation::open(&forged).is_err());
        }
        let nothing = Revocation::sign(&root, &root.public(), &member, &Revoked::default(), false, 0);
        assert!(Revocation::open(&nothing).is_err());
    }

    fn member_key() -> SecretKey {
        SecretKey::from_seed(&[9; 32])
    }
}
