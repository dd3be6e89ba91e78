//! What runs on the hosts: the hub, and members' adapters with their standings.

use super::chance::Dice;
use super::network::{PORT, Wire};
use super::template::{APPS, HEALTH, POLICE, witness_of};
use super::town::{Plan, Taken, Town};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use yiwang_adapter_sdk::adapter::{Adapter, AdapterError, AdapterLimits, ClockRule};
use yiwang_adapter_sdk::check::Finding;
use yiwang_adapter_sdk::connect::run_link;
use yiwang_adapter_sdk::fetch::MappedSource;
use yiwang_adapter_sdk::journal::JournalError;
use yiwang_adapter_sdk::mapping::{Mapping, OperationDef};
use yiwang_adapter_sdk::source::{BoxFuture, FetchQuery, Fetched, Probe, Source, SourceError};
use yiwang_adapter_sdk::value::{Cell, Rows};
use yiwang_client::error::ClientError;
use yiwang_client::folder::Folder;
use yiwang_client::standing::{issue_and_offer, keep_over};
use yiwang_hub::config::Config;
use yiwang_hub::lifecycle::{self, Ambient, Machine};
use yiwang_hub::tls::accept::AcceptLimits;
use yiwang_journal::OpenError;
use yiwang_proto::delegation::Role;
use yiwang_proto::ids::AppId;
use yiwang_proto::revocation::{Revocation, Revoked};

/// How often a host looks whether it is to stop, and at its alarms.
const LOOK: Duration = Duration::from_millis(100);
/// When an adapter that is replaced is back, as a department's host says.
const BACK_MS: u32 = 10_000;
/// How long it waits for the journal of the one that it replaces.
const JOURNAL_WAIT: Duration = Duration::from_secs(15);
/// Alarms that nothing in an honest town may raise.
const ALARMS: [&str; 3] = ["head_contradicts", "witness", "restored"];

/// The hub, from its folder on.
pub async fn hub(town: Arc<Town>) -> turmoil::Result {
    let host = town.host("hub");
    let mut config = Config::read(&town.hub_dir())?;
    let any = |port: u16| std::net::SocketAddr::from(([0, 0, 0, 0], port));
    (config.raw.listen, config.raw.enrol_listen) = (any(PORT), any(PORT + 1));
    config.raw.health_listen = any(PORT + 2);
    let ambient = Ambient { clock: Arc::clone(&host.clock), entropy: Arc::clone(&host.entropy) };
    let machine = Machine { ground: town.ground("hub"), network: Wire };
    let limits = AcceptLimits::default();
    let started = lifecycle::start_on(&machine, &config, &ambient, town.switches.clone(), limits).await;
    let running = match started {
        Ok(running) => running,
        Err(error) => {
            host.ended.store(true, Ordering::SeqCst);
            if !host.disk.stopped() {
                town.wrong(format_args!("the hub does not start: {error}"));
            }
            return Ok(());
        }
    };
    town.note(format_args!("the hub starts with {} entries", running.hub.ledger.checkpoint().size));
    loop {
        tokio::select! {
            biased;
            () = running.wait() => break,
            () = tokio::time::sleep(LOOK) => {}
        }
        if let Some(alarm) = ALARMS.iter().find(|name| running.hub.alarms.count(name) > 0) {
            town.wrong(format_args!("the hub's alarm `{alarm}`"));
        }
        if town.is_closing() {
            if let Err(error) = running.stop(Duration::from_secs(5)).await {
                town.wrong(format_args!("the hub does not stop: {error}"));
            }
            town.note("the hub stopped");
            return Ok(());
        }
    }
    town.note("the hub ended by itself");
    host.ended.store(true, Ordering::SeqCst);
    Ok(())
}

/// How an adapter's process ended.
#[derive(PartialEq, Eq)]
enum End {
    /// Its next one follows.
    Replaced,
    /// It is not to be started again, or the driver starts it.
    Over,
}

/// A member's adapters, one process after another, and what the member takes back.
pub async fn member(town: Arc<Town>, name: &'static str) -> turmoil::Result {
    for at in 0..town.plans.len() {
        if town.plans[at].by() == name && town.plans[at].acknowledged().is_none() {
            tokio::task::spawn_local(take_back(Arc::clone(&town), at));
        }
    }
    // A process that was to be replaced and was killed is replaced by that.
    town.host(name).upgrade.store(false, Ordering::SeqCst);
    let dice = Dice::new(town.seed, &format!("upgrades of {name} from {}", town.time.ms()));
    while adapter(&town, name).await? == End::Replaced {
        tokio::time::sleep(dice.ms(100, 1500)).await;
    }
    Ok(())
}

