//! `yiwang bench soak`: a hub, an adapter and an app as real processes under faults for a long time. Nothing may grow:
//! memory and open files of hub and adapter are sampled all along, and the oracle judges at the end.
//!
//! Processes are killed in the first half of the warm-up and after the last sample only, and the adapter is upgraded before
//! the last kill. So what is compared are samples of one life of each process: the first and the last tenth of the time
//! after the warm-up, by their medians. Slow readers, denials, revocations and renewals go on all the time.

mod faults;
mod samples;

use super::load::{Load, Question, Seen, judge};
use super::network::{self, Network};
use crate::demo::process::Process;
use crate::fail::{Failure, Outcome};
use crate::setup;
use clap::Args;
use faults::Faults;
use samples::{Growth, Samples};
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use yiwang_audit::reconcile::Reconciled;

/// Longest warm-up: caches, allocator and connections have settled by then.
const WARM_UP_MAX: Duration = Duration::from_secs(600);
/// Growth after the warm-up that is still noise of the allocator, mebibytes.
const GROWTH_MAX_MIB: f64 = 5.0;
/// Descriptors that the lowest counts may differ by: a connection that is renewed is open twice for a moment.
const FILES_SLACK: u64 = 4;
/// Workers; with the default rate each asks about six times a second.
const WORKERS: u64 = 16;
/// Connections of the app.
const CONNECTIONS: usize = 2;
/// After the last kill: long enough for links to come back and for some thousand answers.
const LAST_LOAD: Duration = Duration::from_secs(5);
/// A start with its recovery, on a slow machine.
const BACK_WITHIN: Duration = Duration::from_secs(60);

const KEYS: &str = "JSON keys:
  hub, adapter               rss_after_warm_up_mib, rss_at_end_mib: medians of the first and last tenth after the warm-up;
                             rss_grown_mib (limit 5), rss_most_mib; files_min, files_max: open files after the warm-up,
                             without older segments that a journal keeps open (16 of each; older_segments_most);
                             files_lowest_first_and_last: fewest in those tenths (may differ by 4)
  answered, refused, lost, unverified   how exchanges ended (unverified must be 0)
  kills, rounds              what was broken, and how often; released_after_revocation must be 0
  upgrades                   of the adapter, SIGTERM and its next process; failed: requests meanwhile, must be 0
  oracle                     what reconcile says of apps' receipts, ledger and journal; folded_denials, mismatches
  passed, faults             the verdict and its reasons; the exit code is 1 unless passed
Processes are killed in the first half of the warm-up and after the last sample, so only samples of one life are compared.";

/// Arguments of `bench soak`.
#[derive(Args)]
#[command(after_help = KEYS)]
pub struct Arguments {
    /// Minutes under load; a third of them, ten at the most, are warm-up.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=10_080))]
    minutes: u64,
    /// Seconds in place of minutes, for a quick look; memory is not settled then.
    #[arg(long, conflicts_with = "minutes", value_parser = clap::value_parser!(u64).range(15..=600_000))]
    seconds: Option<u64>,
    /// Exchanges per second.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    rate: u64,
}

/// What came out.
pub struct Done {
    pub figures: Value,
    faults: Vec<String>,
}

impl Done {
    /// The exit code's reason.
    pub fn verdict(&self) -> Outcome {
        if self.faults.is_empty() { Ok(()) } else { Err(Failure::refused(self.faults.join("; "))) }
    }
}

/// The parts of a run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan {
    whole: Duration,
    warm_up: Duration,
}

impl Plan {
    fn of(arguments: &Arguments) -> Self {
        let seconds = arguments.seconds.unwrap_or_else(|| arguments.minutes.saturating_mul(60));
        let whole = Duration::from_secs(seconds);
        Self { whole, warm_up: (whole / 3).min(WARM_UP_MAX) }
    }

    /// Between two samples: two hundred of them, one to five seconds apart.
    fn step(&self) -> Duration {
        (self.whole / 200).clamp(Duration::from_secs(1), Duration::from_secs(5))
    }
}

pub async fn measure(arguments: &Arguments) -> Result<Done, Failure> {
    let plan = Plan::of(arguments);
    let dir = tempfile::tempdir().map_err(Failure::environment)?;
    let mut network = network::start(dir.path(), CONNECTIONS).await?;
    let question = Question::of(&network)?;
    let pause = Duration::from_secs_f64(count(WORKERS) / count(arguments.rate));
    let clock = setup::clock();
    let load = Load::start(network.clients.clone(), &question, (WORKERS, pause), Arc::clone(&clock));
    let faults = Faults::start(dir.path(), &network, question, plan.whole, clock).await?;
    let mut samples = Samples::default();
    run(&mut network, plan, &mut samples, &load).await?;
    let rounds = faults.end().await;
    // What has lived long is upgraded and killed once more, under load.
    let failed = upgrade(&mut network.provider.host, &load).await?;
    restart(&mut network.hub, &load).await?;
    restart(&mut network.provider.host, &load).await?;
    tokio::time::sleep(LAST_LOAD).await;
    let seen = load.end().await;
    network.stop().await;
    let received = vec![faults::received(dir.path())];
    let judged = judge(dir.path(), seen.acknowledged(), received)?;
    Ok(report(plan, &samples, &rounds, (seen.as_ref(), failed), &judged))
}

