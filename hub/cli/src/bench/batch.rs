//! `yiwang bench batch`: a table handed over page by page, each page an exchange of its own, and the same pages read by
//! themselves through the same client in this process. Rates are of the records as JSON, so that both count the same.

use super::adapter::{Settings, open, server};
use super::measure::{forget_peak, peak_mb, ratio, rss_mb};
use super::network::{self, Network, Provided};
use crate::fail::Failure;
use crate::setup;
use clap::Args;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use yiwang_adapter_sdk::mapping::{Mapping, OperationDef};
use yiwang_adapter_sdk::source::{FetchQuery, Page, Source};
use yiwang_adapter_sdk::value::Cell;
use yiwang_city::servers::{Database, Kind};
use yiwang_client::batch::BatchAsk;
use yiwang_client::pages::Pages;
use yiwang_proto::contract::{Contract, Scalar};
use yiwang_proto::ids::Operation;
use yiwang_proto::request::OfficerBy;

/// Records of the bench in a megabyte, as JSON.
const ROWS_OF_MB: u64 = 1_000;
/// A page takes some milliseconds; this is for a machine that stands still.
const PATIENCE: Duration = Duration::from_secs(10);
/// Megabytes that a batch may add to the adapter.
const GOAL_EXTRA_MB: u64 = 64;
/// Megabytes a second, or what the source gives by itself.
const GOAL_MB_PER_S: u64 = 200;

const KEYS: &str = "JSON keys, for each of sqlite, postgres, mariadb (or the word why it was left out):
  megabytes      of records, as JSON
  pages          exchanges that carried them
  mb_per_s       through hub and adapter into this process, verified (goal: goal_mb_per_s, or alone_mb_per_s)
  alone_mb_per_s the same pages read by themselves, through the same client
  ratio          the one over the other
adapter_extra_mb the most that the adapter had resident in all batches, above what it had before (goal: goal_extra_mb)
hub_extra_mb     the same of the hub";

/// Arguments of `bench batch`.
#[derive(Args)]
#[command(after_help = KEYS)]
pub struct Arguments {
    /// Megabytes of records in the table.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..=4096))]
    megabytes: u64,
    /// As in `bench adapter`.
    #[arg(long, value_name = "PROGRAM")]
    program: Option<PathBuf>,
}

struct Place {
    name: &'static str,
    operation: Arc<OperationDef>,
    source: Arc<dyn Source>,
    /// Held for as long as it is asked.
    _server: Option<Database>,
}

/// What a reading took.
struct Read {
    bytes: u64,
    rows: u64,
    pages: u64,
    us: u64,
}

pub async fn measure(arguments: &Arguments) -> Result<Value, Failure> {
    let dir = tempfile::tempdir().map_err(Failure::environment)?;
    let rows = arguments.megabytes * ROWS_OF_MB;
    let source = yiwang_city::build_bench(dir.path(), rows).map_err(Failure::environment)?;
    let mut provided = Provided::embedded(&source);
    provided.program.clone_from(&arguments.program);
    provided.batches.push("person.all".to_owned());
    let mut kept = vec![("sqlite", "person.all", None)];
    let mut left_out = Vec::new();
    for (kind, name) in [(Kind::Postgres, "postgres"), (Kind::Mariadb, "mariadb")] {
        match server(kind, &source, &mut provided).await? {
            Ok(server) => kept.push((name, yiwang_city::bench_batch(kind), Some(server))),
            Err(why) => left_out.push((name, why)),
        }
    }
    let environment = Settings::of(&provided);
    let mut places = Vec::new();
    for ((name, operation, server), (file, text)) in kept.into_iter().zip(&provided.mappings) {
        let (mapping, source) = open((file, text), &environment)?;
        places.push(Place { name, operation: batch_of(&mapping, operation)?, source, _server: server });
    }
    let quotas = network::without_quotas();
    let mut network = network::start_providing(dir.path(), 1, quotas, &source, &provided).await?;
    let processes = [network.provider.host.id(), network.hub.id()].map(Option::unwrap_or_default);
    let before = processes.map(rss_mb);
    processes.into_iter().try_for_each(forget_peak)?;
    let mut result = json!({"goal_mb_per_s": GOAL_MB_PER_S, "goal_extra_mb": GOAL_EXTRA_MB});
    let mut insert = |name: &str, value: Value| {
        if let Some(result) = result.as_object_mut() {
            result.insert(name.to_owned(), value);
        }
    };
    for place in &places {
        let through = through(&network, place).await?;
        let alone = alone(place).await?;
        if through.rows != rows || alone.rows != rows {
            let what = format!("{} of {rows} rows came, {} by themselves", through.rows, alone.rows);
            return Err(Failure::refused(what));
        }
        insert(place.name, report(&through, &alone));
    }
    for (name, why) in left_out {
        insert(name, json!(format!("left out: {why}")));
    }
    for (name, (process, before)) in
        ["adapter_extra_mb", "hub_extra_mb"].into_iter().zip(processes.into_iter().zip(before))
    {
        insert(name, json!((peak_mb(process) - before).round()));
    }
    network.stop().await;
    Ok(result)
}

