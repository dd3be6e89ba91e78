//! Whether everything held: the three-way reconciliation of what apps kept, the ledger and the adapters' journals, and
//! what only a simulation knows: the order in which things happened.

use super::apps::kept;
use super::template::{APPS, HEALTH, POLICE, STREET};
use super::town::Town;
use std::sync::atomic::Ordering;
use yiwang_audit::reconcile::Sources;
use yiwang_proto::sha256;

/// What one seed came to.
pub struct Verdict {
    /// What must not be; empty where all is well.
    pub wrong: Vec<String>,
    /// What happened, one line each.
    pub lines: Vec<String>,
    /// Of all that, and of the ledger.
    pub digest: String,
    pub entries: u64,
    pub answered: u64,
}

pub fn judge(town: &Town) -> Verdict {
    debug_assert!(town.closing.load(Ordering::SeqCst));
    for said in town.said().iter().filter(|said| said.outcome.starts_with("answered")) {
        for plan in town.plans.iter().filter(|plan| plan.ends(said.app, said.question)) {
            if plan.acknowledged().is_some_and(|at_ms| said.sent_ms > at_ms) {
                town.wrong(format_args!("released after {:?} was acknowledged: {said:?}", plan.what));
            }
        }
    }
    let heads = [POLICE, HEALTH, STREET].into_iter().filter_map(|name| {
        let note = std::fs::read(town.member_dir(name).join("checkpoint")).ok()?;
        Some((name.to_owned(), note))
    });
    let sources = Sources {
        ledger: town.hub_dir().join("ledger"),
        received: (0..APPS.len()).map(|app| kept(town, app)).filter(|dir| dir.is_dir()).collect(),
        journals: [POLICE, HEALTH, STREET].map(|name| town.member_dir(name).join("journal")).into(),
        acknowledged: Vec::new(),
        heads: heads.collect(),
    };
    let reconciled = yiwang_tests::scene::judge(&sources);
    for mismatch in &reconciled.mismatches {
        town.wrong(format_args!(
            "{}, entry {:?}: {}",
            mismatch.fault.as_str(),
            mismatch.index,
            mismatch.what
        ));
    }
    town.note(format_args!(
        "{} entries, {} answered, {} received, {} journalled",
        reconciled.entries, reconciled.answered, reconciled.received, reconciled.journalled
    ));
    let lines = town.lines();
    let mut all = lines.join("\n").into_bytes();
    all.extend(std::fs::read(sources.ledger.join("head")).unwrap_or_default());
    let digest = sha256(&all).iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    Verdict {
        wrong: town.all_wrong(),
        lines,
        digest,
        entries: reconciled.entries,
        answered: reconciled.answered,
    }
}
