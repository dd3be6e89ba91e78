//! What may be kept: of the whole, of each member, and of the disk.

use crate::limits::FOLDED_MEMBERS_PART;
use std::collections::HashMap;
use std::path::Path;
use yiwang_proto::ids::MemberId;

/// Bytes that members have in the journal. One member that floods leaves the others three quarters of it.
#[derive(Debug)]
pub(super) struct Shares {
    each: u64,
    used: HashMap<MemberId, u64>,
}

impl Shares {
    pub fn of(limit: u64) -> Self {
        Self { each: limit / FOLDED_MEMBERS_PART, used: HashMap::new() }
    }

    /// What the journal holds already.
    pub fn add(&mut self, member: &MemberId, bytes: u64) {
        let used = self.used.entry(member.clone()).or_default();
        *used = used.saturating_add(bytes);
    }

    /// Takes bytes of a member's share, if it has so many left.
    pub fn take(&mut self, member: &MemberId, bytes: u64) -> bool {
        let used = self.used.get(member).copied().unwrap_or_default();
        let fits = used.saturating_add(bytes) <= self.each;
        if fits {
            self.add(member, bytes);
        }
        fits
    }

    /// Gives back what was not written after all.
    pub fn give_back(&mut self, member: &MemberId, bytes: u64) {
        if let Some(used) = self.used.get_mut(member) {
            *used = used.saturating_sub(bytes);
        }
    }
}

/// What a disk must have free: what is left to the ledger, and never less than two of its segments and their tiles.
pub(super) fn least_free(leave: u64, ledger_segment: u64) -> u64 {
    leave.max((ledger_segment / 8).saturating_add(ledger_segment.saturating_mul(2)))
}

/// The bytes that the disk has free, where they are fewer than so many.
pub(super) fn disk_lacks_room(dir: &Path, least: u64) -> Option<u64> {
    let at = if dir.exists() { Some(dir) } else { dir.parent() };
    // What cannot be asked is found out by the append itself.
    let disk = at.and_then(|at| rustix::fs::statvfs(at).ok())?;
    Some(disk.f_bavail.saturating_mul(disk.f_frsize)).filter(|free| *free < least)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_that_floods_leaves_the_others_their_shares() {
        let [a, b] = ["aa", "bb"].map(|name| MemberId::parse(name).unwrap());
        let mut shares = Shares::of(400);
        shares.add(&a, 60);
        assert!(shares.take(&a, 40) && !shares.take(&a, 1), "a quarter");
        assert!(shares.take(&b, 100) && !shares.take(&b, 1));
        shares.give_back(&a, 40);
        assert!(shares.take(&a, 40));
    }

    #[test]
    fn the_ledgers_room_is_left_on_the_disk() {
        assert_eq!(
            [64 << 20, 1 << 30].map(|segment| least_free(1 << 30, segment)),
            [1 << 30, (1 << 27) + (2 << 30)]
        );
        let dir = tempfile::tempdir().unwrap();
        assert!(disk_lacks_room(dir.path(), 1 << 60).is_some(), "no disk has that");
        assert!(disk_lacks_room(&dir.path().join("not-yet"), 1 << 60).is_some());
        assert_eq!(disk_lacks_room(dir.path(), 1), None);
    }
}
