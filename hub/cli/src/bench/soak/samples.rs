//! Memory and open files of two processes over time.

use super::{Plan, count};
use crate::bench::measure::{OpenFiles, open_files, rss_kib};
use crate::demo::process::Process;
use serde_json::{Value, json};
use std::time::Duration;

/// One look at one process.
#[derive(Debug, Clone, Copy)]
struct Sample {
    at: Duration,
    process: u32,
    rss_kib: u64,
    files: OpenFiles,
}

/// All of them.
#[derive(Default)]
pub struct Samples {
    hub: Vec<Sample>,
    adapter: Vec<Sample>,
}

/// What became more after the warm-up, within one life of a process.
pub struct Growth {
    /// Processes that were sampled after the warm-up: one, or nothing is comparable.
    pub lives: usize,
    pub rss_first_mib: f64,
    pub rss_last_mib: f64,
    pub rss_most_mib: f64,
    pub grown_mib: f64,
    /// Fewest and most open files after the warm-up.
    pub files: (u64, u64),
    /// Most older segments, which are not among them.
    pub older_segments: u64,
    /// Fewest in the first and in the last tenth: what leaks is never closed, so it raises the lowest count.
    pub files_lowest: (u64, u64),
}

impl Samples {
    pub fn take(&mut self, at: Duration, hub: &Process, adapter: &Process) {
        for (process, samples) in [(hub, &mut self.hub), (adapter, &mut self.adapter)] {
            let Some(process) = process.id() else { continue };
            if let (Some(rss_kib), Some(files)) = (rss_kib(process), open_files(process)) {
                samples.push(Sample { at, process, rss_kib, files });
            }
        }
    }

    pub fn hub(&self, plan: Plan) -> Growth {
        Growth::of(&self.hub, plan)
    }

    pub fn adapter(&self, plan: Plan) -> Growth {
        Growth::of(&self.adapter, plan)
    }
}

fn mib(kib: u64) -> f64 {
    (count(kib) / 1024.0 * 10.0).round() / 10.0
}

fn median(mut values: Vec<u64>) -> u64 {
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or_default()
}

impl Growth {
    fn of(samples: &[Sample], plan: Plan) -> Self {
        let tenth = (plan.whole - plan.warm_up) / 10;
        let settled: Vec<Sample> =
            samples.iter().filter(|sample| sample.at >= plan.warm_up).copied().collect();
        let first = |sample: &&Sample| sample.at < plan.warm_up + tenth;
        let last = |sample: &&Sample| sample.at >= plan.whole - tenth;
        let rss = |part: &dyn Fn(&&Sample) -> bool| {
            median(settled.iter().filter(part).map(|sample| sample.rss_kib).collect())
        };
        let fewest = |part: &dyn Fn(&&Sample) -> bool| {
            settled.iter().filter(part).map(|sample| sample.files.files).min().unwrap_or_default()
        };
        let mut lives: Vec<u32> = settled.iter().map(|sample| sample.process).collect();
        lives.dedup();
        let (rss_first, rss_last) = (rss(&first), rss(&last));
        let files = settled.iter().map(|sample| sample.files.files);
        let older_segments = settled.iter().map(|sample| sample.files.older_segments).max();
        Self {
            lives: lives.len(),
            rss_first_mib: mib(rss_first),
            rss_last_mib: mib(rss_last),
            rss_most_mib: mib(settled.iter().map(|sample| sample.rss_kib).max().unwrap_or_default()),
            grown_mib: mib(rss_last) - mib(rss_first),
            files: (files.clone().min().unwrap_or_default(), files.max().unwrap_or_default()),
            older_segments: older_segments.unwrap_or_default(),
            files_lowest: (fewest(&first), fewest(&last)),
        }
    }

    pub fn figures(&self) -> Value {
        json!({
            "rss_after_warm_up_mib": self.rss_first_mib,
            "rss_at_end_mib": self.rss_last_mib,
            "rss_most_mib": self.rss_most_mib,
            "rss_grown_mib": (self.grown_mib * 10.0).round() / 10.0,
            "files_min": self.files.0,
            "files_max": self.files.1,
            "older_segments_most": self.older_segments,
            "files_lowest_first_and_last": [self.files_lowest.0, self.files_lowest.1],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(rss: impl Fn(u64) -> u64, files: impl Fn(u64) -> u64) -> Vec<Sample> {
        let one = |second| Sample {
            at: Duration::from_secs(second),
            process: if second < 20 { 1 } else { 2 },
            rss_kib: rss(second),
            files: OpenFiles { files: files(second), older_segments: second / 20 },
        };
        (0..300).map(one).collect()
    }

    fn plan() -> Plan {
        Plan { whole: Duration::from_secs(300), warm_up: Duration::from_secs(100) }
    }

    #[test]
    fn what_leaks_shows_and_what_swings_does_not() {
        let flat = Growth::of(&samples(|s| 40_000 + s % 7 * 900, |s| 20 + s % 9 * 5), plan());
        assert_eq!((flat.lives, flat.files, flat.files_lowest), (1, (20, 60), (20, 20)));
        assert_eq!(flat.older_segments, 14, "they come with time, and are no leak");
        assert!(flat.fault("hub").is_empty() && flat.grown_mib.abs() < 1.0);
        let leaks = Growth::of(&samples(|s| 40_000 + s * 50, |s| 20 + s / 10), plan());
        assert_eq!(leaks.fault("hub").len(), 2, "{:?}", leaks.fault("hub"));
    }

    #[test]
    fn what_grows_in_the_warm_up_only_is_not_held_against_it() {
        let settles = Growth::of(&samples(|s| 20_000 + s.min(90) * 900, |_| 20), plan());
        assert!(settles.fault("hub").is_empty());
        let mut restarted = samples(|_| 40_000, |_| 20);
        restarted
            .iter_mut()
            .filter(|sample| sample.at > Duration::from_secs(200))
            .for_each(|s| s.process = 3);
        assert_eq!(Growth::of(&restarted, plan()).fault("hub").len(), 1);
    }
}
