//! Time and randomness as values that are passed in, so that every test can move the clock and
//! repeat a seed. The only place where the system's clock and entropy are read.

use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// Tells the time. Callable from many threads at once; never blocks.
pub trait Clock: Send + Sync {
    /// Wall clock, milliseconds since 1970-01-01T00:00:00Z. May jump.
    fn now_ms(&self) -> i64;
    /// Microseconds since some fixed start; never goes back. For durations only.
    fn monotonic_us(&self) -> u64;
}

/// Gives random bytes fit for keys and salts. Callable from many threads at once.
pub trait Entropy: Send + Sync {
    /// Fills the whole buffer.
    fn fill(&self, buffer: &mut [u8]);
}

/// Random bytes as an array.
pub fn random<const N: usize>(entropy: &dyn Entropy) -> [u8; N] {
    let mut bytes = [0; N];
    entropy.fill(&mut bytes);
    bytes
}

/// The operating system's clock.
#[derive(Debug)]
pub struct SystemClock {
    start: std::time::Instant,
}

impl Default for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the monotonic clock")]
    fn default() -> Self {
        Self { start: std::time::Instant::now() }
    }
}

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
    fn now_ms(&self) -> i64 {
        match std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
            Err(before) => i64::try_from(before.duration().as_millis()).map(|ms| -ms).unwrap_or(i64::MIN),
        }
    }

    fn monotonic_us(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}

/// The operating system's random numbers.
#[derive(Debug, Default, Clone, Copy)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads system entropy")]
    fn fill(&self, buffer: &mut [u8]) {
        if getrandom::fill(buffer).is_err() {
            // A key or salt from bad randomness would be worse than a stopped process.
            std::process::abort();
        }
    }
}

/// A clock moved by hand, for tests.
#[derive(Debug)]
pub struct ManualClock {
    now_ms: AtomicI64,
    monotonic_us: AtomicU64,
}

impl ManualClock {
    /// Starts at a wall-clock time in milliseconds.
    pub fn new(now_ms: i64) -> Self {
        Self { now_ms: AtomicI64::new(now_ms), monotonic_us: AtomicU64::new(0) }
    }

    /// Moves both clocks on.
    pub fn advance_ms(&self, by: u64) {
        self.now_ms.fetch_add(i64::try_from(by).unwrap_or(i64::MAX), Ordering::SeqCst);
        self.monotonic_us.fetch_add(by.saturating_mul(1000), Ordering::SeqCst);
    }

    /// Sets the wall clock, also backwards; the monotonic clock stays.
    pub fn set_ms(&self, now_ms: i64) {
        self.now_ms.store(now_ms, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now_ms(&self) -> i64 {
        self.now_ms.load(Ordering::SeqCst)
    }

    fn monotonic_us(&self) -> u64 {
        self.monotonic_us.load(Ordering::SeqCst)
    }
}

/// Repeatable bytes from a seed, for tests and synthetic data; never for real keys.
#[derive(Debug)]
pub struct SeededEntropy {
    state: Mutex<(u64, u64)>,
}

impl SeededEntropy {
    /// The same seed gives the same bytes.
    pub fn new(seed: u64) -> Self {
        Self { state: Mutex::new((seed, 0)) }
    }
}

impl Entropy for SeededEntropy {
    fn fill(&self, buffer: &mut [u8]) {
        let mut state = match self.state.lock() {
            Ok(state) => state,
            Err(poisoned) => poisoned.into_inner(),
        };
        for chunk in buffer.chunks_mut(32) {
            let mut input = [0_u8; 16];
            let (seed, counter) = (state.0.to_le_bytes(), state.1.to_le_bytes());
            for (to, from) in input.iter_mut().zip(seed.iter().chain(counter.iter())) {
                *to = *from;
            }
            state.1 += 1;
            for (to, from) in chunk.iter_mut().zip(crate::sha256(&input)) {
                *to = from;
            }
        }
    }
}
