//! Cases in which data was given out and nothing happened afterwards: data that was asked for is used, or the
//! case was opened in order to ask.

use super::{DAY_MS, Event, Lines, pass, time};
use crate::error::AuditError;
use crate::rows::Sheet;
use crate::source::Entries;
use serde_json::json;
use std::collections::{BTreeSet, HashMap};
use yiwang_proto::case::Act;

#[derive(Default)]
struct Case {
    member: String,
    matter: String,
    opened_ms: i64,
    /// Answered exchanges since the last statement about the case.
    accesses: u64,
    first: u64,
    last: u64,
    last_ms: i64,
    askers: BTreeSet<String>,
}

pub(super) fn idle(entries: &dyn Entries, lines: &Lines) -> Result<Sheet, AuditError> {
    let mut cases: HashMap<String, Case> = HashMap::new();
    let end_ms = pass(entries, &mut |event| match event {
        Event::Case(time_ms, statement) => {
            let case = cases.entry(statement.case.to_string()).or_default();
            if let Act::Open { matter } = &statement.act {
                (case.member, case.matter) = (statement.member.to_string(), matter.to_string());
                case.opened_ms = time_ms;
            }
            case.accesses = 0;
            case.askers.clear();
        }
        Event::Exchange(found) if found.access.outcome == "answered" => {
            let row = &found.access;
            let case = cases.entry(row.case.clone()).or_default();
            if case.accesses == 0 {
                case.first = row.index;
            }
            case.accesses += 1;
            (case.last, case.last_ms) = (row.index, found.time_ms);
            let who = if row.officer.is_empty() { &row.app } else { &row.officer };
            if !case.askers.contains(who) {
                case.askers.insert(who.clone());
            }
        }
        _ => {}
    })?;
    let quiet_ms = i64::from(lines.quiet_days).saturating_mul(DAY_MS);
    let mut idle: Vec<(String, Case)> = cases
        .into_iter()
        .filter(|(_, case)| case.accesses > 0 && end_ms.saturating_sub(case.last_ms) >= quiet_ms)
        .collect();
    idle.sort_by(|(a, x), (b, y)| y.accesses.cmp(&x.accesses).then_with(|| a.cmp(b)));
    let rows = idle.into_iter().map(|(id, case)| {
        vec![
            id.into(),
            case.member.into(),
            case.matter.into(),
            time(case.opened_ms).into(),
            json!(case.accesses),
            time(case.last_ms).into(),
            json!(end_ms.saturating_sub(case.last_ms) / DAY_MS),
            case.askers.into_iter().collect::<Vec<_>>().join(" ").into(),
            json!(case.first),
            json!(case.last),
        ]
    });
    Ok(Sheet {
        columns: vec![
            "case",
            "member",
            "matter",
            "opened",
            "accesses",
            "last_access",
            "quiet_days",
            "askers",
            "first_entry",
            "last_entry",
        ],
        rows: rows.collect(),
    })
}