fn batch_of(mapping: &Mapping, name: &str) -> Result<Arc<OperationDef>, Failure> {
    let name = Operation::parse(name).map_err(Failure::environment)?;
    mapping.operation(&name).cloned().ok_or_else(|| Failure::environment("the mapping lacks its batch"))
}

/// Page after page, as `yiwang query batch` asks for them.
async fn through(network: &Network, place: &Place) -> Result<Read, Failure> {
    let contract: &Contract =
        network.batch.as_ref().ok_or_else(|| Failure::environment("no contract for batches"))?;
    let client = network.clients.first().ok_or_else(|| Failure::environment("no client"))?;
    let ask = BatchAsk {
        operation: place.operation.name.clone(),
        fields: contract.text.fields.clone(),
        case: network.case.clone(),
        officer: None,
        officer_by: OfficerBy::Asserted,
    };
    let clock = setup::clock();
    let mut pages = Pages::new(Arc::clone(client), Arc::new(contract.clone()), ask, String::new(), None);
    let begun = clock.monotonic_us();
    let mut read = Read { bytes: 0, rows: 0, pages: 0, us: 0 };
    while let Some(page) = pages.next().await {
        let page = page.map_err(Failure::refused)?;
        read.bytes += page.records.len() as u64;
        read.rows += u64::from(page.rows);
        read.pages += 1;
    }
    read.us = clock.monotonic_us() - begun;
    Ok(read)
}

/// The queries that the adapter makes of them.
async fn alone(place: &Place) -> Result<Read, Failure> {
    let operation = &place.operation;
    let key = operation.page.as_ref().map(|page| Arc::clone(&page.key));
    let key = key.ok_or_else(|| Failure::environment("the operation of the bench is no batch"))?;
    let columns: Vec<Arc<str>> = operation.fields.iter().filter_map(|field| field.from.clone()).collect();
    let at = columns.iter().position(|column| *column == key).unwrap_or_default();
    let (clock, mut after) = (setup::clock(), None);
    let begun = clock.monotonic_us();
    let mut read = Read { bytes: 0, rows: 0, pages: 0, us: 0 };
    loop {
        let query = FetchQuery {
            operation: Arc::clone(operation),
            columns: columns.clone(),
            params: Vec::new(),
            filter: None,
            page: Some(Page { key: Arc::clone(&key), after }),
            limit: operation.limit + 1,
            timeout: PATIENCE,
        };
        let rows = place.source.fetch(query).await.map_err(Failure::environment)?.rows;
        let taken = rows.len().min(operation.limit as usize);
        read.rows += taken as u64;
        read.pages += 1;
        if taken == rows.len() {
            read.us = clock.monotonic_us() - begun;
            return Ok(read);
        }
        after = match rows.cell(taken.saturating_sub(1), at) {
            Cell::Text(text) => Some(Scalar::Text(text.to_owned())),
            _ => return Err(Failure::environment("a row of the bench has no key")),
        };
    }
}

fn report(through: &Read, alone: &Read) -> Value {
    // Bytes per microsecond are megabytes a second; those of the rows by themselves are what the same rows are as JSON.
    let (mb, other) = (ratio(through.bytes, through.us), ratio(through.bytes, alone.us));
    json!({
        "megabytes": through.bytes / 1_000_000, "pages": through.pages, "mb_per_s": mb, "alone_mb_per_s": other,
        "ratio": ratio(alone.us, through.us),
    })
}
