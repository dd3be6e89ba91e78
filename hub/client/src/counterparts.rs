//! What an app knows of its counterparts' words for longer than it runs: of each root the highest standing that
//! counted, and the revocations that it signed.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use yiwang_proto::Digest;
use yiwang_proto::document::{SignedDocument, base64_of, from_base64};
use yiwang_proto::keys::PublicKey;
use yiwang_proto::limits::DOCUMENT_MAX;
use yiwang_proto::revocation::Revocation;
use yiwang_proto::ticket::from_hex;

const FORMAT: &str = "yiwang-counterparts/1";
/// Roots: more than one department has counterparts, as at its adapter.
const ROOTS_MAX: usize = 4096;
/// Revocations of all roots, half a kilobyte each; and of one: what an honest hub enters for a member at the most, and the
/// last word of its root. None may take the others' places.
const REVOCATIONS_MAX: usize = 16_384;
const OF_ONE_MAX: usize = 1_025;

/// Why counterparts cannot be read or kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CounterpartsError {
    /// What was kept cannot be read.
    #[error(
        "{0}; it holds what other members revoked: put back a copy of it, or take it away once those members have told you \
         what they revoked, for it is then learnt anew from the hub"
    )]
    Spoilt(String),
    /// There is no room.
    #[error(
        "there is no room for more standings or revocations of other members; take away what you have no contract with"
    )]
    Full,
}

/// The highest standing under a root that counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Floor {
    /// Its number.
    pub sequence: u64,
    /// SHA-256 of its signed payload.
    pub digest: Digest,
}

/// What is kept, by root: 32 bytes each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counterparts {
    floors: BTreeMap<[u8; 32], Floor>,
    revocations: BTreeMap<Digest, (PublicKey, Bytes)>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    format: String,
    standings: Vec<RawFloor>,
    revocations: Vec<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFloor {
    root: String,
    sequence: u64,
    digest: String,
}

impl Counterparts {
    /// The highest standing under a root.
    #[must_use]
    pub fn floor(&self, root: &PublicKey) -> Option<Floor> {
        self.floors.get(root.as_bytes()).copied()
    }

    /// The revocations that a root signed.
    pub(crate) fn revocations(&self, root: &PublicKey) -> impl Iterator<Item = Revocation> {
        let of_root = self.revocations.values().filter(move |(of, _)| of == root);
        of_root.filter_map(|(_, bytes)| open(bytes.clone()))
    }

    /// Whether a revocation is kept.
    pub(crate) fn has(&self, revocation: &Revocation) -> bool {
        self.revocations.contains_key(&revocation.digest)
    }

    /// Raises a root's floor; a lower one changes nothing.
    pub(crate) fn raise(&mut self, root: &PublicKey, floor: Floor) {
        let held = self.floors.entry(*root.as_bytes()).or_insert(floor);
        if held.sequence < floor.sequence {
            *held = floor;
        }
    }

    /// Raises the floors of all roots that another knows.
    pub(crate) fn raise_all(&mut self, other: &Self) {
        for (root, floor) in &other.floors {
            let held = self.floors.entry(*root).or_insert(*floor);
            if held.sequence < floor.sequence {
                *held = *floor;
            }
        }
    }

    /// Adds a revocation that its root signed.
    pub(crate) fn add(&mut self, revocation: &Revocation, document: Bytes) {
        self.revocations.insert(revocation.digest, (revocation.root, document));
    }

    /// Adds what another knows: floors that are higher, revocations that are new. Yields whether anything was.
    ///
    /// # Errors
    /// [`CounterpartsError::Full`]; then nothing may be kept of it.
    pub fn merge(&mut self, more: &Self) -> Result<bool, CounterpartsError> {
        let mut changed = false;
        for (root, floor) in &more.floors {
            if self.floors.get(root).is_none_or(|held| held.sequence < floor.sequence) {
                self.floors.insert(*root, *floor);
                changed = true;
            }
        }
        for (digest, (root, document)) in &more.revocations {
            if self.revocations.contains_key(digest) {
                continue;
            }
            let of_root = self.revocations.values().filter(|(of, _)| of == root).count();
            if of_root >= OF_ONE_MAX {
                return Err(CounterpartsError::Full);
            }
            self.revocations.insert(*digest, (*root, document.clone()));
            changed = true;
        }
        if self.floors.len() > ROOTS_MAX || self.revocations.len() > REVOCATIONS_MAX {
            return Err(CounterpartsError::Full);
        }
        Ok(changed)
    }

