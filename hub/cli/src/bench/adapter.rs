//! `yiwang bench adapter`: what an adapter adds to a query. Full exchanges, whose price is read from the books of the
//! adapter's process, and the same query by itself in this process, in alternation, so that noise hits both. What the
//! database's own process uses is in neither.

use super::exchange::{self, Figures};
use super::measure::{own_mb, ratio, rss_mb};
use super::network::{self, Network, Provided};
use crate::demo::process::free_port;
use crate::fail::Failure;
use crate::setup;
use clap::Args;
use futures_util::FutureExt as _;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use yiwang_adapter_sdk::mapping::{Mapping, OperationDef};
use yiwang_adapter_sdk::source::{Environment, FetchQuery, Source};
use yiwang_city::Bench;
use yiwang_city::servers::{self, Database, Kind};
use yiwang_proto::ambient::random;
use yiwang_proto::contract::Scalar;
use yiwang_proto::ids::Operation;

/// Connections of the app.
const CONNECTIONS: usize = 2;
/// A lookup takes a fraction of a millisecond; this is for a machine that stands still.
const PATIENCE: Duration = Duration::from_secs(10);
/// From an adapter's start until it has given back what it needed for that.
const SETTLES: Duration = Duration::from_secs(5);
/// CPU that an adapter may add to a lookup, microseconds.
const GOAL_US: u64 = 130;
/// Resident memory of an adapter that waits, megabytes.
const GOAL_MB: u64 = 25;

const KEYS: &str = "JSON keys, for each of sqlite, postgres, mariadb (or the word why it was left out):
  adapter_us     CPU of the adapter's process per lookup: link, verification, decision, query, mapping, signature, journal
  query_us       CPU of the same query by itself: the same client, TLS, pool and read-only transaction
  on_top_us      the difference (goal: goal_us)
  ratio          the one over the other
  lookups        how many were counted
adapter_idle_mb  resident memory of the adapter before it was asked anything (goal: goal_mb)
adapter_idle_own_mb  what of it is its own: the rest is the program's file, mapped
adapter_mb       the same after the load";

/// Arguments of `bench adapter`.
#[derive(Args)]
#[command(after_help = KEYS)]
pub struct Arguments {
    /// Seconds per turn.
    #[arg(long, default_value_t = 4)]
    seconds: u64,
    /// Turns of each kind.
    #[arg(long, default_value_t = 3)]
    turns: u32,
    /// Lookups in flight, as many as `bench exchange` has.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=256))]
    in_flight: u16,
    /// The adapter's own program, as members install it (`yiwang-adapter` of the same build); this one otherwise, which has
    /// the hub in it too.
    #[arg(long, value_name = "PROGRAM")]
    program: Option<PathBuf>,
}

/// One source of the same rows.
struct Place {
    name: &'static str,
    operation: &'static str,
    mapping: Arc<Mapping>,
    source: Arc<dyn Source>,
    through: Figures,
    alone: Figures,
    /// Held for as long as it is asked.
    _server: Option<Database>,
}

/// The settings of the provider, for the query by itself.
pub(super) struct Settings(BTreeMap<String, String>);

impl Settings {
    pub(super) fn of(provided: &Provided) -> Arc<dyn Environment> {
        Arc::new(Self(provided.settings.iter().cloned().collect()))
    }
}

impl Environment for Settings {
    fn var(&self, name: &str) -> Option<String> {
        self.0.get(name).cloned()
    }

    fn read(&self, path: &Path) -> std::io::Result<String> {
        std::fs::read_to_string(path)
    }
}

pub async fn measure(arguments: &Arguments) -> Result<Value, Failure> {
    let dir = tempfile::tempdir().map_err(Failure::environment)?;
    let source = yiwang_city::build_bench(dir.path(), network::ROWS).map_err(Failure::environment)?;
    let mut provided = Provided::embedded(&source);
    provided.program.clone_from(&arguments.program);
    let mut kept = vec![("sqlite", "person.by_id", None)];
    let mut left_out = Vec::new();
    for kind in [Kind::Postgres, Kind::Mariadb] {
        let name = if kind == Kind::Postgres { "postgres" } else { "mariadb" };
        match server(kind, &source, &mut provided).await? {
            Ok(server) => kept.push((name, yiwang_city::bench_operation(kind), Some(server))),
            Err(why) => left_out.push((name, why)),
        }
    }
    let environment = Settings::of(&provided);
    let mut places = Vec::new();
    for ((name, operation, server), (file, text)) in kept.into_iter().zip(&provided.mappings) {
        places.push(place(name, operation, server, (file.as_str(), text.as_str()), &environment)?);
    }
    let quotas = network::without_quotas();
    let mut network = network::start_providing(dir.path(), CONNECTIONS, quotas, &source, &provided).await?;
    let adapter = network.provider.host.id().unwrap_or_default();
    // What its start needed goes back to the system in a moment.
    tokio::time::sleep(SETTLES).await;
    let idle = (rss_mb(adapter), own_mb(adapter));
    let in_flight = usize::from(arguments.in_flight);
    // A first, short turn of each fills caches and pools, and is not counted.
    for place in &mut places {
        place.turn(&network, 1, in_flight).await?;
        (place.through, place.alone) = (Figures::default(), Figures::default());
    }
    for _ in 0..arguments.turns.max(1) {
        for place in &mut places {
            place.turn(&network, arguments.seconds.max(1), in_flight).await?;
        }
    }
    let loaded = rss_mb(adapter);
    network.stop().await;
    let mut result = json!({
        "goal_us": GOAL_US, "goal_mb": GOAL_MB, "adapter_idle_mb": idle.0.round(), "adapter_idle_own_mb": idle.1.round(), "adapter_mb": loaded.round(),
    });
    if let Some(result) = result.as_object_mut() {
        for place in &places {
            result.insert(place.name.to_owned(), place.report());
        }
        for (name, why) in left_out {
            result.insert(name.to_owned(), json!(format!("left out: {why}")));
        }
    }
    Ok(result)
}

