//! `/metrics`: one page in Prometheus' text format. Labels are members, codes, stages, outcomes: all of closed
//! or registered lists, none about a person.

use crate::context::Hub;
use crate::limits::EXCHANGES_MAX;
use crate::links::Link;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use std::sync::Arc;
use yiwang_telemetry::{CONTENT_TYPE, Kind, Page, process};

/// Each adds the metrics of one part of the hub. A part with something to tell adds a line here.
const PARTS: &[fn(&Hub, &mut Page)] = &[exchanges, links, standings, ledger, alarms, clock];

pub(super) async fn page(State(hub): State<Arc<Hub>>) -> Response {
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], text(&hub)).into_response()
}

fn text(hub: &Hub) -> String {
    let mut page = Page::default();
    for part in PARTS {
        part(hub, &mut page);
    }
    process(&mut page);
    page.finish()
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

fn exchanges(hub: &Hub, page: &mut Page) {
    let name = "yiwang_exchanges_total";
    page.metric(name, Kind::Counter, "Exchanges that are ledger entries, by outcome.");
    for (outcome, number) in hub.meters.outcomes() {
        page.sample(name, &[("outcome", outcome)], number);
    }
    let name = "yiwang_refusals_total";
    page.metric(
        name,
        Kind::Counter,
        "Refused or failed, by code; `recorded` says whether there is an entry, or one that counts it.",
    );
    for (code, number) in hub.meters.recorded_codes() {
        page.sample(name, &[("code", code.as_str()), ("recorded", "yes")], number);
    }
    for (code, number) in hub.meters.folded_codes() {
        page.sample(name, &[("code", code.as_str()), ("recorded", "folded")], number);
    }
    for (code, number) in hub.meters.unrecorded_codes() {
        page.sample(name, &[("code", code.as_str()), ("recorded", "no")], number);
    }
    let (_, unkept) = hub.denials.kept();
    let help = "Folded denials whose statements could not be kept.";
    page.one("yiwang_denials_unkept_total", Kind::Counter, help, unkept);
    let running = EXCHANGES_MAX.saturating_sub(hub.exchanges.available_permits());
    page.one("yiwang_exchanges_running", Kind::Gauge, "Exchanges under way.", count(running));
    let help = "Token buckets of members and purposes.";
    page.one("yiwang_buckets", Kind::Gauge, help, count(hub.gate.buckets()));
    let help = "Duration of the stages of an exchange.";
    page.histograms("yiwang_stage_seconds", help, "stage", hub.stage_times.histograms());
}

/// A gauge of each link: name, help, value.
type OfLink = (&'static str, &'static str, fn(&Link) -> usize);

fn links(hub: &Hub, page: &mut Page) {
    let open: Vec<_> = hub.links.connected().iter().filter_map(|member| hub.links.of(member)).collect();
    page.one("yiwang_links_up", Kind::Gauge, "Adapters that are connected.", count(open.len()));
    let replaced = u64::try_from(hub.links.replaced()).unwrap_or_default();
    let help = "Links that a second one of the same member replaced.";
    page.one("yiwang_links_replaced_total", Kind::Counter, help, replaced);
    held(hub, page);
    let gauges: [OfLink; 3] = [
        ("yiwang_link_running", "Exchanges under way at an adapter.", |link| link.running()),
        ("yiwang_link_queue_frames", "Frames that wait for an adapter's connection.", |link| link.waiting()),
        ("yiwang_link_held_bytes", "Bytes of answers that are being put together.", |link| link.held()),
    ];
    for (name, help, value) in gauges {
        page.metric(name, Kind::Gauge, help);
        for link in &open {
            page.sample(name, &[("member", link.member().as_str())], count(value(link)));
        }
    }
}

/// Requests that wait for an adapter that is being replaced.
fn held(hub: &Hub, page: &mut Page) {
    let held = hub.links.requests_held();
    let help = "Requests that wait for an adapter that is back in a moment.";
    page.one("yiwang_requests_held_now", Kind::Gauge, help, count(held.requests));
    let help = "Bytes of requests that wait so.";
    page.one("yiwang_requests_held_bytes", Kind::Gauge, help, count(held.bytes));
    let name = "yiwang_requests_held_total";
    let help = "Requests that had to wait, by how it ended: `sent` down the new link, `refused` by what was taken back \
                meanwhile, `away` for nobody came in time, `full` without a place.";
    page.metric(name, Kind::Counter, help);
    for (ended, number) in held.ended {
        page.sample(name, &[("ended", ended)], number);
    }
}

/// A member whose newest word is older than its contracts allow is asked nothing and asks nothing.
fn standings(hub: &Hub, page: &mut Page) {
    let name = "yiwang_standing_age_seconds";
    page.metric(
        name,
        Kind::Gauge,
        "Since a member said what is still in force, of those that did since the start.",
    );
    let now_ms = hub.clock.now_ms();
    let mut all = hub.standings.all();
    all.sort_by(|a, b| a.standing.member.cmp(&b.standing.member));
    for held in all {
        let age = u64::try_from(now_ms.saturating_sub(held.standing.issued_at_ms)).unwrap_or_default();
        page.seconds(name, &[("member", held.standing.member.as_str())], age);
    }
}

fn ledger(hub: &Hub, page: &mut Page) {
    let ledger = &hub.ledger;
    page.one(
        "yiwang_ledger_entries",
        Kind::Gauge,
        "Entries under the newest head.",
        ledger.checkpoint().size,
    );
    let published = ledger.published().map_or(0, |head| head.size);
    let help = "Entries under the published head; 0 while too few witnesses have cosigned any.";
    page.one("yiwang_ledger_published_entries", Kind::Gauge, help, published);
    let age = hub.clock.now_ms().saturating_sub(ledger.last_time_ms());
    page.metric("yiwang_ledger_head_age_seconds", Kind::Gauge, "Since the newest entry.");
    page.seconds("yiwang_ledger_head_age_seconds", &[], u64::try_from(age).unwrap_or_default());
    let name = "yiwang_ledger_batch_seconds";
    page.metric(name, Kind::Gauge, "Since the batch began that is being made durable; 0 without one.");
    page.seconds(name, &[], ledger.batch_ms());
    let help = "Drafts that wait for the sequencer.";
    page.one("yiwang_ledger_queue_drafts", Kind::Gauge, help, count(ledger.waiting()));
    page.one(
        "yiwang_ledger_ready",
        Kind::Gauge,
        "1 if exchanges can be recorded.",
        ledger.ready().is_ok().into(),
    );
    let behind = ledger.publishing_behind().into();
    page.one("yiwang_ledger_publishing_behind", Kind::Gauge, "1 if tile and checkpoint files lag.", behind);
}

/// What should not be, each in the log with its details.
fn alarms(hub: &Hub, page: &mut Page) {
    let name = "yiwang_alarms_total";
    let help = "`head_contradicts`: a statement names a head that is not on this ledger; `witness`: one refuses a checkpoint \
                or knows a larger ledger; `restored`: a witness or an adapter came back with less than it had; `late`, \
                `offers_refused`: answers that an adapter offered afterwards, entered or not.";
    page.metric(name, Kind::Counter, help);
    for (alarm, number) in hub.alarms.counts() {
        page.sample(name, &[("alarm", alarm)], number);
    }
}

fn clock(hub: &Hub, page: &mut Page) {
    let now = u64::try_from(hub.clock.now_ms()).unwrap_or_default();
    page.metric("yiwang_clock_seconds", Kind::Gauge, "The hub's own clock.");
    page.seconds("yiwang_clock_seconds", &[], now);
}
