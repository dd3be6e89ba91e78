//! A link that its adapter changes for another. What runs on it is answered on it; what comes meanwhile
//! waits for the next one, so that a new certificate fails nobody's request.

use super::{Link, Links};
use crate::context::Hub;
use crate::limits::{LINK_HELD_MAX, LINK_HOLD};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Semaphore, watch};
use yiwang_proto::ids::MemberId;

/// How often it is looked whether a link has nothing left to do.
const LOOK: Duration = Duration::from_millis(5);
/// From the last answer to the end of the link: its receipt follows when the entry is durable. One that
/// comes later is asked for on the next link.
const RECEIPTS: Duration = Duration::from_millis(50);

/// Who comes back at once, and whoever waits for them.
pub(super) struct Returning {
    /// With the number of the change, so that the end of one is not the end of the next.
    members: Mutex<HashMap<MemberId, u64>>,
    changes: AtomicU64,
    changed: watch::Sender<()>,
    places: Semaphore,
}

impl Default for Returning {
    fn default() -> Self {
        Self {
            members: Mutex::default(),
            changes: AtomicU64::default(),
            changed: watch::Sender::new(()),
            places: Semaphore::new(LINK_HELD_MAX),
        }
    }
}

impl Returning {
    fn members(&self) -> std::sync::MutexGuard<'_, HashMap<MemberId, u64>> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn expects(&self, member: &MemberId) -> bool {
        self.members().contains_key(member)
    }

    fn begin(&self, member: &MemberId) -> u64 {
        let change = self.changes.fetch_add(1, Ordering::Relaxed);
        self.members().insert(member.clone(), change);
        change
    }

    /// A new link is there.
    pub(super) fn back(&self, member: &MemberId) {
        if self.members().remove(member).is_some() {
            self.changed.send_replace(());
        }
    }

    /// Nobody waits any longer for what was announced by this change.
    fn give_up(&self, member: &MemberId, change: u64) {
        let mut members = self.members();
        if members.get(member) == Some(&change) {
            members.remove(member);
            drop(members);
            self.changed.send_replace(());
        }
    }
}

impl Links {
    /// The link that new requests go to. Waits for it where the adapter said that it comes back at once.
    pub(super) async fn serving(&self, member: &MemberId) -> Option<Arc<Link>> {
        let mut changed = self.returning.changed.subscribe();
        if !self.returning.expects(member) {
            return self.of(member);
        }
        let _place = self.returning.places.try_acquire().ok()?;
        let back = async { while self.returning.expects(member) && changed.changed().await.is_ok() {} };
        // Who is not back by then is away like anybody else.
        let _ = tokio::time::timeout(LINK_HOLD, back).await;
        self.of(member).filter(|link| !link.leaving.load(Ordering::Acquire))
    }
}

impl Hub {
    /// Lets a link end when what runs on it is answered. Its adapter has as long for the next one as
    /// requests are held.
    pub(super) fn let_go(self: &Arc<Self>, link: &Arc<Link>) {
        if link.leaving.swap(true, Ordering::AcqRel) {
            return;
        }
        let current = self.links.of(&link.member).is_some_and(|current| Arc::ptr_eq(&current, link));
        if !current {
            return;
        }
        let change = self.links.returning.begin(&link.member);
        tracing::info!(member = %link.member, "an adapter changes its link");
        let (hub, link) = (Arc::clone(self), Arc::clone(link));
        self.tasks.spawn(async move {
            let quiet = async {
                while link.running() > 0 {
                    tokio::time::sleep(LOOK).await;
                }
                tokio::time::sleep(RECEIPTS).await;
            };
            let _ = link.closed.run_until_cancelled(tokio::time::timeout(LINK_HOLD / 2, quiet)).await;
            link.closed.cancel();
            // Stopped or not: nobody waits any longer.
            let _ = hub.stop.run_until_cancelled(tokio::time::sleep(LINK_HOLD)).await;
            hub.links.returning.give_up(&link.member, change);
        });
    }
}
