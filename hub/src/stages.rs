//! How long the stages of an exchange take. A measurement is two relaxed additions.

use yiwang_telemetry::Histogram;

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

/// Durations by stage.
#[derive(Debug, Default)]
pub struct StageTimes([Histogram; NAMES.len()]);

impl StageTimes {
    /// Adds one passage.
    pub fn add(&self, stage: Stage, us: u64) {
        if let Some(histogram) = self.0.get(stage as usize) {
            histogram.add(us);
        }
    }

    /// Name and durations of each stage.
    pub fn histograms(&self) -> impl Iterator<Item = (&'static str, &Histogram)> {
        NAMES.iter().copied().zip(&self.0)
    }

    /// Name, count and mean microseconds of each stage.
    pub fn means(&self) -> Vec<(&'static str, u64, f64)> {
        self.histograms()
            .map(|(name, histogram)| {
                let (sum, count) = (histogram.sum_us(), histogram.count());
                #[expect(clippy::cast_precision_loss, reason = "means for people")]
                let mean = if count == 0 { 0.0 } else { sum as f64 / count as f64 };
                (name, count, mean)
            })
            .collect()
    }
}
