//! `/metrics`: one page in Prometheus' text format. Labels are mappings, apps, codes and routes: names that the
//! configuration or a closed list holds, none about a person.

use crate::health::Health;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use std::sync::Arc;
use yiwang_adapter_sdk::adapter::Adapter;
use yiwang_adapter_sdk::fetch::OperationHealth;
use yiwang_adapter_sdk::health::{LinkState, Snapshot};
use yiwang_telemetry::{CONTENT_TYPE, Kind, Page, process};

pub(crate) async fn page(State(health): State<Arc<Health>>) -> Response {
    let mut page = Page::default();
    if let Some(adapter) = &health.adapter {
        of_adapter(adapter, &mut page);
    }
    of_sources(&health, &mut page);
    if let Some(gateway) = &health.gateway {
        gateway.metrics(&mut page);
    }
    process(&mut page);
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], page.finish()).into_response()
}

/// Each adds the metrics of one part of the adapter.
const PARTS: &[fn(&Snapshot, &mut Page)] = &[answers, link, head_and_journal];

fn of_adapter(adapter: &Adapter, page: &mut Page) {
    let health = adapter.health();
    for part in PARTS {
        part(&health, page);
    }
}

fn answers(health: &Snapshot, page: &mut Page) {
    let name = "yiwang_adapter_answers_total";
    page.metric(name, Kind::Counter, "Requests that got a signed answer, by outcome.");
    let sum = |counts: &std::collections::BTreeMap<&str, u64>| counts.values().sum::<u64>();
    let outcomes =
        [("answered", health.answered), ("denied", sum(&health.denied)), ("failed", sum(&health.failed))];
    for (outcome, count) in outcomes {
        page.sample(name, &[("outcome", outcome)], count);
    }
    let name = "yiwang_adapter_refusals_total";
    page.metric(name, Kind::Counter, "Requests refused or failed, by code.");
    for (outcome, counts) in [("denied", &health.denied), ("failed", &health.failed)] {
        for (code, count) in counts {
            page.sample(name, &[("outcome", outcome), ("code", code)], *count);
        }
    }
    let help = "Bytes that were no statement.";
    page.one("yiwang_adapter_unsigned_total", Kind::Counter, help, health.unsigned);
    page.one("yiwang_adapter_running", Kind::Gauge, "Exchanges under way.", health.in_flight);
}

fn link(health: &Snapshot, page: &mut Page) {
    let up = health.link == LinkState::Up;
    page.one("yiwang_links_up", Kind::Gauge, "1 if the link to the hub serves.", up.into());
    page.one("yiwang_link_starts_total", Kind::Counter, "How often a link came up.", health.link_starts);
    let help = "Frames that broke the rules of the link.";
    page.one("yiwang_link_protocol_errors_total", Kind::Counter, help, health.protocol_errors);
    let help = "Exchanges that were over and whose hub had not said so.";
    page.one("yiwang_adapter_given_up_total", Kind::Counter, help, health.given_up);
    let help = "Heads, proofs or receipts that contradict what is known here.";
    page.one("yiwang_alarms_total", Kind::Counter, help, health.alarms);
}

fn head_and_journal(health: &Snapshot, page: &mut Page) {
    page.one("yiwang_ledger_entries", Kind::Gauge, "Entries under the newest kept head.", health.head_size);
    page.metric("yiwang_ledger_head_age_seconds", Kind::Gauge, "Since the newest head was kept.");
    page.seconds("yiwang_ledger_head_age_seconds", &[], health.head_age_ms);
    let help = "Answers whose entry was proved.";
    page.one("yiwang_adapter_receipted_total", Kind::Counter, help, health.receipted);
    page.one("yiwang_adapter_unreceipted", Kind::Gauge, "Answers that lack it.", health.unreceipted);
    let help = "Receipts that did not hold.";
    page.one("yiwang_adapter_bad_receipts_total", Kind::Counter, help, health.bad_receipts);
    page.one(
        "yiwang_journal_full",
        Kind::Gauge,
        "1 if the journal has no space.",
        health.journal_full.into(),
    );
    page.one("yiwang_journal_dead", Kind::Gauge, "1 if the journal failed.", health.journal_dead.into());
}

fn of_sources(health: &Health, page: &mut Page) {
    let sources = health.sources();
    if sources.is_empty() {
        return;
    }
    page.metric("yiwang_source_up", Kind::Gauge, "1 if the source answers its live check.");
    for source in &sources {
        let up = source.trouble.is_none().into();
        page.sample("yiwang_source_up", &[("mapping", source.mapping.as_str())], up);
    }
    of_operations(health, page);
    let reloads = health.mappings.reloads();
    let help =
        "Mapping files that do not hold: changed, and the ones before serve on, or left out since the start.";
    page.one("yiwang_mapping_reload_failed", Kind::Gauge, help, reloads.refused.len() as u64);
    let name = "yiwang_mapping_reloads_total";
    page.metric(name, Kind::Counter, "Changed mapping files, by outcome.");
    page.sample(name, &[("outcome", "taken")], reloads.changes);
    page.sample(name, &[("outcome", "refused")], reloads.failures);
}

/// What is said of each operation, by mapping.
type OfOperation = (&'static str, Kind, &'static str, fn(&OperationHealth) -> u64);
const OF_OPERATIONS: [OfOperation; 4] = [
    ("yiwang_operation_asked_total", Kind::Counter, "How often a source was asked.", |one| one.asked),
    ("yiwang_operation_failed_total", Kind::Counter, "How often it gave no answer.", |one| one.failed),
    (
        "yiwang_operation_drifted",
        Kind::Gauge,
        "1 if the source's tables are no longer what the mapping reads.",
        |one| one.drift.is_some().into(),
    ),
    (
        "yiwang_operation_rows_left_out_total",
        Kind::Counter,
        "Rows of batches of which no record could be made.",
        |one| one.left_out,
    ),
];

fn of_operations(health: &Health, page: &mut Page) {
    let sources = health.mappings.sources();
    for (name, kind, help, value) in OF_OPERATIONS {
        page.metric(name, kind, help);
        for source in &sources {
            let mapping = source.mapped.mapping().name();
            for one in source.mapped.operations_health() {
                let labels = [("mapping", mapping), ("operation", one.operation.as_str())];
                page.sample(name, &labels, value(&one));
            }
        }
    }
}
