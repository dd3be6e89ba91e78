//! What a gateway does about a hub whose ledger cannot be believed.

use crate::town::Town;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use yiwang_hub::context::TestSwitches;
use yiwang_tests::forged::LedgerKey;

/// Meetings are a minute apart: what is found sooner, a proof between two of them found.
const SOONER: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t07_a_receipt_under_a_head_of_its_own_stops_the_gateway_between_two_meetings() {
    let mut town = Town::new(168).await;
    let mother = town.city.household().mother;
    // One receipt: two of one size that differ show at once.
    let lies = Arc::new(AtomicBool::new(false));
    let (key, lie) = (LedgerKey::of(&town.world), Arc::clone(&lies));
    let bent_receipts = Some(key.bends(move || lie.swap(false, Ordering::SeqCst), 1 << 40));
    town.world.stop_hub().await;
    town.world.set_switches(TestSwitches { bent_receipts, ..TestSwitches::default() });
    town.world.start_hub().await;
    for member in [&town.police, &town.civil] {
        town.world.until_linked(member.id()).await;
    }
    town.office.until_ready().await;
    let case = town.open_case(&[&mother.id]).await;
    assert_eq!(town.query(&case, &mother.id).await.json()["complete"], true);
    let state = async || {
        let status = town.office.health("/status").await.json();
        status["gateway"]["apps"][0]["hub"].as_str().unwrap().to_owned()
    };
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(state().await, "met", "honest receipts are proved, and it goes on");

    lies.store(true, Ordering::SeqCst);
    assert_eq!(town.query(&case, &mother.id).await.json()["complete"], true, "nothing shows yet");
    let found = async {
        while state().await != "alarm" {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(SOONER, found).await.unwrap();
    town.query(&case, &mother.id).await.problem(502, "unverified");
    assert_eq!(town.office.health("/ready").await.status, 503);
    town.stop().await;
}
