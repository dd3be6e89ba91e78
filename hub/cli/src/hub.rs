//! `yiwang hub`: what an operator does.

use crate::fail::{Failure, Outcome};
use crate::setup;
use crate::telemetry;
use clap::Subcommand;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;
use yiwang_hub::config::{Config, Overload, RawConfig};
use yiwang_hub::context::TestSwitches;
use yiwang_hub::denials::DenialLimits;
use yiwang_hub::lifecycle::{self, Ambient};
use yiwang_hub::orders::Order;
use yiwang_hub::quotas::QuotaLimits;
use yiwang_hub::tls::accept::AcceptLimits;
use yiwang_hub::tls::identity::Identity;
use yiwang_proto::audit_scope::AuditScope;
use yiwang_proto::ids::{MemberId, RecordType};

#[derive(Subcommand)]
pub enum Command {
    /// Makes a hub: configuration, certificate authority, ledger key.
    Init {
        /// The hub's folder.
        #[arg(long)]
        dir: PathBuf,
        /// Name of the ledger, a schema-less URL, e.g. log.city.example/yiwang.
        #[arg(long)]
        origin: String,
        /// Trust domain of identities, e.g. city.example.
        #[arg(long)]
        trust_domain: String,
        /// Where members connect.
        #[arg(long, default_value = "127.0.0.1:7443")]
        listen: SocketAddr,
        /// Where members enrol.
        #[arg(long, default_value = "127.0.0.1:7444")]
        enrol_listen: SocketAddr,
        /// Where /live, /ready and /stages are served, in plain HTTP.
        #[arg(long, default_value = "127.0.0.1:7445")]
        health_listen: SocketAddr,
        /// DNS name or IP address by which members call the hub; may be given several times.
        #[arg(long = "name", default_values = ["localhost", "127.0.0.1"])]
        names: Vec<String>,
    },
    /// Runs the hub until it is told to stop.
    Run {
        /// The hub's folder.
        #[arg(long)]
        dir: PathBuf,
        /// Goes on as this new origin, whose first entry names the old ledger's head. For a hub that lost entries
        /// which members know of; members must enrol again.
        #[arg(long, value_name = "ORIGIN")]
        accept_head: Option<String>,
    },
    /// Issues a one-time enrolment token for `member:<id>` or `auditor:<name>`.
    Token {
        /// The hub's folder.
        #[arg(long)]
        dir: PathBuf,
        /// Whom it enrols, e.g. member:police or auditor:city-audit.
        #[arg(long = "for", value_name = "WHO")]
        who: String,
        /// Hours until it ends.
        #[arg(long, default_value_t = 72)]
        hours: u32,
        /// For an auditor: the whole ledger.
        #[arg(long, conflicts_with_all = ["scope_members", "scope_records"])]
        scope_all: bool,
        /// For an auditor: entries of these members.
        #[arg(long, value_name = "MEMBER", num_args = 1..)]
        scope_members: Vec<MemberId>,
        /// For an auditor: entries about these records.
        #[arg(long, value_name = "RECORD", num_args = 1..)]
        scope_records: Vec<RecordType>,
    },
    /// Dismisses a member or an auditor: its certificates are refused from now on, also for renewal; the
    /// ledger says so.
    Dismiss {
        /// The hub's folder; the hub must run.
        #[arg(long)]
        dir: PathBuf,
        /// Whom, e.g. auditor:city-audit or member:police.
        #[arg(value_name = "WHO")]
        who: String,
        /// Why, for the ledger's readers; no personal data.
        #[arg(long)]
        reason: String,
        /// Also somebody whom the ledger does not know: after it was lost, certificates of before still connect.
        #[arg(long)]
        unknown: bool,
    },
    /// Goes on from this machine's clock where the ledger's last entry has a later time, because the clock
    /// had jumped ahead; the ledger names both times.
    AcceptClock {
        /// The hub's folder; the hub must run.
        #[arg(long)]
        dir: PathBuf,
    },
    /// Drops views and hash tiles; the next start makes them again from the entries.
    Rebuild {
        /// The hub's folder; the hub must not run.
        #[arg(long)]
        dir: PathBuf,
    },
}

fn ambient() -> Ambient {
    Ambient { clock: setup::clock(), entropy: setup::entropy() }
}

