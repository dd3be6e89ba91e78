//! F2: kill -9 of the adapter under load.

use crate::judge::judge;
use crate::load::Load;
use crate::rounds;
use crate::town::{Places, Town};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f02_nothing_is_lost_or_executed_twice_when_the_adapter_is_killed() {
    let kills = rounds(25, 500);
    let mut town = Town::new(Places::default()).await;
    let load = Load::start(&town).await;
    for kill in 0..kills {
        load.more(3 + u64::from(kill * 41 % 97)).await;
        town.kill_adapter();
        town.start_adapter(&[]);
    }
    load.more(100).await;
    let seen = load.end().await;
    town.kill_adapter();
    town.kill_hub();
    judge(&town, &seen, &format!("{kills} kills of the adapter"));
}
