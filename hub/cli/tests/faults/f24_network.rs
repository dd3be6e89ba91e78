//! F24: what the network does to packets: delayed, duplicated, reordered, truncated, corrupted, on both ways to
//! the hub at once.

use crate::address::own_address;
use crate::judge::judge;
use crate::load::Load;
use crate::relay::Relay;
use crate::rounds;
use crate::town::{Addresses, Places, Town};
use std::sync::atomic::Ordering;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f24_nothing_corrupt_is_accepted_and_nothing_acknowledged_is_lost() {
    let hits = u64::from(rounds(24, 4000));
    let (addresses, told) = (Addresses::new(), own_address());
    let relay = Relay::start(told, addresses.listen, 24).await;
    let places = Places { told: Some(told), addresses: Some(addresses), ..Places::default() };
    let mut town = Town::new(places).await;
    let load = Load::start(&town).await;
    load.more(50).await;
    relay.armed.store(true, Ordering::SeqCst);
    while relay.struck.hits() < hits {
        let struck = relay.struck.hits();
        if !load.more_unless(100, || relay.struck.hits() > struck).await && !town.is_linked() {
            // An adapter whose links all die young waits longer and longer before it dials again.
            town.kill_adapter();
            town.start_adapter(&[]);
        }
    }
    relay.armed.store(false, Ordering::SeqCst);
    load.more(200).await;
    let seen = load.end().await;
    town.kill_adapter();
    town.kill_hub();
    let struck = &relay.struck;
    let kinds =
        [&struck.corrupted, &struck.truncated, &struck.reordered, &struck.duplicated, &struck.delayed]
            .map(|kind| kind.load(Ordering::SeqCst));
    println!("corrupted, truncated, reordered, duplicated, delayed: {kinds:?}");
    assert!(kinds.iter().all(|kind| *kind > 0), "{kinds:?}");
    judge(&town, &seen, &format!("{hits} faults of the network"));
}
