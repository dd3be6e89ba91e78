//! Passing on standings and revocations to the adapters that must know them.

use super::{Link, Links};
use crate::context::Hub;
use crate::views::Held;
use bytes::Bytes;
use yiwang_proto::delegation::Delegation;
use yiwang_proto::ids::MemberId;
use yiwang_proto::pb;

/// Standings in one frame: each is under 20 KiB at its largest, so a frame stays far below a message's limit.
const PER_FRAME: usize = 64;

impl Links {
    /// Sends to the adapters of these members, as far as they are linked. Who is not, gets all of it when it
    /// links again.
    pub fn relay(&self, members: Vec<MemberId>, standings: &[&Held], revocations: &[Bytes]) {
        for member in members {
            if let Some(link) = self.of(&member) {
                link.send_standings(standings.iter().copied(), revocations);
            }
        }
    }

    /// Closes every link whose adapter's key a test accepts.
    pub fn close_where(&self, gone: impl Fn(&Delegation) -> bool) {
        for member in self.connected() {
            if let Some(link) = self.of(&member)
                && gone(&link.delegation.delegation)
            {
                tracing::warn!(%member, "the link of an adapter that is revoked, or under a root that was replaced, is closed");
                link.close();
            }
        }
    }
}

impl Hub {
    /// All that an adapter must know before it serves. What it knows already costs it a look-up.
    pub(super) fn say_words(&self, link: &Link) {
        let (standings, revocations) = crate::standings::for_link(self, link.member());
        link.send_standings(standings.iter().map(AsRef::as_ref), &revocations);
    }
}

impl Link {
    /// Sends standings and revocations. A link that does not read them is closed: an adapter that is behind
    /// with them would refuse everything soon, and gets all of them when it links again.
    pub(super) fn send_standings<'a>(
        &self,
        standings: impl Iterator<Item = &'a Held>,
        revocations: &[Bytes],
    ) {
        let mut all: Vec<pb::SignedStanding> = standings.map(Held::to_pb).collect();
        let mut documents = revocations.to_vec();
        while !all.is_empty() || !documents.is_empty() {
            let frame = pb::LinkStandings {
                standings: all.split_off(all.len().saturating_sub(PER_FRAME)),
                revocations: documents.split_off(documents.len().saturating_sub(PER_FRAME)),
            };
            let frame = pb::HubFrame { kind: Some(pb::hub_frame::Kind::Standings(frame)) };
            if self.frames.try_send(frame).is_err() {
                tracing::warn!(member = %self.member, "standings could not be sent down the link; it is closed");
                self.close();
                return;
            }
        }
    }
}
