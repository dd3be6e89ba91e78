//! T24: denials beyond the verbatim limit, and kill -9 between their journal and their entry.

use crate::judge::verify;
use crate::rounds;
use crate::town::{Places, Town, yiwang};
use std::sync::Arc;
use std::time::Duration;
use yiwang_client::error::ClientError;
use yiwang_client::exchange::{Ask, Ending};
use yiwang_proto::body::Arguments;
use yiwang_proto::codes::Code;
use yiwang_proto::entry::{Kind, decode};
use yiwang_proto::ids::{CaseId, FieldName, Operation};

/// More than the verbatim limit, so that each round folds some.
const PER_ROUND: usize = 160;

/// Count of denials that the ledger has folded.
fn folded(town: &Town) -> u64 {
    let options = yiwang_journal::Options::default();
    let segments = town.hub_dir.join("ledger/segments");
    let (reader, _) = yiwang_journal::Reader::open_readonly(&segments, &options).unwrap();
    let kinds = reader.scan(0).map(|item| decode(&item.unwrap().1).unwrap().kind);
    kinds.filter_map(|kind| if let Some(Kind::Folded(raw)) = kind { Some(raw.count) } else { None }).sum()
}

/// Asks in a case that there is not; true where the hub said so without an entry.
async fn denied(town: &Town, client: &yiwang_client::client::Client, number: usize) -> Option<bool> {
    let ask = Ask {
        operation: Operation::parse("person.by_id").unwrap(),
        fields: vec![FieldName::parse("name").unwrap()],
        case: CaseId::parse("0190a5c3-0000-7000-8000-000000000001").unwrap(),
        officer: None,
        subject: town.source.id(number as u64 % 100),
        arguments: Arguments::new(),
        retry_of: None,
    };
    let signed = client.sign(&town.contract, &ask);
    let sent = client.exchange(&town.contract, &signed);
    match tokio::time::timeout(Duration::from_secs(30), sent).await {
        Ok(Ok(exchanged)) => {
            assert!(matches!(exchanged.ending, Ending::Denied { .. }), "{exchanged:?}");
            Some(false)
        }
        Ok(Err(ClientError::Hub { code: Code::NoCase })) => Some(true),
        _ => None,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t24_a_kill_between_journal_and_entry_loses_no_denial() {
    let kills = rounds(4, 60);
    let mut town = Town::new(Places::default()).await;
    let kept = tempfile::tempdir().unwrap();
    let client = Arc::new(town.client().keeping(kept.path()).unwrap());
    client.meet().await.unwrap();
    let mut answered = 0_u64;
    for kill in 0..kills {
        let asked = (0..PER_ROUND).map(|number| denied(&town, &client, number));
        let outcomes = futures_util::future::join_all(asked).await;
        answered += outcomes.iter().filter(|outcome| **outcome == Some(true)).count() as u64;
        // Sometimes at once, sometimes when a minute's end may just be entered.
        tokio::time::sleep(Duration::from_millis(u64::from(kill % 2) * 1_300)).await;
        town.kill_hub();
        town.start_both();
        town.until_linked().await;
        for _ in 0..100 {
            if client.meet().await.is_ok() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    assert!(answered > 100, "{answered} denials were folded");
    // In good order: what is left gets its entry.
    let id = town.hub.as_ref().unwrap().child.id().to_string();
    assert!(std::process::Command::new("kill").arg(id).status().unwrap().success());
    town.hub.as_mut().unwrap().child.wait().unwrap();
    town.kill_hub();
    town.kill_adapter();
    assert!(folded(&town) >= answered, "{} folded, {answered} were answered", folded(&town));
    verify(&town);
    let ledger = town.hub_dir.join("ledger").display().to_string();
    let key = std::fs::read_to_string(town.hub_dir.join("ledger/verifier.key")).unwrap();
    let received = kept.path().display().to_string();
    let arguments = [
        "audit",
        "reconcile",
        "--ledger",
        &ledger,
        "--received",
        &received,
        "--key",
        key.trim(),
        "-o",
        "json",
    ];
    let done: serde_json::Value = serde_json::from_str(&yiwang(&arguments)).unwrap();
    assert!(done["folded"].as_u64().unwrap() >= answered, "{done}");
    assert_eq!(done["total"], 0, "{done}");
    println!("{kills} kills of the hub, {answered} folded denials answered, {} in the ledger", folded(&town));
}
