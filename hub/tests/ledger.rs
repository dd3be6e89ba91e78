//! The ledger by itself: files that were lost or changed under it, and more readers than it serves at once.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;
use yiwang_hub::ledger::{self, Draft, Ledger, LedgerConfig, Linear, ReadFor};
use yiwang_hub::limits::{READS_AT_ONCE, READS_WAITING};
use yiwang_hub::views::{Persisted, SealKey, Views};
use yiwang_journal::ground::{Ground, Workers};
use yiwang_journal::simulated::SimulatedDisk;
use yiwang_policies::Decider;
use yiwang_proto::ambient::{Clock, ManualClock, SystemClock};
use yiwang_proto::checkpoint::Checkpoint;
use yiwang_proto::codes::Code;
use yiwang_proto::entry::Kind;
use yiwang_proto::ids::MemberId;
use yiwang_proto::merkle::{leaf_hash, verify_inclusion};
use yiwang_proto::note::SignerKey;
use yiwang_proto::pb;

struct Filler(u64);

impl Draft for Filler {
    fn finish(self: Box<Self>, _at: &Linear<'_>) -> Result<Kind, Code> {
        Ok(Kind::Policy(pb::PolicyEntry { digest: vec![0; 32].into(), version: format!("v{}", self.0) }))
    }
}

const SEED: [u8; 32] = [9; 32];
const ORIGIN: &str = "test.example/log";

fn open(dir: &Path) -> Ledger {
    open_on(dir, Arc::new(SystemClock::default()), Ground::default())
}

fn open_on(dir: &Path, clock: Arc<dyn Clock>, ground: Ground) -> Ledger {
    let stored = Persisted::open(&dir.join("views"), 0, &SealKey::derive(&SEED)).unwrap();
    let views = Views::load(Arc::new(Decider::builtin().unwrap()), stored, &|_| None).unwrap();
    let signer = SignerKey::from_seed(ORIGIN, &SEED).unwrap();
    let config = LedgerConfig {
        policy: None,
        dir: dir.join("ledger"),
        segment_bytes: 4 << 20,
        salt: 1,
        signer,
        ground,
    };
    ledger::open(config, Arc::new(views), clock, |error| panic!("{error}")).unwrap()
}

