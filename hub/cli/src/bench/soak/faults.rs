//! What goes wrong all the time: readers that do not read, connections that say little, denials by the hundred, keys
//! that are revoked, certificates that are renewed.

use super::consumer;
use crate::bench::load::{Came, Question, Seen, ask_once};
use crate::bench::network::{Network, SPARE, consumer_folder};
use crate::fail::Failure;
use crate::setup::{self, AppArgs};
use futures_util::future::join_all;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use yiwang_client::client::Client;
use yiwang_proto::ambient::Clock;
use yiwang_proto::delegation::Role;
use yiwang_proto::ids::{AppId, CaseId};
use yiwang_proto::pb;
use yiwang_proto::revocation::Revoked;
use yiwang_rpc::record_service_client::RecordServiceClient;

/// Denials of one series: more than twice what the ledger takes word for word in a minute.
const DENIALS: u64 = 130;
/// Exchanges of one query that is not read.
const UNREAD: usize = 16;
/// How long it is not read: a few of the hub's patience with replies at a revocation.
const UNREAD_FOR: Duration = Duration::from_secs(2);
/// Connections that say a byte a second, and for how long.
const DRIBBLERS: usize = 20;
const DRIBBLE: u32 = 3;
/// Shortest pause between two rounds.
const PAUSE_MIN: Duration = Duration::from_secs(3);
/// Revocations of one run: a member's list holds 128 delegations, and is not filled to its brim.
const REVOCATIONS_MAX: u32 = 120;
const DAY_MS: i64 = 24 * 3600 * 1000;

/// How often what was done.
#[derive(Debug, Clone, Default)]
pub struct Rounds {
    pub denials: u64,
    pub revocations: u32,
    pub renewals: u32,
    pub unread: u32,
    pub dribblers: u32,
    /// Rounds that could not be done, while a process was away.
    pub missed: u32,
    /// Answers under keys whose revocation was acknowledged before they were asked for: none may be.
    pub released: u32,
}

impl Rounds {
    pub fn figures(&self) -> Value {
        json!({
            "denials": self.denials, "revocations": self.revocations, "renewals": self.renewals,
            "unread_queries": self.unread, "slow_connections": self.dribblers, "missed": self.missed,
            "released_after_revocation": self.released,
        })
    }
}

/// Where the app of the denials keeps what it sent and received, for the oracle.
pub fn received(dir: &Path) -> PathBuf {
    dir.join("received")
}

/// The running faults.
pub struct Faults {
    stop: Arc<AtomicBool>,
    task: JoinHandle<Rounds>,
}

struct Maker {
    dir: PathBuf,
    hub: SocketAddr,
    question: Question,
    keeping: Client,
    clock: Arc<dyn Clock>,
    seen: Seen,
    rounds: Rounds,
}

