//! Keys for sealing that a refusal may rest on though no entry names them: kept so that one look costs no more than a
//! standing holds, however many keys a hub enters.

use super::State;
use std::collections::{HashMap, HashSet};
use yiwang_proto::delegation::{Delegation, Role};
use yiwang_proto::ids::MemberId;
use yiwang_proto::keys::PublicKey;
use yiwang_proto::request::Request;
use yiwang_proto::revocation::Revocation;
use yiwang_proto::standing::Standing;

/// The keys for sealing of all members, as they stand at an entry.
#[derive(Debug, Default)]
pub(super) struct SealingKeys {
    serials: HashMap<MemberId, HashSet<(PublicKey, u64)>>,
    /// Whose keys a root delegated.
    members: HashMap<PublicKey, HashSet<MemberId>>,
    /// Members with a key that was taken back under its root, which is for ever.
    taken_back: HashSet<MemberId>,
}

impl SealingKeys {
    /// Takes a delegation, and whether its root has taken it back already.
    pub fn take(&mut self, key: &Delegation, by_root: bool) {
        if key.role != Role::Sealing {
            return;
        }
        let member = || key.member.clone();
        self.serials.entry(member()).or_default().insert((key.root, key.serial));
        self.members.entry(key.root).or_default().insert(member());
        if by_root {
            self.taken_back.insert(member());
        }
    }
}

impl State<'_> {
    /// Notes whose keys a revocation takes back, once it counts.
    pub(super) fn take_back_sealing(&mut self, revocation: &Revocation) {
        if revocation.whole_root {
            // Whoever is in there is so for ever, and need not be looked at by the next one.
            let members = self.sealing.members.remove(&revocation.root);
            self.sealing.taken_back.extend(members.into_iter().flatten());
        }
        for digest in &revocation.revoked.delegations {
            if let Some(held) = self.delegations.get(digest)
                && held.delegation.role == Role::Sealing
                && held.delegation.root == revocation.root
            {
                self.sealing.taken_back.insert(held.delegation.member.clone());
            }
        }
    }

    /// Whether a refusal may rest on the key that the request was sealed to: its delegation is named in the
    /// body, which no entry holds, so any revoked one of the provider's counts.
    pub(super) fn unseen_key_revoked(&self, request: &Request) -> bool {
        let provider = &request.provider;
        request.sealing.is_some()
            && (self.sealing.taken_back.contains(provider) || self.sealing_key_said(provider))
    }

    /// Whether a member's newest standing, or its last one under a root that was replaced, revokes one of its keys for sealing.
    fn sealing_key_said(&self, member: &MemberId) -> bool {
        self.words.of(member).any(|(root, said)| self.revokes_sealing(member, root, said))
    }

    fn revokes_sealing(&self, member: &MemberId, root: &PublicKey, said: &Standing) -> bool {
        let sealing =
            |key: &Delegation| key.role == Role::Sealing && key.member == *member && key.root == *root;
        let serials = self.sealing.serials.get(member);
        said.revoked.delegations.iter().any(|digest| self.delegation_of(digest).is_some_and(sealing))
            || said
                .revoked_serials
                .iter()
                .any(|serial| serials.is_some_and(|serials| serials.contains(&(*root, *serial))))
    }
}