/// Starts a server with the same rows; in words why not, where it is not installed.
pub(super) async fn server(
    kind: Kind,
    source: &Bench,
    provided: &mut Provided,
) -> Result<Result<Database, String>, Failure> {
    let (port, path) = (free_port()?.port(), source.database.clone());
    let password = yiwang_proto::hex(&random::<16>(setup::entropy().as_ref()));
    let starting = tokio::task::spawn_blocking(move || {
        let server = Database::start_new(kind, port, false)?;
        let url = server.fill("bench", servers::BENCH, &path, ("yiwang_bench", &password))?;
        Ok::<_, servers::ServerError>((server, url))
    });
    let (server, url) = match starting.await.map_err(Failure::environment)? {
        Ok(started) => started,
        Err(missing) if missing.is_missing() => return Ok(Err(missing.to_string())),
        Err(failed) => return Err(Failure::environment(failed)),
    };
    let name = if kind == Kind::Postgres { "POSTGRES" } else { "MARIADB" };
    provided.settings.push((format!("BENCH_{name}_URL"), url));
    provided.settings.push((format!("BENCH_{name}_CA"), server.ca().to_owned()));
    let file = format!("person-{}.toml", name.to_lowercase());
    provided.mappings.push((file, yiwang_city::bench_mapping_of(kind, "provider")));
    provided.operations.push(yiwang_city::bench_operation(kind).to_owned());
    provided.batches.push(yiwang_city::bench_batch(kind).to_owned());
    Ok(Ok(server))
}

fn place(
    name: &'static str,
    operation: &'static str,
    server: Option<Database>,
    (file, text): (&str, &str),
    environment: &Arc<dyn Environment>,
) -> Result<Place, Failure> {
    let (mapping, source) = open((file, text), environment)?;
    let (through, alone) = (Figures::default(), Figures::default());
    Ok(Place { name, operation, mapping, source, through, alone, _server: server })
}

/// The source of a mapping, as an adapter would open it.
pub(super) fn open(
    (file, text): (&str, &str),
    environment: &Arc<dyn Environment>,
) -> Result<(Arc<Mapping>, Arc<dyn Source>), Failure> {
    let mapping = Mapping::parse(text, Path::new(file))
        .map_err(|faults| Failure::environment(format!("a mapping of the bench is not sound: {faults:?}")))?;
    let source = yiwang_adapter::sources::open(&mapping, environment).map_err(Failure::environment)?;
    Ok((Arc::new(mapping), source))
}

impl Place {
    /// A turn through the adapter, and one of the query by itself.
    async fn turn(&mut self, network: &Network, seconds: u64, in_flight: usize) -> Result<(), Failure> {
        exchange::turn_of(network, self.operation, seconds, in_flight, &mut self.through).await?;
        let name = Operation::parse(self.operation).map_err(Failure::environment)?;
        let operation = self.mapping.operation(&name).cloned();
        let operation = operation.ok_or_else(|| Failure::environment("the mapping lacks its operation"))?;
        let (source, subjects) = (Arc::clone(&self.source), network.subjects.clone());
        let one = move |number: u64| {
            let at = usize::try_from(number).unwrap_or_default() % subjects.len().max(1);
            let query = query(&operation, subjects.get(at).map_or("", String::as_str));
            let source = Arc::clone(&source);
            async move {
                let found = source.fetch(query).await.map_err(Failure::environment)?;
                if found.rows.len() == 1 { Ok(()) } else { Err(Failure::environment("no row was found")) }
            }
            .boxed()
        };
        // There is no other process in it: the query's price is this one's.
        exchange::turn(seconds, in_flight, (0, 0), &mut self.alone, one).await
    }

    fn report(&self) -> Value {
        let through = ratio(self.through.adapter, self.through.done);
        let alone = ratio(self.alone.app, self.alone.done);
        let per = |figures: &Figures, us: u64| us / figures.done.max(1);
        let on_top =
            per(&self.through, self.through.adapter).saturating_sub(per(&self.alone, self.alone.app));
        json!({
            "adapter_us": through, "query_us": alone, "on_top_us": on_top,
            "ratio": ratio(per(&self.through, self.through.adapter), per(&self.alone, self.alone.app)),
            "lookups": self.through.done, "queries": self.alone.done,
        })
    }
}

/// The query that the adapter makes of a lookup of all granted fields.
fn query(operation: &Arc<OperationDef>, id: &str) -> FetchQuery {
    FetchQuery {
        operation: Arc::clone(operation),
        columns: operation.fields.iter().filter_map(|field| field.from.clone()).collect(),
        params: vec![(Arc::from("id"), Some(Scalar::Text(id.to_owned())))],
        filter: None,
        page: None,
        limit: 2,
        timeout: PATIENCE,
    }
}
