//! Sources that fail under whole exchanges: a department's database server is stopped, locked, altered, given another
//! password, while an app asks two departments without pause. Only the department's own fields turn unavailable, they
//! come back without a restart of its adapter, and in the end apps, ledger and adapters tell one story.

#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests fail by panicking")]

#[path = "sources/city.rs"]
mod city;
#[path = "sources/load.rs"]
mod load;

use city::{Town, start};
use std::time::Duration;
use yiwang_city::servers::Kind;

/// Longer than the pause between two tries of an adapter to connect.
const PAUSE: Duration = Duration::from_millis(700);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_departments_postgresql_fails_and_only_its_own_fields_are_missing() {
    fails(Kind::Postgres, 151).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_departments_mariadb_fails_and_only_its_own_fields_are_missing() {
    fails(Kind::Mariadb, 152).await;
}

async fn fails(kind: Kind, seed: u64) {
    let Some(server) = start(kind) else { return };
    let town = Town::new(seed, server).await;
    let load = town.asking.load();
    town.asking.until_there().await;
    down(&town).await;
    restarted(&town).await;
    slow(&town).await;
    altered(&town).await;
    password(&town).await;
    let asked = load.end().await;
    let judged = town.judge().await;
    assert!(judged.is_clean(), "{judged:#?}");
    println!("{}: {} whole records, {} without its fields", kind.name(), asked.own_there, asked.own_missing);
}

async fn down(town: &Town) {
    town.server.stop();
    assert_eq!(town.asking.own().await, "source_error");
    town.server.start().unwrap();
    tokio::time::sleep(PAUSE).await;
    town.asking.until_there().await;
}

/// Behind the back of connections that lie idle.
async fn restarted(town: &Town) {
    town.server.stop();
    town.server.start().unwrap();
    tokio::time::sleep(PAUSE).await;
    town.asking.until_there().await;
}

/// Somebody locks the table for a while: more wait than there are connections.
async fn slow(town: &Town) {
    let lock = town.lock();
    // Until the lock is taken, questions are answered.
    let late = |state: &String| state == "deadline_exceeded" || state == "provider_busy";
    let said = town.asking.until_missing().await;
    assert!(late(&said), "{said}");
    // All connections wait for the lock, and more questions come at once: each is told so, none waits for ever.
    let crowd = town.asking.crowd(24).await;
    assert!(crowd.iter().all(late), "{crowd:?}");
    assert!(crowd.iter().any(|state| state == "provider_busy"), "{crowd:?}");
    lock.release();
    town.asking.until_there().await;
}

/// A column gets another name, and its own again.
async fn altered(town: &Town) {
    town.rename(true);
    town.asking.until_says("source_error").await;
    town.rename(false);
    town.asking.until_there().await;
}

async fn password(town: &Town) {
    town.change_password("n3w-secret");
    town.asking.until_says("source_error").await;
    town.tell_password("n3w-secret");
    tokio::time::sleep(PAUSE).await;
    town.asking.until_there().await;
}
