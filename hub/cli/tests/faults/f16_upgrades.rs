//! F16: an adapter is upgraded under load: its next process takes over journal and link, and nobody's request fails.

use crate::judge::judge;
use crate::load::Load;
use crate::rounds;
use crate::town::{Places, Town, get};

/// Exchanges at once.
const UNDER_WAY: usize = 32;
/// Of the contract: what is asked while a debug build starts on a busy machine is answered all the same.
const DEADLINE_MS: u32 = 20_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f16_an_adapter_is_upgraded_under_load_and_no_request_fails() {
    let upgrades = rounds(5, 50);
    let places = Places { deadline_ms: Some(DEADLINE_MS), ..Places::default() };
    let mut town = Town::new(places).await;
    let load = Load::with(&town, UNDER_WAY).await;
    load.more(50).await;
    for upgrade in 0..upgrades {
        let mut old = town.adapter.take().unwrap();
        // As systemd does it; at the same moment; and with the next one waiting for the journal before anything stops.
        match upgrade % 3 {
            0 => {
                old.terminate();
                let ended = old.ended().await;
                assert!(ended.success(), "{ended}: {}", old.log());
                town.start_adapter(&[]);
            }
            1 => {
                old.terminate();
                town.start_adapter(&[]);
                assert!(old.ended().await.success(), "{}", old.log());
            }
            _ => {
                town.start_adapter(&[]);
                load.more(20).await;
                old.terminate();
                assert!(old.ended().await.success(), "{}", old.log());
            }
        }
        load.more(60).await;
        let others = load.seen.lock().unwrap().others.clone();
        assert!(others.is_empty(), "upgrade {upgrade}: {others:?}: {}", town.adapter.as_ref().unwrap().log());
    }
    load.more(100).await;
    let page = get(town.addresses.health, "/metrics").unwrap();
    let held = |how: &str| -> u64 {
        let name = format!("yiwang_requests_held_total{{ended=\"{how}\"}} ");
        page.lines().find_map(|line| line.strip_prefix(&name)).unwrap().parse().unwrap()
    };
    assert!(held("sent") > 0, "nothing had to wait: {page}");
    assert_eq!((held("refused"), held("away"), held("full")), (0, 0, 0), "{page}");
    let sent = held("sent");
    let seen = load.end().await;
    assert!(seen.others.is_empty(), "{:?}", seen.others);
    town.kill_adapter();
    town.kill_hub();
    judge(&town, &seen, &format!("{upgrades} upgrades, {sent} requests held"));
}
