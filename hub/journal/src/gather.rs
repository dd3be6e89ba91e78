//! Waiting a little so that one sync serves many: what a batch costs (a sync, a signature, wake-ups) is shared by
//! all records in it. Nothing waits while little is under way.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Work under way from which it pays to wait: below this, latency counts for more.
const BUSY: usize = 16;
/// The part of the work under way that is waited for: more would wait for the slowest.
const SHARE: usize = 4;
/// Records above which a longer batch hardly gets cheaper per record.
const ENOUGH: usize = 32;
/// One step of waiting, and how many at the most: together 2 ms, a tenth of what an exchange takes under such load.
const STEP: Duration = Duration::from_micros(500);
const STEPS: usize = 4;

/// Counts work that will end in a record, and lets the writing thread wait for some of it.
#[derive(Debug, Clone, Default)]
pub struct Gather(Arc<AtomicUsize>);

/// Work under way until dropped.
#[derive(Debug)]
pub struct UnderWay(Arc<AtomicUsize>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Gather {
    /// Something began that will end in a record.
    #[must_use]
    pub fn begin(&self) -> UnderWay {
        self.0.fetch_add(1, Ordering::Relaxed);
        UnderWay(Arc::clone(&self.0))
    }

    /// Records that a batch should hold before it is worth writing; 1 unless much is under way.
    fn wanted(&self) -> usize {
        let under_way = self.0.load(Ordering::Relaxed);
        if under_way < BUSY { 1 } else { (under_way / SHARE).min(ENOUGH) }
    }

    /// Blocks the calling thread until `waiting()` records wait, at most 2 ms. For the one thread that writes.
    pub fn wait(&self, waiting: impl Fn() -> usize) {
        for _ in 0..STEPS {
            if waiting() >= self.wanted() {
                return;
            }
            std::thread::sleep(STEP);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_waited_for_only_under_load_and_never_for_all() {
        let gather = Gather::default();
        assert_eq!(gather.wanted(), 1);
        let few: Vec<_> = (0..BUSY - 1).map(|_| gather.begin()).collect();
        assert_eq!(gather.wanted(), 1);
        let many: Vec<_> = (0..1000).map(|_| gather.begin()).collect();
        assert_eq!(gather.wanted(), ENOUGH);
        drop(many);
        let one = gather.begin();
        assert_eq!(gather.wanted(), BUSY / SHARE);
        drop((few, one));
        assert_eq!(gather.wanted(), 1, "what ended is not waited for");
    }

    #[test]
    fn waiting_ends_when_enough_has_come_and_when_nothing_comes() {
        let gather = Gather::default();
        let _under_way: Vec<_> = (0..64).map(|_| gather.begin()).collect();
        let looks = AtomicUsize::new(0);
        gather.wait(|| if looks.fetch_add(1, Ordering::Relaxed) == 2 { 16 } else { 0 });
        assert_eq!(looks.load(Ordering::Relaxed), 3);
        let looks = AtomicUsize::new(0);
        gather.wait(|| {
            looks.fetch_add(1, Ordering::Relaxed);
            0
        });
        assert_eq!(looks.load(Ordering::Relaxed), STEPS);
    }
}