    /// As a file holds it.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        let standings = self.floors.iter().map(|(root, floor)| RawFloor {
            root: yiwang_proto::hex(root),
            sequence: floor.sequence,
            digest: yiwang_proto::hex(&floor.digest),
        });
        let revocations = self.revocations.values();
        let raw = Raw {
            format: FORMAT.to_owned(),
            standings: standings.collect(),
            revocations: revocations.map(|(_, bytes)| base64_of(bytes)).collect(),
        };
        // Strings and numbers only: it cannot fail.
        serde_json::to_vec_pretty(&raw).unwrap_or_default()
    }

    /// Reads a file; each revocation is verified again.
    ///
    /// # Errors
    /// [`CounterpartsError::Spoilt`].
    pub fn from_json(json: &[u8]) -> Result<Self, CounterpartsError> {
        let spoilt = |what: &str| CounterpartsError::Spoilt(what.to_owned());
        let raw: Raw =
            serde_json::from_slice(json).map_err(|error| CounterpartsError::Spoilt(error.to_string()))?;
        if raw.format != FORMAT {
            return Err(spoilt("format is not `yiwang-counterparts/1`"));
        }
        let mut all = Self::default();
        for standing in raw.standings {
            let digest_of = |text: &str| from_hex(text).ok_or_else(|| spoilt("not 64 hexadecimal digits"));
            let floor = Floor { sequence: standing.sequence, digest: digest_of(&standing.digest)? };
            all.floors.insert(digest_of(&standing.root)?, floor);
        }
        for text in raw.revocations {
            let bytes = from_base64(&text).ok_or_else(|| spoilt("a revocation is not base64"))?;
            let bytes = Bytes::from(bytes);
            let revocation = open(bytes.clone()).ok_or_else(|| spoilt("a revocation does not hold"))?;
            all.add(&revocation, bytes);
        }
        Ok(all)
    }
}

fn open(document: Bytes) -> Option<Revocation> {
    let signed = SignedDocument::parse(document, DOCUMENT_MAX).ok()?;
    Revocation::open(&signed).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use yiwang_proto::ids::MemberId;
    use yiwang_proto::keys::SecretKey;
    use yiwang_proto::revocation::Revoked;

    fn revocation(root: u8, delegation: u16) -> (Revocation, Bytes) {
        let root = SecretKey::from_seed(&[root; 32]);
        let mut digest = [0; 32];
        digest[..2].copy_from_slice(&delegation.to_be_bytes());
        let list = Revoked { delegations: [digest].into(), ..Revoked::default() };
        let member = MemberId::parse("police").unwrap();
        let document = Revocation::sign(&root, &root.public(), &member, &list, false, 0);
        (Revocation::open(&document).unwrap(), document.bytes().clone())
    }

    fn with(floors: &[(u8, u64)], revocations: &[(u8, u16)]) -> Counterparts {
        let mut all = Counterparts::default();
        for (root, sequence) in floors {
            let root = SecretKey::from_seed(&[*root; 32]).public();
            all.raise(&root, Floor { sequence: *sequence, digest: [3; 32] });
        }
        for (root, delegation) in revocations {
            let (revocation, document) = revocation(*root, *delegation);
            all.add(&revocation, document);
        }
        all
    }

    #[test]
    fn what_two_programs_keep_is_the_highest_of_both_and_comes_back_from_a_file() {
        let mut all = with(&[(1, 5), (2, 9)], &[(1, 1)]);
        assert_eq!(all.merge(&with(&[(1, 6), (2, 8), (3, 1)], &[(1, 1), (2, 2)])), Ok(true));
        assert_eq!(all, with(&[(1, 6), (2, 9), (3, 1)], &[(1, 1), (2, 2)]));
        assert_eq!(all.merge(&with(&[(2, 8)], &[(1, 1)])), Ok(false));
        assert_eq!(Counterparts::from_json(&all.to_json()), Ok(all.clone()));
        let root = SecretKey::from_seed(&[2; 32]).public();
        assert_eq!(all.revocations(&root).count(), 1);
    }

    #[test]
    fn a_spoilt_file_says_what_to_do_and_one_root_does_not_take_the_places_of_others() {
        let text = String::from_utf8(with(&[(1, 5)], &[(1, 1)]).to_json()).unwrap();
        for (from, to) in [("/1", "/2"), ("\"standings\"", "\"standing\""), ("eyJ", "eyK"), ("0303", "03")] {
            let error = Counterparts::from_json(text.replacen(from, to, 1).as_bytes()).unwrap_err();
            assert!(error.to_string().contains("put back a copy"), "{from}: {error}");
        }
        let mut all = Counterparts::default();
        let many: Vec<(u8, u16)> = (0..1_025).map(|delegation| (1, delegation)).collect();
        assert_eq!(all.merge(&with(&[], &many)), Ok(true));
        assert_eq!(all.merge(&with(&[], &[(1, 1_025)])), Err(CounterpartsError::Full));
        assert_eq!(all.merge(&with(&[], &[(2, 1)])), Ok(true));
    }
}
