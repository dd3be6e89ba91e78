//! What one request waits for where the hub is not full: alone, and at a steady rate.

use super::{Figures, Form, LOOKUP, asking, turn};
use crate::bench::measure::{percentile, ratio};
use crate::bench::network::Network;
use crate::fail::Failure;
use crate::setup;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;

/// Seconds of each measurement.
const SECONDS: u64 = 5;
/// Requests that may be under way at a steady rate: two seconds of them. More means that the rate is not reached.
const UNDER_WAY_MAX: usize = 4096;

/// One in flight, then `rate` requests a second; times of the latter count from when each was due, so that
/// a pause is counted for every request that it held up.
pub async fn measure(network: &Network, rate: u64, sync_us: u64) -> Result<Value, Failure> {
    let mut alone = Figures::default();
    turn(SECONDS, 1, (0, 0), &mut alone, asking(network, Form::Calls, LOOKUP)?).await?;
    let (mut paced, refused) = steady(network, rate).await?;
    let ms = |us: u64| ratio(us, 1000);
    Ok(json!({
        "alone_p50_ms": ms(percentile(&mut alone.latencies, 50)),
        "alone_p99_ms": ms(percentile(&mut alone.latencies, 99)),
        "fdatasync_p50_ms": ms(sync_us),
        "steady_per_s": rate,
        "steady_p50_ms": ms(percentile(&mut paced, 50)),
        "steady_p99_ms": ms(percentile(&mut paced, 99)),
        "steady_refused": refused,
    }))
}

/// Times of those that were answered, and how many were turned away: where a machine stands still for a moment,
/// what it missed comes at once.
async fn steady(network: &Network, rate: u64) -> Result<(Vec<u64>, u64), Failure> {
    let (clock, one) = (setup::clock(), Arc::new(asking(network, Form::Calls, LOOKUP)?));
    let mut tasks = JoinSet::new();
    let (mut latencies, mut refused) = (Vec::new(), 0);
    let mut count = |done: Result<u64, Failure>| match done {
        Ok(latency) => latencies.push(latency),
        Err(_) => refused += 1,
    };
    let start = clock.monotonic_us();
    for number in 0..rate * SECONDS {
        let due = start + number * 1_000_000 / rate.max(1);
        let now = clock.monotonic_us();
        if due > now {
            tokio::time::sleep(Duration::from_micros(due - now)).await;
        }
        if tasks.len() >= UNDER_WAY_MAX {
            return Err(Failure::environment(format!(
                "this machine does not reach {rate} exchanges a second"
            )));
        }
        let (one, clock) = (Arc::clone(&one), Arc::clone(&clock));
        tasks.spawn(async move { one(number).await.map(|()| clock.monotonic_us().saturating_sub(due)) });
        while let Some(done) = tasks.try_join_next() {
            count(done.map_err(Failure::environment)?);
        }
    }
    while let Some(done) = tasks.join_next().await {
        count(done.map_err(Failure::environment)?);
    }
    Ok((latencies, refused))
}