impl Faults {
    pub async fn start(
        dir: &Path,
        network: &Network,
        question: Question,
        whole: Duration,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, Failure> {
        let app = AppId::parse("bench-app").map_err(Failure::environment)?;
        let args = AppArgs { folder: consumer_folder(dir), app };
        let keeping = setup::client(&args)?.keeping(&received(dir)).map_err(Failure::environment)?;
        keeping.meet().await.map_err(Failure::refused)?;
        let maker = Maker {
            dir: dir.to_owned(),
            hub: network.address,
            question,
            keeping,
            clock,
            seen: Seen::default(),
            rounds: Rounds::default(),
        };
        let stop = Arc::<AtomicBool>::default();
        let pause = (whole / REVOCATIONS_MAX).max(PAUSE_MIN);
        let task = tokio::spawn(maker.run(Arc::clone(&stop), pause));
        Ok(Self { stop, task })
    }

    pub async fn end(self) -> Rounds {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.unwrap_or_default()
    }
}

impl Maker {
    async fn run(mut self, stop: Arc<AtomicBool>, pause: Duration) -> Rounds {
        while !stop.load(Ordering::Relaxed) {
            let done = self.round().await;
            if done.is_err() {
                self.rounds.missed += 1;
                let _ = self.keeping.meet().await;
            }
            let done_us = self.clock.monotonic_us();
            let rested = || Duration::from_micros(self.clock.monotonic_us().saturating_sub(done_us));
            while rested() < pause && !stop.load(Ordering::Relaxed) {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
        self.rounds
    }

    async fn round(&mut self) -> Result<(), Failure> {
        let folder = consumer(&self.dir)?;
        let enrolled = folder.enrolled().map_err(Failure::environment)?;
        let channel = enrolled.channel(Arc::clone(&self.clock)).await.map_err(Failure::environment)?;
        for number in 0..3 {
            ask_once(&self.keeping, &self.question, number, &self.seen).await;
        }
        self.deny().await?;
        let dribbling = self.dribble();
        let unread = self.unread(channel.clone());
        let (dribbled, unread) = tokio::join!(dribbling, unread);
        unread?;
        self.rounds.dribblers += dribbled;
        self.rounds.unread += 1;
        if self.rounds.revocations < REVOCATIONS_MAX {
            self.revoke(&folder, &channel).await?;
        }
        enrolled.renew(channel, self.clock.as_ref()).await.map_err(Failure::environment)?;
        self.rounds.renewals += 1;
        Ok(())
    }

    /// A series of questions in a case that there is not.
    async fn deny(&mut self) -> Result<(), Failure> {
        let nowhere = CaseId::parse("0190a5c3-0000-7000-8000-000000000001").map_err(Failure::environment)?;
        let question = Question { case: nowhere, ..self.question.clone() };
        let asked = (0..DENIALS).map(|number| ask_once(&self.keeping, &question, number, &self.seen));
        let came = join_all(asked).await;
        let refused = came.iter().filter(|came| **came == Came::Refusal).count();
        self.rounds.denials += u64::try_from(refused).unwrap_or_default();
        Ok(())
    }

    /// A query whose stream of answers is left alone for a while, then read.
    async fn unread(&self, channel: tonic::transport::Channel) -> Result<(), Failure> {
        let asked = (0..).take(UNREAD).map(|number| self.question.ask(number));
        let exchanges = asked.map(|ask| self.keeping.sign(&self.question.contract, &ask).message).collect();
        let mut service = RecordServiceClient::new(channel);
        let stream = service.query(pb::QueryRequest { exchanges }).await.map_err(Failure::environment)?;
        tokio::time::sleep(UNREAD_FOR).await;
        let mut stream = stream.into_inner();
        while stream.message().await.map_err(Failure::environment)?.is_some() {}
        Ok(())
    }

    /// Connections that never finish their handshake.
    async fn dribble(&self) -> u32 {
        let one = || async {
            let mut stream = TcpStream::connect(self.hub).await?;
            for _ in 0..DRIBBLE {
                stream.write_all(&[22]).await?;
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            Ok::<_, std::io::Error>(())
        };
        let done = join_all((0..DRIBBLERS).map(|_| one())).await;
        // Those that the hub ended were slow too.
        u32::try_from(done.len()).unwrap_or_default()
    }

    /// A key that is delegated, used, revoked, and used once more.
    async fn revoke(
        &mut self,
        folder: &yiwang_client::folder::Folder,
        channel: &tonic::transport::Channel,
    ) -> Result<(), Failure> {
        let clock = Arc::clone(&self.clock);
        let spare = AppId::parse(SPARE).map_err(Failure::environment)?;
        let now = clock.now_ms();
        let document = folder
            .delegate_new(Role::App, &spare, now - 60_000, now + DAY_MS, setup::entropy().as_ref())
            .map_err(Failure::environment)?;
        let client = setup::client(&AppArgs { folder: consumer_folder(&self.dir), app: spare.clone() })?;
        client.publish(&document).await.map_err(Failure::refused)?;
        client.meet().await.map_err(Failure::refused)?;
        ask_once(&client, &self.question, 0, &self.seen).await;
        let (_, delegation) = folder.load_delegation(Role::App, &spare).map_err(Failure::environment)?;
        let list = Revoked { delegations: [delegation.digest].into(), ..Revoked::default() };
        folder.revoke(&list).map_err(Failure::environment)?;
        yiwang_client::standing::issue_and_offer(folder, channel, clock.as_ref())
            .await
            .map_err(Failure::refused)?;
        self.rounds.revocations += 1;
        let after = ask_once(&client, &self.question, 1, &self.seen).await;
        self.rounds.released += u32::from(after == Came::Answer);
        Ok(())
    }
}