#[expect(clippy::cast_precision_loss, reason = "rates and sizes for people")]
fn count(number: u64) -> f64 {
    number as f64
}

/// Kills a process and starts it again; waits until something is answered.
async fn restart(process: &mut Process, load: &Load) -> Result<(), Failure> {
    process.kill().await;
    let since = load.now_us();
    process.start_again()?;
    match load.answered_after(since, BACK_WITHIN).await {
        Some(_) => Ok(()),
        None => Err(Failure::refused("nothing was answered within a minute of a restart; see the logs")),
    }
}

/// Requests that were not answered so far.
fn failed(seen: &Seen) -> u64 {
    [&seen.refused, &seen.lost, &seen.unverified].iter().map(|number| number.load(Ordering::Relaxed)).sum()
}

/// Stops the adapter in good order and starts its next process, under load; how many requests failed meanwhile.
async fn upgrade(host: &mut Process, load: &Load) -> Result<u64, Failure> {
    let before = failed(&load.seen);
    host.stop().await;
    let since = load.now_us();
    host.start_again()?;
    if load.answered_after(since, BACK_WITHIN).await.is_none() {
        return Err(Failure::refused("nothing was answered within a minute of an upgrade; see the logs"));
    }
    tokio::time::sleep(LAST_LOAD).await;
    Ok(failed(&load.seen).saturating_sub(before))
}

async fn run(network: &mut Network, plan: Plan, samples: &mut Samples, load: &Load) -> Result<(), Failure> {
    let begun_us = load.now_us();
    let elapsed = || Duration::from_micros(load.now_us().saturating_sub(begun_us));
    let mut kills = [(true, 2), (false, 5), (true, 8)].into_iter().peekable();
    let mut next = Duration::ZERO;
    while elapsed() < plan.whole {
        let at = elapsed();
        // Twentieths of the warm-up.
        if let Some((adapter, _)) = kills.next_if(|(_, part)| at >= plan.warm_up * *part / 20) {
            let process = if adapter { &mut network.provider.host } else { &mut network.hub };
            restart(process, load).await?;
        }
        samples.take(elapsed(), &network.hub, &network.provider.host);
        next += plan.step();
        tokio::time::sleep(next.saturating_sub(elapsed())).await;
    }
    Ok(())
}

fn report(
    plan: Plan,
    samples: &Samples,
    rounds: &faults::Rounds,
    (seen, failed_by_upgrade): (&Seen, u64),
    judged: &Reconciled,
) -> Done {
    let load = |number: &std::sync::atomic::AtomicU64| number.load(Ordering::Relaxed);
    let growth = [("hub", samples.hub(plan)), ("adapter", samples.adapter(plan))];
    let mut faults = Vec::new();
    for (name, grown) in &growth {
        faults.extend(grown.fault(name));
    }
    if !judged.is_clean() {
        faults.push(format!("the oracle found {} mismatches", judged.total));
    }
    if load(&seen.unverified) > 0 {
        faults.push(format!("{} answers did not verify", load(&seen.unverified)));
    }
    if failed_by_upgrade > 0 {
        faults.push(format!("{failed_by_upgrade} requests failed while the adapter was upgraded"));
    }
    if rounds.released > 0 {
        faults.push(format!("{} answers came under revoked keys", rounds.released));
    }
    let mismatches: Vec<_> = judged.mismatches.iter().take(10).collect();
    let mut figures = json!({
        "seconds": plan.whole.as_secs(),
        "warm_up_seconds": plan.warm_up.as_secs(),
        "answered": load(&seen.answered),
        "refused": load(&seen.refused),
        "lost": load(&seen.lost),
        "unverified": load(&seen.unverified),
        "kills": {"hub": 2, "adapter": 3},
        "upgrades": {"adapter": 1, "failed": failed_by_upgrade},
        "rounds": rounds.figures(),
        "oracle": {
            "clean": judged.is_clean(), "entries": judged.entries, "answers": judged.answered,
            "receipts": judged.receipts, "folded_denials": judged.folded_denials, "mismatches": mismatches,
        },
        "passed": faults.is_empty(),
        "faults": &faults,
    });
    if let Some(figures) = figures.as_object_mut() {
        figures.extend(growth.iter().map(|(name, grown)| ((*name).to_owned(), grown.figures())));
    }
    Done { figures, faults }
}

impl Growth {
    fn fault(&self, name: &str) -> Vec<String> {
        let mut faults = Vec::new();
        if self.lives != 1 {
            faults.push(format!("the {name} was started anew after the warm-up"));
        }
        if self.grown_mib > GROWTH_MAX_MIB {
            faults.push(format!("memory of the {name} grew by {:.1} MiB", self.grown_mib));
        }
        if self.files_lowest.0.abs_diff(self.files_lowest.1) > FILES_SLACK {
            let (first, last) = self.files_lowest;
            faults.push(format!("the {name} had {first} files open at least, and {last} at the end"));
        }
        faults
    }
}

/// The folder of a run, for its parts.
fn consumer(dir: &Path) -> Result<yiwang_client::folder::Folder, Failure> {
    setup::folder(&network::consumer_folder(dir))
}
