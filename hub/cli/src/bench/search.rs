//! The auditor's search over a synthetic ledger: how long the index takes, and each kind of search.

use super::synthetic;
use crate::fail::Failure;
use crate::setup;
use serde_json::{Value, json};
use std::path::Path;
use yiwang_audit::{Ended, Filter, SearchIndex, folder_entries};
use yiwang_proto::codes::Code;
use yiwang_proto::ids::{CaseId, ContractId, MemberId};

/// Searches of each kind.
const ROUNDS: usize = 40;
/// Hits of one page.
const LIMIT: usize = 100;

fn bad(error: impl std::fmt::Display) -> Failure {
    Failure::environment(error)
}

pub fn measure(entries: usize) -> Result<Value, Failure> {
    let dir = tempfile::tempdir().map_err(bad)?;
    let ledger = dir.path().join("ledger");
    std::fs::create_dir_all(&ledger).map_err(bad)?;
    let (_, size) = synthetic::write(&ledger, entries)?;
    searches(&ledger, size)
}

fn searches(ledger: &Path, size: u64) -> Result<Value, Failure> {
    let clock = setup::clock();
    let source = folder_entries(ledger).map_err(bad)?;
    let path = SearchIndex::beside(ledger);
    let start = clock.monotonic_us();
    let mut index = SearchIndex::rebuild(&path, source.as_ref()).map_err(bad)?;
    let built_us = clock.monotonic_us() - start;
    let bytes = std::fs::metadata(&path).map_err(bad)?.len();
    let mut all = Vec::new();
    let mut kinds = serde_json::Map::new();
    for (name, filters) in filters(source.as_ref())? {
        let mut times = Vec::with_capacity(ROUNDS);
        for round in 0..ROUNDS {
            let Some(filter) = filters.get(round % filters.len().max(1)) else { continue };
            // Pages from all over the ledger, not only its beginning.
            let after = size * (round as u64 % 8) / 8;
            let start = clock.monotonic_us();
            index.search(source.as_ref(), filter, Some(after), LIMIT).map_err(bad)?;
            times.push(clock.monotonic_us() - start);
        }
        kinds.insert(name.to_owned(), json!(p95(&mut times)));
        all.extend(times);
    }
    Ok(json!({
        "entries": size,
        "rebuild_per_s": size * 1_000_000 / built_us.max(1),
        "index_bytes_per_entry": bytes / size.max(1),
        "searches": all.len(),
        "search_p95_us": p95(&mut all),
        "search_p95_us_by_filter": kinds,
    }))
}

fn p95(times: &mut [u64]) -> u64 {
    times.sort_unstable();
    times.get((times.len() * 95 / 100).min(times.len().saturating_sub(1))).copied().unwrap_or_default()
}

type Named = (&'static str, Vec<Filter>);

/// Kinds of filters with values that occur; tags and cases are taken from entries.
fn filters(source: &dyn yiwang_audit::Entries) -> Result<Vec<Named>, Failure> {
    let mut cases: Vec<CaseId> = Vec::new();
    let mut tags = Vec::new();
    let step = source.size() / 16;
    for at in 1..16 {
        let (bytes, _) = source.entry(at * step).map_err(bad)?;
        if let Some(request) = request(&bytes) {
            cases.push(request.case);
            tags.extend(request.subject_tags);
        }
    }
    let consumers = (0..16).map(|at| MemberId::parse(&format!("consumer-{at}")).map_err(bad));
    let consumers: Vec<MemberId> = consumers.collect::<Result<_, _>>()?;
    let contract = ContractId::parse("bench-3").map_err(bad)?;
    let any = Filter::default();
    let of = |consumer: &MemberId| Filter { consumer: Some(consumer.clone()), ..any.clone() };
    let mut denied: Vec<Filter> = consumers.iter().map(of).collect();
    for filter in &mut denied {
        filter.outcome = Some(Ended::Denied);
    }
    let mut officers = Vec::new();
    for number in 0..16 {
        officers.push(Filter { officer: Some(synthetic::officer(number * 61)?), ..any.clone() });
    }
    Ok(vec![
        ("none", vec![any.clone()]),
        ("consumer", consumers.iter().map(of).collect()),
        ("consumer_denied", denied),
        ("contract", vec![Filter { contract: Some(contract.clone()), ..any.clone() }]),
        (
            "contract_code",
            vec![Filter { contract: Some(contract), code: Some(Code::FieldNotGranted), ..any.clone() }],
        ),
        ("nothing_found", vec![Filter { code: Some(Code::TagMismatch), ..any.clone() }]),
        ("officer", officers),
        ("case", cases.into_iter().map(|case| Filter { case: Some(case), ..any.clone() }).collect()),
        ("tag", tags.into_iter().map(|tag| Filter { tag: Some(tag), ..any.clone() }).collect()),
    ])
}

fn request(bytes: &bytes::Bytes) -> Option<yiwang_proto::request::Request> {
    use yiwang_proto::entry::{Kind, decode};
    use yiwang_proto::envelope::SignedStatement;
    let Kind::Exchange(raw) = decode(bytes).ok()?.kind? else { return None };
    let signed = SignedStatement::parse(raw.request).ok()?;
    yiwang_proto::request::Request::parse(signed.unverified_payload()).ok()
}