async fn append(ledger: &Ledger, entries: u64) {
    let mut tasks = tokio::task::JoinSet::new();
    for writer in 0..64 {
        let ledger = ledger.clone();
        tasks.spawn(async move {
            for number in (writer..entries).step_by(64) {
                ledger.append(Box::new(Filler(number))).await.unwrap();
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
}

fn checkpoint_file(dir: &Path) -> Checkpoint {
    let note = std::fs::read(dir.join("ledger/checkpoint")).unwrap();
    Checkpoint::open(&note, SignerKey::from_seed(ORIGIN, &SEED).unwrap().verifier(), ORIGIN).unwrap()
}

fn tile(dir: &Path, name: &str) -> std::path::PathBuf {
    dir.join("ledger/tile/0").join(name)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tiles_that_are_lost_or_changed_neither_stop_proofs_nor_appending() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = open(dir.path());
    append(&ledger, 3000).await;
    ledger.close().await;
    drop(ledger);
    // What a power cut, and what somebody else, leaves behind.
    std::fs::write(tile(dir.path(), "000"), b"").unwrap();
    std::fs::remove_file(tile(dir.path(), "001")).unwrap();
    let mut bytes = std::fs::read(tile(dir.path(), "002")).unwrap();
    bytes[77] ^= 4;
    std::fs::write(tile(dir.path(), "002"), bytes).unwrap();
    let ledger = open(dir.path());
    let head = ledger.checkpoint();
    assert_eq!(head.size, 3000);
    for index in [5, 300, 600, 700, 2999] {
        let receipt = ledger.receipt(index).unwrap();
        let proof: Vec<[u8; 32]> =
            receipt.proof.iter().map(|hash| hash.as_ref().try_into().unwrap()).collect();
        verify_inclusion(index, head.size, &leaf_hash(&receipt.entry), &proof, &head.root).unwrap();
    }
    ledger.consistency(10, 3000).unwrap();
    assert_eq!(std::fs::read(tile(dir.path(), "001")).unwrap().len(), 8192);
    ledger.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_head_is_recognised_over_changed_tiles_and_appending_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = open(dir.path());
    append(&ledger, 700).await;
    let old = ledger.checkpoint();
    append(&ledger, 2300).await;
    ledger.close().await;
    drop(ledger);
    let mut bytes = std::fs::read(tile(dir.path(), "001")).unwrap();
    bytes[0] ^= 1;
    std::fs::write(tile(dir.path(), "001"), bytes).unwrap();
    let ledger = open(dir.path());
    let shown = Checkpoint::new(ORIGIN, old.size, old.root).unwrap();
    assert!(ledger.show_head(&MemberId::parse("police").unwrap(), &shown).unwrap());
    append(&ledger, 1).await;
    ledger.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_without_an_append_leaves_all_files_of_its_head() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = open(dir.path());
    append(&ledger, 600).await;
    ledger.close().await;
    drop(ledger);
    let partial = tile(dir.path(), "002.p/88");
    std::fs::write(&partial, b"").unwrap();
    std::fs::write(partial.with_file_name("17"), b"").unwrap();
    let ledger = open(dir.path());
    assert_eq!(std::fs::read(&partial).unwrap().len(), 88 * 32);
    assert!(!partial.with_file_name("17").exists(), "what an older head left empty is gone");
    assert_eq!(checkpoint_file(dir.path()).size, 600);
    ledger.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_readers_than_have_room_are_refused_and_links_read_on() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = open(dir.path());
    append(&ledger, 10).await;
    let (begun, has_begun) = mpsc::channel();
    let (go, wait) = tokio::sync::watch::channel(false);
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..READS_WAITING {
        let (ledger, begun, wait) = (ledger.clone(), begun.clone(), wait.clone());
        tasks.spawn(async move {
            loop {
                let (begun, mut wait) = (begun.clone(), wait.clone());
                let handle = tokio::runtime::Handle::current();
                let slow = move |ledger: &Ledger| {
                    begun.send(()).unwrap();
                    handle.block_on(wait.wait_for(|go| *go)).unwrap();
                    ledger.receipt(3)
                };
                match ledger.reading(ReadFor::Caller, slow).await {
                    Err(Code::Overloaded) => tokio::task::yield_now().await,
                    done => return done.unwrap().index,
                }
            }
        });
    }
    for _ in 0..READS_AT_ONCE {
        tokio::task::block_in_place(|| has_begun.recv().unwrap());
    }
    // All others wait for their turn now or are about to; one more than fits is refused once they do.
    let mut refused = None;
    while refused.is_none() {
        let probe = tokio::time::timeout(Duration::from_millis(20), async {
            ledger.reading(ReadFor::Caller, |ledger| ledger.receipt(4)).await
        });
        refused = probe.await.ok();
    }
    assert_eq!(refused.unwrap().err(), Some(Code::Overloaded));
    assert!(has_begun.try_recv().is_err(), "no more than {READS_AT_ONCE} read at once");
    assert_eq!(ledger.reading(ReadFor::Link, |ledger| ledger.receipt(5)).await.unwrap().index, 5);
    go.send(true).unwrap();
    while let Some(read) = tasks.join_next().await {
        assert_eq!(read.unwrap(), 3);
    }
    ledger.reading(ReadFor::Caller, |ledger| ledger.receipt(6)).await.unwrap();
    ledger.close().await;
}

/// Waits for something that comes by itself, or with time.
async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..5000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    panic!("not within 10 s: {what}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_hangs_stops_intake_until_it_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let (disk, clock) = (SimulatedDisk::new(), Arc::new(ManualClock::new(1_795_000_000_000)));
    let ground = Ground { disk: Arc::new(disk.clone()), workers: Workers::Threads };
    let ledger = open_on(dir.path(), Arc::clone(&clock) as Arc<dyn Clock>, ground);
    append(&ledger, 10).await;
    clock.advance_ms(60_000);
    assert_eq!(ledger.ready(), Ok(()), "no time counts in which nothing is written");
    disk.stall(true);
    let writer = ledger.clone();
    let waiting = tokio::spawn(async move { writer.append(Box::new(Filler(10))).await });
    until("a sync that hangs", || disk.stalled() > 0).await;
    assert_eq!(ledger.ready(), Ok(()), "each sync takes a moment");
    until("intake stops", || {
        clock.advance_ms(100);
        ledger.ready().is_err()
    })
    .await;
    assert_eq!(ledger.ready(), Err(Code::Overloaded));
    assert!(ledger.batch_ms() > 2000 && !waiting.is_finished(), "nothing is acknowledged");
    assert!(ledger.waiting_reason().unwrap().contains("look at the disk"));
    assert_eq!(ledger.receipt(3).unwrap().index, 3, "reading goes on");
    disk.stall(false);
    assert_eq!(waiting.await.unwrap().unwrap().index, 10);
    until("intake goes on", || ledger.ready() == Ok(())).await;
    assert_eq!((ledger.batch_ms(), ledger.waiting_reason()), (0, None));
    ledger.close().await;
}
