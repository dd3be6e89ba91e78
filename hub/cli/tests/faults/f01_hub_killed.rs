//! F1: kill -9 of the hub under load.

use crate::judge::judge;
use crate::load::Load;
use crate::rounds;
use crate::town::{Places, Town};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f01_what_was_acknowledged_survives_kill_9_of_the_hub() {
    let kills = rounds(25, 500);
    let mut town = Town::new(Places::default()).await;
    let load = Load::start(&town).await;
    for kill in 0..kills {
        // Numbers that differ, so that kills fall into every step.
        load.more(3 + u64::from(kill * 37 % 101)).await;
        town.kill_hub();
        town.start_both();
    }
    load.more(100).await;
    let seen = load.end().await;
    town.kill_hub();
    town.kill_adapter();
    judge(&town, &seen, &format!("{kills} kills of the hub"));
}
