//! How long the stages of an exchange take: sums and counts, no histogram on the way of a request.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! stages {
    ($($name:ident = $text:literal),* $(,)?) => {
        /// The stages of an exchange, in order.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Stage { $(#[doc = $text] $name),* }
        const NAMES: &[&str] = &[$($text),*];
    };
}

stages! {
    Accept = "accept",
    Authenticate = "authenticate",
    Decide = "decide",
    Forward = "forward",
    Verify = "verify",
    Record = "record",
    Reply = "reply",
}

/// Sums of microseconds and counts.
#[derive(Debug, Default)]
pub struct StageTimes {
    sums: [AtomicU64; 7],
    counts: [AtomicU64; 7],
}

impl StageTimes {
    /// Adds one passage.
    pub fn add(&self, stage: Stage, us: u64) {
        let at = stage as usize;
        if let (Some(sum), Some(count)) = (self.sums.get(at), self.counts.get(at)) {
            sum.fetch_add(us, Ordering::Relaxed);
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Name, count and mean microseconds of each stage.
    pub fn means(&self) -> Vec<(&'static str, u64, f64)> {
        NAMES
            .iter()
            .zip(self.sums.iter().zip(&self.counts))
            .map(|(name, (sum, count))| {
                let (sum, count) = (sum.load(Ordering::Relaxed), count.load(Ordering::Relaxed));
                #[expect(clippy::cast_precision_loss, reason = "means for people")]
                let mean = if count == 0 { 0.0 } else { sum as f64 / count as f64 };
                (*name, count, mean)
            })
            .collect()
    }
}
