//! What follows from the seed: time and chance.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use yiwang_proto::ambient::{Clock, Entropy, SeededEntropy, random};

/// The one time of a simulation. The driver moves it before each step.
#[derive(Default)]
pub struct Time(AtomicU64);

impl Time {
    pub fn set(&self, elapsed: Duration) {
        self.0.store(u64::try_from(elapsed.as_micros()).unwrap(), Ordering::SeqCst);
    }

    /// Milliseconds since the start.
    pub fn ms(&self) -> u64 {
        self.0.load(Ordering::SeqCst) / 1000
    }
}

/// One machine's clock: a little off.
pub struct HostClock {
    pub time: Arc<Time>,
    /// Wall clock at the start.
    pub from_ms: i64,
}

impl Clock for HostClock {
    fn now_ms(&self) -> i64 {
        self.from_ms + i64::try_from(self.time.ms()).unwrap()
    }

    fn monotonic_us(&self) -> u64 {
        self.time.0.load(Ordering::SeqCst)
    }
}

/// Numbers that follow from a seed.
pub struct Dice(SeededEntropy);

impl Dice {
    /// `of` keeps the numbers of several dice of one seed apart.
    pub fn new(seed: u64, of: &str) -> Self {
        Self(seeded(seed, of))
    }

    /// Below a bound that is not 0.
    pub fn below(&self, bound: u64) -> u64 {
        u64::from_be_bytes(random(&self.0)) % bound
    }

    pub fn between(&self, from: u64, to: u64) -> u64 {
        from + self.below(to - from + 1)
    }

    /// True in so many of a hundred cases.
    pub fn percent(&self, chance: u64) -> bool {
        self.below(100) < chance
    }

    pub fn pick<'a, T>(&self, of: &'a [T]) -> &'a T {
        &of[usize::try_from(self.below(of.len() as u64)).unwrap()]
    }

    pub fn ms(&self, from: u64, to: u64) -> Duration {
        Duration::from_millis(self.between(from, to))
    }
}

/// Randomness of one party.
pub fn seeded(seed: u64, of: &str) -> SeededEntropy {
    let mut input = seed.to_be_bytes().to_vec();
    input.extend(of.bytes());
    let digest = yiwang_proto::sha256(&input);
    SeededEntropy::new(u64::from_be_bytes(digest[..8].try_into().unwrap()))
}

/// As a value to hand on.
pub fn entropy(seed: u64, of: &str) -> Arc<dyn Entropy> {
    Arc::new(seeded(seed, of))
}
