//! `yiwang bench fault`: how long recoveries take, with real processes and 64 exchanges in flight. That nothing is lost on
//! the way is for the fault tests; here the clock is read, and the oracle judges at the end all the same.

use super::load::{Answered, Came, Load, Question, ask_once, judge};
use super::measure::percentile;
use super::network::{self, Network, SPARE, consumer_folder};
use crate::demo::process::Process;
use crate::fail::Failure;
use crate::setup::{self, AppArgs};
use clap::Args;
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use yiwang_client::client::Client;
use yiwang_client::folder::Folder;
use yiwang_proto::delegation::Role;
use yiwang_proto::ids::AppId;
use yiwang_proto::revocation::Revoked;

/// Exchanges in flight all along.
const IN_FLIGHT: u64 = 64;
/// Connections of the app.
const CONNECTIONS: usize = 2;
/// Between two kills: links, heads and standings are back. The adapter is killed in turn, so that its pauses between two
/// dials begin anew, as for a hub that fails once in a while.
const SETTLED: Duration = Duration::from_secs(3);
/// A start with its recovery, on a slow machine.
const BACK_WITHIN: Duration = Duration::from_secs(60);
/// Longest life of a standing here, and the time that its last exchange may take.
const CUT_OFF_WITHIN: Duration = Duration::from_secs(75);
/// No answer for so long means that it stopped.
const QUIET: Duration = Duration::from_secs(2);
const DAY_MS: i64 = 24 * 3600 * 1000;

const KEYS: &str = "JSON keys:
  hub_restart_ms             per kill -9 of the hub: from its new start to the first answer to a request sent since
  adapter_restart_ms         the same for the provider's adapter
  revocation.count           revocations of the key under which 64 exchanges are in flight
  revocation.p50_ms, p99_ms, max_ms   from the list being written to the hub's acknowledgement (target: p99 1,000)
  revocation.released_after  answers to requests sent under a revoked key after its acknowledgement (must be 0)
  cut_off.stopped_ms         from a revocation that cannot reach the hub to the last answer under the key (target: 60,000)
  cut_off.back_ms            from the member's host starting again to the first answer under a key that is good
  oracle_clean               apps' receipts, ledger and the adapter's journal tell one story
  exchanges, unverified      answers in all, and such that did not verify (must be 0)
A full disk is measured by the fault tests, which have a small one.";

/// Arguments of `bench fault`.
#[derive(Args)]
#[command(after_help = KEYS)]
pub struct Arguments {
    /// Kills of the hub, and of the adapter.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    kills: u32,
    /// Revocations; a member's list holds 128.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=120))]
    revocations: u32,
    /// Leaves out the member that is cut off, which takes over a minute.
    #[arg(long)]
    without_cut_off: bool,
}

pub async fn measure(arguments: &Arguments) -> Result<Value, Failure> {
    let dir = tempfile::tempdir().map_err(Failure::environment)?;
    let mut network = network::start(dir.path(), CONNECTIONS).await?;
    let question = Question::of(&network)?;
    let load = Load::start(network.clients.clone(), &question, (IN_FLIGHT, Duration::ZERO), setup::clock());
    tokio::time::sleep(SETTLED).await;
    let (mut hub, mut adapter) = (Vec::new(), Vec::new());
    for _ in 0..arguments.kills {
        hub.push(restart(&mut network.hub, &load).await?);
        adapter.push(restart(&mut network.provider.host, &load).await?);
    }
    let revocation = revocations(dir.path(), &network, &load, &question, arguments.revocations).await?;
    let cut_off = if arguments.without_cut_off {
        Value::Null
    } else {
        cut_off(dir.path(), &mut network, &load, &question).await?
    };
    let seen = load.end().await;
    network.stop().await;
    let judged = judge(dir.path(), seen.acknowledged(), Vec::new())?;
    Ok(json!({
        "hub_restart_ms": hub,
        "adapter_restart_ms": adapter,
        "revocation": revocation,
        "cut_off": cut_off,
        "oracle_clean": judged.is_clean(),
        "mismatches": judged.mismatches.iter().take(10).collect::<Vec<_>>(),
        "exchanges": seen.answered.load(Ordering::Relaxed),
        "unverified": seen.unverified.load(Ordering::Relaxed),
    }))
}

/// Kills a process, starts it, and waits for an answer; milliseconds from the start on.
async fn restart(process: &mut Process, load: &Load) -> Result<u64, Failure> {
    process.kill().await;
    let since_us = load.now_us();
    process.start_again()?;
    let answered_us = load.answered_after(since_us, BACK_WITHIN).await.ok_or_else(silent)?;
    tokio::time::sleep(SETTLED).await;
    Ok(answered_us.saturating_sub(since_us) / 1000)
}

fn silent() -> Failure {
    Failure::refused("nothing was answered within a minute of a restart; see the logs")
}

