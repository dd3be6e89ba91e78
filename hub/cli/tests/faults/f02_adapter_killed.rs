//! F2: kill -9 of the adapter under load.

use crate::judge::judge;
use crate::load::Load;
use crate::rounds;
use crate::town::{Places, Town};
use yiwang_city::servers::{Database, Kind};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f02_nothing_is_lost_or_executed_twice_when_the_adapter_is_killed() {
    killed(Places::default(), rounds(25, 500), "the adapter").await;
}

/// The source is a server: what an adapter had asked of it when it was killed is asked anew, by its next life. Statements
/// are signed together here.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f02_nothing_is_lost_when_the_adapter_of_a_database_server_is_killed() {
    if let Err(missing) = Kind::Postgres.installed() {
        assert!(std::env::var("YIWANG_REQUIRE_SERVICES").is_err(), "{missing}");
        println!("SKIPPED: {missing}");
        return;
    }
    let port = yiwang_city::servers::free_port().unwrap().port();
    let server = Database::start_new(Kind::Postgres, port, false).unwrap();
    let places = Places { server: Some(server), together: true, ..Places::default() };
    killed(places, rounds(10, 50), "the adapter of a PostgreSQL server").await;
}

async fn killed(places: Places, kills: u32, what: &str) {
    let mut town = Town::new(places).await;
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
    judge(&town, &seen, &format!("{kills} kills of {what}"));
}
