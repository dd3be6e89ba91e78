//! Syncs that last: a disk that stalls without failing.

use super::{SimulatedDisk, SimulatedFile};
use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

/// How often a stalled sync looks whether it may go on.
const LOOK: Duration = Duration::from_millis(1);

#[derive(Debug, Default)]
pub(super) struct Stall {
    on: AtomicBool,
    waiting: AtomicUsize,
}

impl SimulatedDisk {
    /// Whether syncs of data last until this is taken back.
    pub fn stall(&self, on: bool) {
        self.stall.on.store(on, Ordering::SeqCst);
    }

    /// Syncs that wait because of that.
    #[must_use]
    pub fn stalled(&self) -> usize {
        self.stall.waiting.load(Ordering::SeqCst)
    }
}

impl SimulatedFile {
    /// A crash ends the wait.
    pub(super) fn wait_while_stalled(&self) -> io::Result<()> {
        let stall = &self.disk.stall;
        stall.waiting.fetch_add(1, Ordering::SeqCst);
        let mut alive = Ok(());
        while alive.is_ok() && stall.on.load(Ordering::SeqCst) {
            std::thread::sleep(LOOK);
            alive = self.with(|_| Ok(()));
        }
        stall.waiting.fetch_sub(1, Ordering::SeqCst);
        alive
    }
}
