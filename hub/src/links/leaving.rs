//! A link that its adapter changes for another. What runs on it is answered on it; what comes meanwhile
//! waits for the next one, so that neither a new certificate nor an upgrade fails anybody's request.
//!
//! A change within one process takes milliseconds. Where something runs for longer than others can wait, it is put
//! off: the link goes on, and its adapter asks again. An adapter whose process is replaced goes in any case, and says
//! how long that may take.

use super::Link;
use crate::context::Hub;
use crate::limits::{LINK_BACK_MAX, LINK_HOLD};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

/// How often it is looked whether a link has nothing left to do.
const LOOK: Duration = Duration::from_millis(5);
/// From the last answer to the end of the link: its receipt follows when the entry is durable. One that
/// comes later is asked for on the next link.
const RECEIPTS: Duration = Duration::from_millis(50);

const STAYS: u8 = 0;
const CHANGES: u8 = 1;
const GOES: u8 = 2;

/// What an adapter said of a link's end.
#[derive(Default)]
pub(super) struct Leaving(AtomicU8);

impl Leaving {
    /// Anything at all.
    pub(super) fn is_said(&self) -> bool {
        self.0.load(Ordering::Acquire) != STAYS
    }

    /// It is changed for another; false where that was said, or more.
    fn change(&self) -> bool {
        self.0.compare_exchange(STAYS, CHANGES, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Its adapter goes; false where that was said: saying it again changes nothing.
    fn go(&self) -> bool {
        self.0.swap(GOES, Ordering::AcqRel) != GOES
    }

    /// The change is put off; false where its adapter goes by now.
    fn stay(&self) -> bool {
        self.0.compare_exchange(CHANGES, STAYS, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}

/// How long requests are held for the next link, by what is said of this one's end.
fn hold_of(back_within_ms: u32) -> Duration {
    match back_within_ms {
        0 => LINK_HOLD,
        some => Duration::from_millis(some.into()).min(LINK_BACK_MAX),
    }
}

/// Waits until nothing runs on a link and its last receipts are on their way.
async fn quiet(link: &Link) {
    loop {
        while link.running() > 0 {
            tokio::time::sleep(LOOK).await;
        }
        tokio::time::sleep(RECEIPTS).await;
        // Who had the link in hand when it was said may have come meanwhile; who comes now waits for the next one.
        if link.seal() {
            return;
        }
    }
}

impl Link {
    /// Takes nothing more, where nothing runs on it.
    fn seal(&self) -> bool {
        let pending = self.pending();
        let quiet = pending.is_empty();
        if quiet {
            self.sealed.store(true, Ordering::Release);
        }
        quiet
    }
}

impl Hub {
    /// Lets a link end when what runs on it is answered, and holds what comes meanwhile for the next one.
    pub(super) fn let_go(self: &Arc<Self>, link: &Arc<Link>, back_within_ms: u32) {
        if !self.links.is_current(link) {
            // Not yet admitted, or replaced already: there is nothing to change for another.
            link.closed.cancel();
            return;
        }
        let goes = back_within_ms > 0;
        if !(if goes { link.leaving.go() } else { link.leaving.change() }) {
            return;
        }
        let hold = hold_of(back_within_ms);
        let change = self.links.rooms.begin(&link.member, hold, link.sealing.clone());
        if !self.links.is_current(link) {
            // The next one came just before: nobody is waited for.
            self.links.rooms.give_up(&link.member, change);
        }
        let (hub, link) = (Arc::clone(self), Arc::clone(link));
        if goes {
            tracing::info!(member = %link.member, back_within_ms, "an adapter is replaced by its next process");
            self.tasks.spawn(async move { hub.replaced(&link, change, hold).await });
        } else {
            tracing::info!(member = %link.member, "an adapter changes its link");
            self.tasks.spawn(async move { hub.changed(&link, change).await });
        }
    }

    /// All of it within one time, which its adapter named: what is answered, the next process, its handshake.
    async fn replaced(&self, link: &Link, change: u64, hold: Duration) {
        let over = tokio::time::sleep(hold);
        tokio::pin!(over);
        tokio::select! {
            biased;
            () = link.closed.cancelled() => {}
            () = quiet(link) => {}
            () = over.as_mut() => {}
        }
        // Whatever still runs: its adapter would be gone by now.
        link.closed.cancel();
        // Stopped or not: nobody waits any longer.
        let _ = self.stop.run_until_cancelled(over).await;
        self.links.rooms.give_up(&link.member, change);
    }

    /// Its adapter has as long for the next link as requests are held.
    async fn changed(&self, link: &Link, change: u64) {
        let quiet = tokio::time::timeout(LINK_HOLD / 2, quiet(link));
        let ended = link.closed.run_until_cancelled(quiet).await;
        if ended.is_some_and(|quiet| quiet.is_err()) {
            tracing::info!(member = %link.member, "something runs for long: the change of the link is put off");
            if link.leaving.stay() {
                self.links.rooms.give_up(&link.member, change);
            }
            return;
        }
        link.closed.cancel();
        let _ = self.stop.run_until_cancelled(tokio::time::sleep(LINK_HOLD)).await;
        self.links.rooms.give_up(&link.member, change);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_goes_goes_once_and_no_put_off_change_keeps_it() {
        let leaving = Leaving::default();
        assert!(!leaving.is_said());
        assert!(leaving.change() && !leaving.change());
        assert!(leaving.stay() && !leaving.is_said());
        assert!(leaving.change() && leaving.go(), "one that changes may go");
        assert!(!leaving.go() && !leaving.change() && !leaving.stay(), "once, and for good");
        assert!(leaving.is_said());
    }

    #[test]
    fn a_hint_is_believed_within_bounds() {
        assert_eq!(hold_of(0), LINK_HOLD);
        assert_eq!(hold_of(700), Duration::from_millis(700));
        assert_eq!(hold_of(u32::MAX), LINK_BACK_MAX);
    }
}
