//! One officer who looks up far more in a day than colleagues do: the pattern of those who sold records or
//! were curious. It is held against the median day of the officers of the same member, because offices differ.

use super::{Asker, DAY_MS, Event, Lines, pass};
use crate::error::AuditError;
use crate::rows::Sheet;
use crate::source::Entries;
use serde_json::{Value, json};
use std::collections::{HashMap, HashSet};
use yiwang_proto::tag::Tag;

#[derive(Default)]
struct Day {
    lookups: u64,
    denied: u64,
    cases: HashSet<String>,
    subjects: HashSet<Tag>,
    first: u64,
    last: u64,
}

pub(super) fn insider(entries: &dyn Entries, lines: &Lines) -> Result<Sheet, AuditError> {
    let offset_ms = i64::from(lines.utc_offset_hours).saturating_mul(3_600_000);
    let mut days: HashMap<(Asker, i64), Day> = HashMap::new();
    pass(entries, &mut |event| {
        let Event::Exchange(found) = event else { return };
        let row = &found.access;
        // A service that acts for no officer has a ceiling in its contract instead.
        if row.officer.is_empty() {
            return;
        }
        let day = found.time_ms.saturating_add(offset_ms).div_euclid(DAY_MS);
        let day = days
            .entry((Asker::of(&found), day))
            .or_insert_with(|| Day { first: row.index, ..Day::default() });
        day.lookups += 1;
        day.denied += u64::from(row.outcome == "denied");
        day.last = row.index;
        if !day.cases.contains(&row.case) {
            day.cases.insert(row.case.clone());
        }
        day.subjects.extend(&found.tags);
    })?;
    let mut by_member: HashMap<&str, Vec<u64>> = HashMap::new();
    for ((asker, _), day) in &days {
        by_member.entry(&asker.consumer).or_default().push(day.lookups);
    }
    let medians: HashMap<String, u64> = by_member
        .into_iter()
        .map(|(member, mut counts)| {
            counts.sort_unstable();
            (member.to_owned(), counts.get((counts.len().saturating_sub(1)) / 2).copied().unwrap_or_default())
        })
        .collect();
    let median_of = |asker: &Asker| medians.get(&asker.consumer).copied().unwrap_or_default();
    let mut listed: Vec<((Asker, i64), Day)> = days
        .into_iter()
        .filter(|((asker, _), day)| {
            let far = median_of(asker).saturating_mul(lines.times_median);
            day.lookups >= lines.per_day && day.lookups >= far
        })
        .collect();
    listed.sort_by(|(a, x), (b, y)| y.lookups.cmp(&x.lookups).then_with(|| a.cmp(b)));
    let rows = listed.into_iter().map(|((asker, day), counts)| {
        let median = median_of(&asker);
        row(asker, day, median, &counts)
    });
    Ok(Sheet { columns: COLUMNS.to_vec(), rows: rows.collect() })
}

const COLUMNS: [&str; 11] = [
    "consumer",
    "app",
    "officer",
    "day",
    "lookups",
    "median_of_member",
    "denied",
    "cases",
    "tags",
    "first_entry",
    "last_entry",
];

fn row(asker: Asker, day: i64, median: u64, counts: &Day) -> Vec<Value> {
    let date = super::time(day.saturating_mul(DAY_MS));
    vec![
        asker.consumer.into(),
        asker.app.into(),
        asker.officer.into(),
        date.split('T').next().unwrap_or_default().into(),
        json!(counts.lookups),
        json!(median),
        json!(counts.denied),
        json!(counts.cases.len()),
        json!(counts.subjects.len()),
        json!(counts.first),
        json!(counts.last),
    ]
}
