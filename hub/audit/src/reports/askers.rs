//! Who asked most.

use super::{Asker, Event, pass};
use crate::error::AuditError;
use crate::rows::Sheet;
use crate::source::Entries;
use serde_json::json;
use std::collections::{HashMap, HashSet};
use yiwang_proto::tag::Tag;

#[derive(Default)]
struct Count {
    asked: u64,
    answered: u64,
    denied: u64,
    cases: HashSet<String>,
    subjects: HashSet<Tag>,
    providers: HashSet<String>,
    first: u64,
    last: u64,
}

/// A subject counts once for each case: its tags of two cases cannot be linked.
pub(super) fn askers(entries: &dyn Entries) -> Result<Sheet, AuditError> {
    let mut counts: HashMap<Asker, Count> = HashMap::new();
    pass(entries, &mut |event| {
        let found = match event {
            Event::Exchange(found) => found,
            Event::Folded(index, _, raw) => {
                let asker = Asker { consumer: raw.consumer, app: raw.app, officer: String::new() };
                let count = counts.entry(asker).or_insert_with(|| Count { first: index, ..Count::default() });
                let denied = raw.count.saturating_add(raw.unkept);
                count.asked = count.asked.saturating_add(denied);
                count.denied = count.denied.saturating_add(denied);
                count.last = index;
                return;
            }
            Event::Case(..) | Event::Other(_) => return,
        };
        let row = &found.access;
        let count =
            counts.entry(Asker::of(&found)).or_insert_with(|| Count { first: row.index, ..Count::default() });
        count.asked += 1;
        count.answered += u64::from(row.outcome == "answered");
        count.denied += u64::from(row.outcome == "denied");
        count.last = row.index;
        if !row.case.is_empty() && !count.cases.contains(&row.case) {
            count.cases.insert(row.case.clone());
        }
        if !row.provider.is_empty() && !count.providers.contains(&row.provider) {
            count.providers.insert(row.provider.clone());
        }
        count.subjects.extend(&found.tags);
    })?;
    let mut counts: Vec<(Asker, Count)> = counts.into_iter().collect();
    counts.sort_by(|(a, x), (b, y)| y.asked.cmp(&x.asked).then_with(|| a.cmp(b)));
    let rows = counts.into_iter().map(|(asker, count)| {
        vec![
            asker.consumer.into(),
            asker.app.into(),
            asker.officer.into(),
            json!(count.asked),
            json!(count.answered),
            json!(count.denied),
            json!(count.cases.len()),
            json!(count.subjects.len()),
            json!(count.providers.len()),
            json!(count.first),
            json!(count.last),
        ]
    });
    Ok(Sheet {
        columns: vec![
            "consumer",
            "app",
            "officer",
            "asked",
            "answered",
            "denied",
            "cases",
            "tags",
            "providers",
            "first_entry",
            "last_entry",
        ],
        rows: rows.collect(),
    })
}
