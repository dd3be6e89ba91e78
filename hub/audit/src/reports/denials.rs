//! Runs of refusals: somebody who tries until something works.

use super::{Asker, Event, Lines, MINUTE_MS, pass, time};
use crate::error::AuditError;
use crate::rows::Sheet;
use crate::source::Entries;
use serde_json::json;
use std::collections::{BTreeMap, HashMap, HashSet};

struct Series {
    from_ms: i64,
    to_ms: i64,
    count: u64,
    codes: BTreeMap<String, u64>,
    cases: HashSet<String>,
    first: u64,
    last: u64,
}

/// One refusal, or a folded count of them.
struct Refused {
    asker: Asker,
    index: u64,
    time_ms: i64,
    code: String,
    case: String,
    count: u64,
}

/// What is answered in between does not end a series: who guesses mixes in what is allowed.
pub(super) fn denials(entries: &dyn Entries, lines: &Lines) -> Result<Sheet, AuditError> {
    let gap_ms = i64::from(lines.gap_minutes).saturating_mul(MINUTE_MS);
    let mut running: HashMap<Asker, Series> = HashMap::new();
    let mut ended: Vec<(Asker, Series)> = Vec::new();
    pass(entries, &mut |event| {
        let Some(refused) = refused(event) else { return };
        if let Some(old) = running.get(&refused.asker)
            && refused.time_ms.saturating_sub(old.to_ms) > gap_ms
            && let Some(old) = running.remove_entry(&refused.asker)
            && old.1.count >= lines.series
        {
            ended.push(old);
        }
        let series = running.entry(refused.asker).or_insert_with(|| Series {
            from_ms: refused.time_ms,
            to_ms: refused.time_ms,
            count: 0,
            codes: BTreeMap::new(),
            cases: HashSet::new(),
            first: refused.index,
            last: refused.index,
        });
        series.to_ms = refused.time_ms;
        series.last = refused.index;
        series.count = series.count.saturating_add(refused.count);
        let of_code = series.codes.entry(refused.code).or_default();
        *of_code = of_code.saturating_add(refused.count);
        if !refused.case.is_empty() {
            series.cases.insert(refused.case);
        }
    })?;
    ended.extend(running.into_iter().filter(|(_, series)| series.count >= lines.series));
    ended.sort_by(|(a, x), (b, y)| y.count.cmp(&x.count).then_with(|| (x.first, a).cmp(&(y.first, b))));
    let rows = ended.into_iter().map(|(asker, series)| {
        let codes: Vec<String> = series.codes.iter().map(|(code, count)| format!("{code} {count}")).collect();
        vec![
            asker.consumer.into(),
            asker.app.into(),
            asker.officer.into(),
            time(series.from_ms).into(),
            time(series.to_ms).into(),
            json!(series.count),
            codes.join(", ").into(),
            json!(series.cases.len()),
            json!(series.first),
            json!(series.last),
        ]
    });
    Ok(Sheet {
        columns: vec![
            "consumer",
            "app",
            "officer",
            "from",
            "to",
            "denied",
            "codes",
            "cases",
            "first_entry",
            "last_entry",
        ],
        rows: rows.collect(),
    })
}

fn refused(event: Event) -> Option<Refused> {
    match event {
        Event::Exchange(found) if found.access.outcome == "denied" => Some(Refused {
            asker: Asker::of(&found),
            index: found.access.index,
            time_ms: found.time_ms,
            code: found.access.code,
            case: found.access.case,
            count: 1,
        }),
        Event::Folded(index, time_ms, raw) => Some(Refused {
            asker: Asker { consumer: raw.consumer, app: raw.app, officer: String::new() },
            index,
            time_ms,
            code: raw.code,
            case: String::new(),
            count: raw.count.saturating_add(raw.unkept),
        }),
        _ => None,
    }
}