pub fn run(command: &Command) -> Outcome {
    match command {
        Command::Init { dir, origin, trust_domain, listen, enrol_listen, health_listen, names } => {
            let raw = RawConfig {
                format: "hub/1".to_owned(),
                origin: origin.clone(),
                trust_domain: trust_domain.clone(),
                listen: *listen,
                enrol_listen: *enrol_listen,
                health_listen: *health_listen,
                names: names.clone(),
                public_port: 0,
                segment_bytes: 64 << 20,
                witness_policy: None,
                stop_intake_after_s: 300,
                otlp: None,
                overload: Overload::default(),
                quotas: QuotaLimits::default(),
                denials: DenialLimits::default(),
            };
            lifecycle::init(dir, &raw, &ambient()).map_err(Failure::usage)?;
            Config::read(dir).map_err(Failure::usage)?;
            println!("made a hub in {}", dir.display());
            println!("next: yiwang hub run --dir {}", dir.display());
            Ok(())
        }
        Command::Run { dir, accept_head } => {
            let mut config = Config::read(dir).map_err(Failure::usage)?;
            if let Some(origin) = accept_head {
                let old = lifecycle::accept_head(&mut config, origin).map_err(Failure::usage)?;
                println!("the old ledger is kept in {}; members must enrol again", old.display());
            }
            serve(&config)
        }
        Command::Token { dir, who, hours, scope_all, scope_members, scope_records } => {
            let scope = AuditScope {
                all: *scope_all,
                members: scope_members.iter().cloned().collect(),
                records: scope_records.iter().cloned().collect(),
            };
            token(dir, who, *hours, &scope)
        }
        Command::Dismiss { dir, who, reason, unknown } => {
            order(dir, &Order::Dismiss { who: who.clone(), reason: reason.clone(), unknown: *unknown })
        }
        Command::AcceptClock { dir } => order(dir, &Order::AcceptClock {}),
        Command::Rebuild { dir } => {
            let config = Config::read(dir).map_err(Failure::usage)?;
            lifecycle::rebuild(&config).map_err(Failure::environment)?;
            println!("views and hash tiles are dropped; the next start makes them again");
            Ok(())
        }
    }
}

fn token(dir: &std::path::Path, who: &str, hours: u32, scope: &AuditScope) -> Outcome {
    let config = Config::read(dir).map_err(Failure::usage)?;
    let identity = Identity::from_who(who)
        .ok_or_else(|| Failure::usage(format!("`{who}` is neither member:<id> nor auditor:<name>")))?;
    let given = *scope != AuditScope::default();
    let scope = match &identity {
        Identity::Auditor(_) if !given => {
            let what = "an auditor needs a scope: --scope-all, --scope-members or --scope-records";
            return Err(Failure::usage(what));
        }
        Identity::Auditor(_) => Some(scope),
        _ if given => return Err(Failure::usage("a scope is for auditors")),
        _ => None,
    };
    let facts = lifecycle::facts(&config, config.raw.listen, config.raw.enrol_listen)
        .map_err(Failure::environment)?;
    let expires = setup::clock().now_ms() + i64::from(hours) * 3_600_000;
    let token = lifecycle::tokens(&config)
        .map_err(Failure::environment)?
        .issue_scoped(&identity, scope, &facts, expires, setup::entropy().as_ref())
        .map_err(Failure::usage)?;
    println!("{token}");
    Ok(())
}

fn order(dir: &std::path::Path, order: &Order) -> Outcome {
    let config = Config::read(dir).map_err(Failure::usage)?;
    let orders = lifecycle::orders(&config).map_err(Failure::environment)?;
    let entropy = setup::entropy();
    let said = setup::runtime()?.block_on(orders.give(order, entropy.as_ref()));
    println!("{}", said.map_err(Failure::refused)?);
    Ok(())
}

fn serve(config: &Config) -> Outcome {
    setup::runtime()?.block_on(async {
        let telemetry = telemetry::start("yiwang-hub", config.raw.otlp.as_deref())?;
        let per_address = config.raw.overload.connections_per_address;
        let limits = AcceptLimits { per_address, ..AcceptLimits::default() };
        let running = lifecycle::start(config, &ambient(), TestSwitches::default(), limits)
            .await
            .map_err(Failure::environment)?;
        println!(
            "the hub listens: members {}, enrolment {}, health {}",
            running.address, running.enrol_address, running.health_address
        );
        tokio::select! {
            () = running.wait() => {}
            () = telemetry::stop_signal() => {}
        }
        let stopped = running.stop(Duration::from_secs(10)).await.map_err(Failure::environment);
        telemetry.finish();
        stopped
    })
}