/// Opens an adapter; waits for the journal of the process that it replaces, as a host does. What that one had begun
/// ends with it, here a little later than with a real one.
async fn opened(town: &Arc<Town>, name: &str, folder: &Folder) -> Result<Adapter, AdapterError> {
    let host = town.host(name);
    let mut patience = JOURNAL_WAIT;
    loop {
        let mut config = yiwang_tests::member::adapter_config(folder, witness_of(name).as_ref());
        config.limits =
            AdapterLimits { segment_bytes: 4 << 20, back_ms: BACK_MS, ..AdapterLimits::default() };
        let (clock, entropy) = (Arc::clone(&host.clock), Arc::clone(&host.entropy));
        let (decider, ground) = (Arc::clone(&town.template.decider), town.ground(name));
        let rule = ClockRule::NeverBack;
        match Adapter::open_on(ground, rule, config, sources(town, name), decider, clock, entropy) {
            Err(AdapterError::Journal(JournalError::Open(OpenError::Locked { .. })))
                if !patience.is_zero() =>
            {
                tokio::time::sleep(LOOK).await;
                patience = patience.saturating_sub(LOOK);
            }
            opened => return opened,
        }
    }
}

/// One process: the adapter with its link, and the member's standings.
async fn adapter(town: &Arc<Town>, name: &'static str) -> turmoil::Result<End> {
    let host = town.host(name);
    let dir = town.member_dir(name);
    let folder = Folder::open(&dir)?;
    let adapter = match opened(town, name, &folder).await {
        Ok(adapter) => Arc::new(adapter),
        Err(error) => {
            host.ended.store(true, Ordering::SeqCst);
            if !host.disk.stopped() {
                town.wrong(format_args!("the adapter of `{name}` does not start: {error}"));
            }
            return Ok(End::Over);
        }
    };
    adapter.obey(&folder.revoked()?);
    town.note(format_args!("the adapter of `{name}` starts"));
    let stop = CancellationToken::new();
    let (obeys, stopped) = (Arc::clone(&adapter), stop.clone());
    let (folder_dir, clock) = (dir.clone(), Arc::clone(&host.clock));
    tokio::task::spawn_local(async move {
        let listed = |list: &Revoked| obeys.obey(list);
        keep_over(Wire, &folder_dir, clock, Arc::default(), stopped, listed).await;
    });
    let clock = Arc::clone(&host.clock);
    let connect = || async { Folder::open(&dir)?.enrolled()?.channel_over(Wire, Arc::clone(&clock)).await };
    let link = run_link(Arc::clone(&adapter), connect, stop.clone());
    tokio::pin!(link);
    let mut replaced = false;
    loop {
        tokio::select! {
            biased;
            _ = &mut link => break,
            () = tokio::time::sleep(LOOK) => {}
        }
        if adapter.health().alarms > 0 {
            town.wrong(format_args!("an alarm of the adapter of `{name}`"));
        }
        replaced |= host.upgrade.swap(false, Ordering::SeqCst);
        if replaced || town.is_closing() {
            stop.cancel();
        }
    }
    if town.is_closing() {
        town.note(format_args!("the adapter of `{name}` stopped"));
    } else if replaced && !host.disk.stopped() {
        town.note(format_args!("the adapter of `{name}` makes room for its next process"));
        return Ok(End::Replaced);
    } else {
        town.note(format_args!("the adapter of `{name}` ended by itself"));
        host.ended.store(true, Ordering::SeqCst);
    }
    Ok(End::Over)
}

/// What a plan's list names.
fn list(town: &Town, plan: &Plan, folder: &Folder) -> Revoked {
    match plan.what {
        Taken::App => {
            let (_, delegation) = folder.load_delegation(Role::App, &AppId::parse(APPS[1]).unwrap()).unwrap();
            Revoked { delegations: [delegation.digest].into(), ..Revoked::default() }
        }
        Taken::Contract | Taken::ContractByRoot => {
            let id = town.template.questions[2].contract.text.id.clone();
            Revoked { contracts: [(id, None)].into(), ..Revoked::default() }
        }
    }
}