/// Gives the spare app a key, and yields a client that signs with it.
async fn delegated(dir: &Path, folder: &Folder) -> Result<Arc<Client>, Failure> {
    let now = setup::clock().now_ms();
    let spare = AppId::parse(SPARE).map_err(Failure::environment)?;
    let document = folder
        .delegate_new(Role::App, &spare, now - 60_000, now + DAY_MS, setup::entropy().as_ref())
        .map_err(Failure::environment)?;
    let client = setup::client(&AppArgs { folder: consumer_folder(dir), app: spare })?;
    client.publish(&document).await.map_err(Failure::refused)?;
    client.meet().await.map_err(Failure::refused)?;
    Ok(Arc::new(client))
}

/// Writes the key that the spare app has now into the member's list.
fn revoke(folder: &Folder) -> Result<(), Failure> {
    let spare = AppId::parse(SPARE).map_err(Failure::environment)?;
    let (_, delegation) = folder.load_delegation(Role::App, &spare).map_err(Failure::environment)?;
    let list = Revoked { delegations: [delegation.digest].into(), ..Revoked::default() };
    folder.revoke(&list).map(drop).map_err(Failure::environment)
}

async fn revocations(
    dir: &Path,
    network: &Network,
    load: &Load,
    question: &Question,
    how_many: u32,
) -> Result<Value, Failure> {
    let folder = setup::folder(&consumer_folder(dir))?;
    let enrolled = folder.enrolled().map_err(Failure::environment)?;
    let channel = enrolled.channel(setup::clock()).await.map_err(Failure::environment)?;
    let (mut times, mut released) = (Vec::new(), 0_u32);
    for _ in 0..how_many {
        let client = delegated(dir, &folder).await?;
        load.use_clients(vec![Arc::clone(&client)]);
        // All workers ask under this key now.
        load.answered_after(load.now_us(), BACK_WITHIN).await.ok_or_else(silent)?;
        tokio::time::sleep(Duration::from_millis(200)).await;
        let begun_us = load.now_us();
        revoke(&folder)?;
        yiwang_client::standing::issue_and_offer(&folder, &channel, setup::clock().as_ref())
            .await
            .map_err(Failure::refused)?;
        let acknowledged_us = load.now_us();
        times.push(acknowledged_us.saturating_sub(begun_us));
        let after = ask_once(&client, question, 0, &load.seen).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        let late = load.newest().sent_us > acknowledged_us;
        released += u32::from(late || after == Came::Answer);
        load.use_clients(network.clients.clone());
        // Nobody may still ask under the old key when the next one is looked at.
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let mut ms = |percent| percentile(&mut times, percent) / 1000;
    let (p50, p99, max) = (ms(50), ms(99), ms(100));
    Ok(json!({
        "count": how_many, "p50_ms": p50, "p99_ms": p99, "max_ms": max, "released_after": released,
        "in_flight": IN_FLIGHT, "target_p99_ms": 1000,
    }))
}

/// The member's host is gone, and the member revokes a key: the hub and the provider's adapter hear nothing, and serve until
/// the last standing that they have is over.
async fn cut_off(
    dir: &Path,
    network: &mut Network,
    load: &Load,
    question: &Question,
) -> Result<Value, Failure> {
    let folder = setup::folder(&consumer_folder(dir))?;
    let client = delegated(dir, &folder).await?;
    load.use_clients(vec![Arc::clone(&client)]);
    load.answered_after(load.now_us(), BACK_WITHIN).await.ok_or_else(silent)?;
    network.consumer.host.kill().await;
    let revoked_us = load.now_us();
    revoke(&folder)?;
    let last = stopped(load, revoked_us).await?;
    load.use_clients(network.clients.clone());
    network.consumer.host.start_again()?;
    let begun_us = load.now_us();
    let back_us = load.answered_after(begun_us, BACK_WITHIN).await.ok_or_else(silent)?;
    let after = ask_once(&client, question, 0, &load.seen).await;
    Ok(json!({
        "stopped_ms": last.done_us.saturating_sub(revoked_us) / 1000,
        "target_ms": 60_000,
        "back_ms": back_us.saturating_sub(begun_us) / 1000,
        "released_after": u32::from(after == Came::Answer),
    }))
}

/// The last answer before nothing is answered any more.
async fn stopped(load: &Load, since_us: u64) -> Result<Answered, Failure> {
    let quiet = u64::try_from(QUIET.as_micros()).unwrap_or(u64::MAX);
    let limit = u64::try_from(CUT_OFF_WITHIN.as_micros()).unwrap_or(u64::MAX);
    loop {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let (newest, now) = (load.newest(), load.now_us());
        if now.saturating_sub(newest.done_us) > quiet {
            return Ok(newest);
        }
        if now.saturating_sub(since_us) > limit {
            return Err(Failure::refused("exchanges go on under a key that its member could not take back"));
        }
    }
}
