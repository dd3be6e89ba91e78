//! F6: one bit of any file of the hub's folder is flipped. Whatever the hub then says is either what it said before
//! or a refusal; never another answer.

use crate::rounds;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use yiwang_hub::config::Config;
use yiwang_hub::context::TestSwitches;
use yiwang_hub::lifecycle::{self, Ambient, Running};
use yiwang_hub::tls::accept::AcceptLimits;
use yiwang_hub::views::CaseStatus;
use yiwang_proto::ambient::{Clock, Entropy, SeededEntropy, SystemClock, random};
use yiwang_proto::checkpoint::CheckpointVerifier;
use yiwang_proto::receipt;
use yiwang_tests::scene::Scene;

const EXCHANGES: usize = 12;

/// A hub's folder after some exchanges, and all that it may say.
struct Before {
    dir: PathBuf,
    entries: Vec<Bytes>,
    checkpoints: Arc<CheckpointVerifier>,
    scene: Scene,
}

impl Before {
    async fn new() -> Self {
        let mut scene = Scene::new(60).await;
        for _ in 0..EXCHANGES {
            assert_eq!(scene.outcome(&scene.signed()).await, "answered");
        }
        scene.adapter.take().unwrap().stop().await;
        scene.world.stop_hub().await;
        let dir = scene.world.hub_dir();
        let options = yiwang_journal::Options::default();
        let segments = dir.join("ledger/segments");
        let (reader, _) = yiwang_journal::Reader::open_readonly(&segments, &options).unwrap();
        let entries = reader.scan(0).map(|item| item.unwrap().1).collect();
        let checkpoints = scene.street.checkpoints();
        Self { dir, entries, checkpoints, scene }
    }
}

fn files(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else if std::fs::metadata(&path).unwrap().len() > 0 {
            found.push(path);
        }
    }
    found.sort();
}

fn number(entropy: &SeededEntropy, below: usize) -> usize {
    usize::try_from(u64::from_le_bytes(random(entropy)) % below as u64).unwrap()
}

/// Flips one bit: in half of the rounds of a byte that is not zero, because preallocated files are mostly zero.
fn flip(dir: &Path, entropy: &SeededEntropy) -> (PathBuf, usize) {
    let mut all = Vec::new();
    files(dir, &mut all);
    let path = all[number(entropy, all.len())].clone();
    let mut bytes = std::fs::read(&path).unwrap();
    let used: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at] != 0).collect();
    let at = if used.is_empty() || number(entropy, 8) == 0 {
        number(entropy, bytes.len())
    } else {
        used[number(entropy, used.len())]
    };
    bytes[at] ^= 1 << number(entropy, 8);
    std::fs::write(&path, bytes).unwrap();
    (path.strip_prefix(dir).unwrap().to_owned(), at)
}

fn copy(from: &Path, to: &Path) {
    let status = std::process::Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(status.success());
}

/// Starts a hub on a folder, or says why it refuses.
async fn start(dir: &Path, entropy: &Arc<dyn Entropy>) -> Result<Running, String> {
    let mut config = Config::read(dir).map_err(|error| error.to_string())?;
    let any = "127.0.0.1:0".parse().unwrap();
    (config.raw.listen, config.raw.enrol_listen, config.raw.health_listen) = (any, any, any);
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
    let ambient = Ambient { clock, entropy: Arc::clone(entropy) };
    let started = lifecycle::start(&config, &ambient, TestSwitches::default(), AcceptLimits::default());
    started.await.map_err(|error| error.to_string())
}

/// Everything that the hub says about its entries, case and contract; `Err` names a wrong answer.
fn questioned(hub: &Running, before: &Before) -> Result<usize, String> {
    let ledger = &hub.hub.ledger;
    if ledger.checkpoint().size < before.entries.len() as u64 {
        return Err(format!("{} of {} entries", ledger.checkpoint().size, before.entries.len()));
    }
    let mut refused = 0;
    for (index, entry) in before.entries.iter().enumerate() {
        let index = index as u64;
        match ledger.receipt(index) {
            Err(_) => refused += 1,
            Ok(given) => {
                let proved = receipt::verify(&given.to_receipt(), |note| before.checkpoints.open(note));
                if proved.is_err() || given.entry != *entry {
                    return Err(format!("entry {index} is another one, or its receipt does not hold"));
                }
            }
        }
    }
    let views = ledger.views();
    let scene = &before.scene;
    let contract = views.contract(&scene.contract.text.id).ok_or("the contract is gone")?;
    if contract.contract.digest != scene.contract.digest {
        return Err("another contract".to_owned());
    }
    let CaseStatus::Open(case) = views.case(&scene.case) else { return Err("the case is gone".to_owned()) };
    let tag = scene.app.identity().tags.tag(&scene.mother, &scene.case);
    if case.member != *scene.street.id() || case.tags != [tag] {
        return Err("another case".to_owned());
    }
    for member in [&scene.street, &scene.police] {
        let view = views.member(member.id()).ok_or("a member is gone")?;
        if view.card.root != member.folder.root_public() {
            return Err("another root".to_owned());
        }
    }
    Ok(refused)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f06_a_flipped_bit_gives_no_wrong_answer() {
    let flips = rounds(100, 1000);
    let before = Before::new().await;
    let seeded = SeededEntropy::new(606);
    let entropy: Arc<dyn Entropy> = Arc::new(SeededEntropy::new(607));
    let mut ended = BTreeMap::<&str, u32>::new();
    for round in 0..flips {
        // A folder of its own each time: threads of a hub that refused to start may still write.
        let trial = before.scene.world.dir.path().join(format!("trial-{round}"));
        copy(&before.dir, &trial);
        let (path, at) = flip(&trial, &seeded);
        let what = format!("flip {round} in {} at {at}", path.display());
        let outcome = match start(&trial, &entropy).await {
            Err(_) => "refused to start",
            Ok(hub) => {
                let answers = questioned(&hub, &before);
                let stopped = hub.stop(Duration::from_secs(5)).await;
                match answers.unwrap_or_else(|wrong| panic!("{what}: {wrong}")) {
                    _ if stopped.is_err() => "stopped by itself",
                    0 => "no effect, or healed",
                    _ => "refused to read",
                }
            }
        };
        *ended.entry(outcome).or_default() += 1;
        let _ = std::fs::remove_dir_all(&trial);
    }
    println!("{flips} flips, 0 wrong answers: {ended:?}");
    assert!(ended.len() > 1, "{ended:?}: the flips hit nothing that matters");
}