/// Takes something back when its time has come, until the hub has acknowledged it.
async fn take_back(town: Arc<Town>, at: usize) {
    let plan = &town.plans[at];
    let host = town.host(plan.by());
    let wait = plan.at_ms.saturating_sub(town.time.ms());
    tokio::time::sleep(Duration::from_millis(wait)).await;
    let dir = town.member_dir(plan.by());
    let folder = Folder::open(&dir).unwrap();
    let revoked = list(&town, plan, &folder);
    if plan.what != Taken::ContractByRoot {
        folder.revoke(&revoked).unwrap();
    }
    town.note(format_args!("`{}` takes back: {:?}", plan.by(), plan.what));
    let channel = folder.enrolled().unwrap().channel_lazy_over(Wire, Arc::clone(&host.clock)).unwrap();
    loop {
        let offered: Result<(), ClientError> = match plan.what {
            Taken::ContractByRoot => {
                let root = folder.root_key().unwrap();
                let now_ms = host.clock.now_ms();
                let document =
                    Revocation::sign(&root, &root.public(), folder.member(), &revoked, false, now_ms);
                let checkpoints = yiwang_tests::member::checkpoints(&folder);
                let publishing = yiwang_client::client::publish(channel.clone(), &document, &checkpoints);
                match tokio::time::timeout(Duration::from_secs(10), publishing).await {
                    Ok(published) => published.map(drop),
                    Err(_) => Err(ClientError::Transport("no answer in time".to_owned())),
                }
            }
            Taken::Contract | Taken::App => {
                issue_and_offer(&folder, &channel, host.clock.as_ref()).await.map(drop)
            }
        };
        match offered {
            Ok(()) => break,
            Err(error) => town.note(format_args!("not acknowledged yet: {error}")),
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    *plan.acknowledged_ms.lock().unwrap_or_else(PoisonError::into_inner) = Some(town.time.ms());
    town.note(format_args!("acknowledged: {:?}", plan.what));
}

/// Registers in memory, slow and broken at times; the mappings over them are the departments' own.
fn sources(town: &Arc<Town>, name: &str) -> Vec<MappedSource> {
    let file = match name {
        POLICE => "police/person.toml",
        HEALTH => "health/health-coverage.toml",
        _ => return Vec::new(),
    };
    let path = yiwang_tests::departments().join(file);
    let text = std::fs::read_to_string(&path).unwrap();
    let mapping = Mapping::parse(&text, &path).unwrap();
    // Another life of the host throws other dice.
    let dice = Dice::new(town.seed, &format!("register of {name} from {}", town.time.ms()));
    vec![MappedSource::new(Arc::new(mapping), Arc::new(Register(dice)))]
}

struct Register(Dice);

impl Source for Register {
    fn fetch(&self, query: FetchQuery) -> BoxFuture<'_, Result<Fetched, SourceError>> {
        Box::pin(async move {
            tokio::time::sleep(self.0.ms(0, 400)).await;
            if self.0.percent(3) {
                return Err(SourceError::Unavailable("the register is closed".to_owned()));
            }
            let mut rows = Rows::new(query.columns.len());
            for column in &query.columns {
                let cell = match column.as_ref() {
                    "XM" => Cell::Text("云甲"),
                    "XB" => Cell::Text("1"),
                    "CSRQ" => Cell::Text("19900101"),
                    "SFZH" => Cell::Text("980101199001010017"),
                    "SFZH4" => Cell::Text("0017"),
                    "GJ" => Cell::Text("156"),
                    "JZ" | "ins" => Cell::Integer(1),
                    "XZQH" | "adm_cd" => Cell::Text("980101"),
                    "GXSJ" => Cell::Text("2026-11-01 08:00:00"),
                    "schm_cd" => Cell::Text("UR"),
                    "eff_dt" => Cell::Text("2009-07-01"),
                    "fam_site" => Cell::Text("CHC-980101003"),
                    "upd_ts" => Cell::Text("2026-11-20T01:30:00Z"),
                    other => return Err(SourceError::Query(format!("no column {other}"))),
                };
                rows.push(cell)?;
            }
            Ok(Fetched { rows })
        })
    }

    fn probe(&self) -> BoxFuture<'_, Result<Probe, SourceError>> {
        Box::pin(async { Ok(Probe::default()) })
    }

    fn check(&self, _: Vec<Arc<OperationDef>>) -> BoxFuture<'_, Vec<Finding>> {
        Box::pin(async { Vec::new() })
    }
}
