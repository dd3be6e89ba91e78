//! The whole town from one seed: the real hub, adapters, witnesses and apps as tasks of turmoil's runtimes, over its
//! network, in its time. Whatever goes wrong in a run goes wrong again with the same seed:
//!
//! ```text
//! YIWANG_SEED=17 cargo test --locked --workspace --test simulation -- --nocapture f25_many
//! ```
//!
//! Real: TLS, HTTP/2, gRPC, every stage of an exchange, ledger, journals, recovery, standings, links, witnesses, the
//! client's verification, the offline verifier. In other clothes: sockets (turmoil's), threads (tasks, see
//! `yiwang_journal::ground`), clocks and chance (the seed's), disks below segments (they lose what was not synced),
//! and registers (memory).

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

#[path = "simulation/apps.rs"]
mod apps;
#[path = "simulation/chance.rs"]
mod chance;
#[path = "simulation/disk.rs"]
mod disk;
#[path = "simulation/faults.rs"]
mod faults;
#[path = "simulation/hosts.rs"]
mod hosts;
#[path = "simulation/judge.rs"]
mod judge;
#[path = "simulation/network.rs"]
mod network;
#[path = "simulation/template.rs"]
mod template;
#[path = "simulation/town.rs"]
mod town;

use faults::{Driver, Weather};
use judge::Verdict;
use std::path::Path;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use template::Template;
use town::Town;
use yiwang_hub::context::TestSwitches;

static TEMPLATE: LazyLock<Arc<Template>> = LazyLock::new(|| Arc::new(Template::make()));

/// Memory where there is some: nothing here needs a disk, and syncs of one would be most of the time.
fn below() -> &'static Path {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { memory } else { Path::new("/tmp") }
}

/// One run at a time in a process: see [`aligned`].
static ALONE: Mutex<()> = Mutex::new(());

/// When a runtime is dropped with its host, tokio drops the tasks by their numbers modulo a power of two, and numbers
/// are the process's. So that a host dies in the same order in each run, each begins at a round number.
fn aligned() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        while tokio::spawn(async {}).id().to_string().parse::<u64>().unwrap() % 64 != 0 {}
    });
}

/// One run from a seed, in which all goes wrong.
fn simulate(seed: u64, switches: TestSwitches, bend: impl FnOnce(&Town)) -> Verdict {
    simulate_in(Weather::Storm, seed, switches, bend)
}

fn simulate_in(weather: Weather, seed: u64, switches: TestSwitches, bend: impl FnOnce(&Town)) -> Verdict {
    let template = Arc::clone(&TEMPLATE);
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    aligned();
    let dir = tempfile::tempdir_in(below()).unwrap();
    let town = Arc::new(Town::new(dir.path(), seed, &template, faults::plans(seed), switches));
    bend(&town);
    let mut driver = Driver::new(&town);
    driver.run(weather);
    drop(driver);
    judge::judge(&town)
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

/// One seed, told in full, with what the programs log.
fn told(seed: u64) {
    let told = tracing_subscriber::fmt().with_max_level(tracing_subscriber::filter::LevelFilter::WARN);
    told.without_time().with_ansi(false).init();
    let verdict = simulate(seed, TestSwitches::default(), |_| ());
    println!("seed {seed}: digest {}", verdict.digest);
    assert!(verdict.wrong.is_empty(), "seed {seed}: {:#?}", verdict.wrong);
}

/// Every `of`-th seed.
fn share(first: u64, seeds: u64, of: u64) {
    let (mut entries, mut answered, mut bad) = (0, 0, Vec::new());
    for seed in (first..first + seeds).step_by(usize::try_from(of).unwrap()) {
        let verdict = simulate(seed, TestSwitches::default(), |_| ());
        entries += verdict.entries;
        answered += verdict.answered;
        if !verdict.wrong.is_empty() {
            println!("seed {seed}: {:#?}", verdict.wrong);
            println!("again: YIWANG_SEED={seed} {COMMAND}");
            bad.push(seed);
        }
    }
    println!("{entries} entries, {answered} exchanges answered");
    assert!(bad.is_empty(), "seeds with faults: {bad:?}");
}

const COMMAND: &str = "cargo test --locked --workspace --test simulation -- --nocapture f25_many";

/// `YIWANG_SEEDS` runs from `YIWANG_FIRST_SEED` on, one process a core; `YIWANG_SEED` is one of them, told in full.
#[test]
fn f25_many_seeds_keep_every_promise() {
    if let Some(seed) = number("YIWANG_SEED") {
        return told(seed);
    }
    let (first, seeds) = (number("YIWANG_FIRST_SEED").unwrap_or(1), number("YIWANG_SEEDS").unwrap_or(12));
    if let Some(of) = number("YIWANG_SHARE") {
        return share(first, seeds, of);
    }
    let cores = std::thread::available_parallelism().map_or(2, |cores| cores.get() as u64).min(seeds);
    let start = |number: u64| {
        std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "f25_many_seeds_keep_every_promise", "--nocapture"])
            .env("YIWANG_FIRST_SEED", (first + number).to_string())
            .env("YIWANG_SEEDS", (seeds - number).to_string())
            .env("YIWANG_SHARE", cores.to_string())
            .spawn()
            .unwrap()
    };
    let children: Vec<_> = (0..cores).map(start).collect();
    let ended = children.into_iter().map(|mut child| child.wait().unwrap().success());
    let good = ended.filter(|good| *good).count() as u64;
    assert_eq!(good, cores, "some of {seeds} seeds have faults: they are named above");
    println!("{seeds} seeds from {first} on: every promise was kept");
}

/// Seeds that found something: an adapter that told the hub a place that a power cut then took back.
const FOUND: [u64; 1] = [1198];

#[test]
fn f25_what_seeds_found_is_mended() {
    for seed in FOUND {
        let verdict = simulate(seed, TestSwitches::default(), |_| ());
        assert!(verdict.wrong.is_empty(), "seed {seed}: {:#?}", verdict.wrong);
    }
}

#[test]
fn f25_the_same_seed_gives_the_same_run() {
    for seed in [3, 4] {
        let one = simulate(seed, TestSwitches::default(), |_| ());
        let other = simulate(seed, TestSwitches::default(), |_| ());
        let differs = one.lines.iter().zip(&other.lines).find(|(one, other)| one != other);
        assert_eq!(differs, None, "seed {seed}");
        assert_eq!(one.digest, other.digest, "seed {seed}: the ledgers differ");
        assert!(one.answered > 0);
    }
    let other = simulate(5, TestSwitches::default(), |_| ());
    assert_ne!(other.digest, simulate(3, TestSwitches::default(), |_| ()).digest);
}

/// In a town in which nothing goes wrong but what is planned, nobody is told that a provider is away.
#[test]
fn f16_upgrades_in_calm_weather_fail_nobody() {
    let mut upgrades = 0;
    for seed in 1..=4 {
        let verdict = simulate_in(Weather::Calm, seed, TestSwitches::default(), |_| ());
        assert!(verdict.wrong.is_empty(), "seed {seed}: {:#?}", verdict.wrong);
        let is_away = |line: &&String| {
            // Before that nobody had a link yet.
            let at_ms: u64 = line.split_whitespace().next().unwrap().parse().unwrap();
            at_ms > faults::CALM_FROM_MS
                && ["provider_unavailable", "no answer", "nothing in time"]
                    .iter()
                    .any(|what| line.contains(what))
        };
        let away: Vec<_> = verdict.lines.iter().filter(is_away).collect();
        assert!(away.is_empty(), "seed {seed}: {away:#?}");
        upgrades += verdict.lines.iter().filter(|line| line.contains("makes room")).count();
        assert!(verdict.answered > 0);
    }
    assert!(upgrades > 8, "too few upgrades: {upgrades}");
}

/// A hub that keeps revocations to itself is found out.
#[test]
fn f25_the_judge_finds_a_hub_that_hides_revocations() {
    let switches = TestSwitches { hide_revocations: true, ..TestSwitches::default() };
    let found = (1..=20).any(|seed| {
        let verdict = simulate(seed, switches.clone(), |_| ());
        verdict.wrong.iter().any(|what| what.contains("released after"))
    });
    assert!(found, "twenty seeds, and nothing was found");
}

/// A disk that says synced and is not, below the hub: what was acknowledged is lost with the power.
#[test]
fn f25_the_judge_finds_a_disk_that_lies() {
    let found = (1..=20).any(|seed| {
        let verdict = simulate(seed, TestSwitches::default(), |town| town.host(network::HUB).disk.lie());
        !verdict.wrong.is_empty()
    });
    assert!(found, "twenty seeds, and nothing was found");
}
