//! A service that fails under whole exchanges: a gas company's API, in front of it a line that can be slow. It is stopped,
//! slow, restarted, and takes the adapter's secret no more, while an app asks two departments without pause. Only the
//! department's own fields turn unavailable, and they come back without a restart of its adapter; in the end apps, ledger
//! and adapters tell one story.

#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests fail by panicking")]

#[path = "sources/line.rs"]
mod line;
#[path = "sources/load.rs"]
mod load;

use line::Line;
use load::{Asking, Watched, judge};
use std::path::PathBuf;
use yiwang_city::City;
use yiwang_city::servers::{self, Double};
use yiwang_tests::contracts::draft;
use yiwang_tests::departments;
use yiwang_tests::member::Member;
use yiwang_tests::world::World;

/// A service that runs, and what it compares the adapter's proof with: read at its start.
struct Service {
    server: Double,
    line: Line,
    proof: PathBuf,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_companys_api_fails_and_only_its_own_fields_are_missing() {
    let world = World::new(153).await;
    let city = world.city();
    let Some(service) = start(&world, &city).await else { return };
    let police = world.department(&city, "police", &["person"]).await;
    let mut own = world.member("gas").await;
    turn(&world, &service, &mut own);
    let street = world.member("street-office").await;
    let now = world.clock.now_ms();
    world.agree(&draft(&police, &street, "police-street-person", now), &police, &street).await;
    let fields = ["kind", "next_check_on", "safety_check", "state"];
    let contract = draft(&own, &street, "own-street", now);
    let contract = contract.record("UtilityConnection", "connection.by_person", &fields, 2);
    world.agree(&contract, &own, &street).await;
    let adapters = vec![police.run_adapter(&world).await, own.run_adapter(&world).await];
    let of =
        Watched { department: "gas", own: "/records/UtilityConnection/state", other: "/records/Person/name" };
    let asking = Asking::new(&world, &street, city.household().mother.id, of).await;
    let load = asking.load();
    asking.until_there().await;
    down(&service, &asking).await;
    slow(&service, &asking).await;
    restarted(&service, &asking).await;
    not_known(&service, &asking).await;
    let asked = load.end().await;
    let judged = judge(world, adapters, asking.kept, [&police, &own]).await;
    assert!(judged.is_clean(), "{judged:#?}");
    println!("{} whole records, {} without its fields", asked.own_there, asked.own_missing);
}

async fn down(service: &Service, asking: &Asking) {
    service.server.stop();
    assert_eq!(asking.until_missing().await, "source_error");
    service.server.start().unwrap();
    asking.until_there().await;
}

/// What is sent arrives, but nothing goes on for a while: more wait than there are calls at once.
async fn slow(service: &Service, asking: &Asking) {
    service.line.hold(true);
    let late = |state: &String| state == "deadline_exceeded" || state == "provider_busy";
    let said = asking.until_missing().await;
    assert!(late(&said), "{said}");
    let crowd = asking.crowd(24).await;
    assert!(crowd.iter().all(late), "{crowd:?}");
    assert!(crowd.iter().any(|state| state == "provider_busy"), "{crowd:?}");
    service.line.hold(false);
    asking.until_there().await;
}

/// Behind the back of connections that lie idle; the tokens that it had given are forgotten with it.
async fn restarted(service: &Service, asking: &Asking) {
    service.server.stop();
    service.server.start().unwrap();
    asking.until_there().await;
}

/// It knows another secret than the adapter has; and then the adapter's again.
async fn not_known(service: &Service, asking: &Asking) {
    let known = std::fs::read(&service.proof).unwrap();
    service.server.stop();
    std::fs::write(&service.proof, "another-secret").unwrap();
    service.server.start().unwrap();
    // It is there, and lets nobody in.
    for _ in 0..3 {
        assert_eq!(asking.until_missing().await, "source_error");
    }
    service.server.stop();
    std::fs::write(&service.proof, known).unwrap();
    service.server.start().unwrap();
    asking.until_there().await;
}

/// Starts the service with a line before it; none, said aloud, where what it takes is not installed.
async fn start(world: &World, city: &City) -> Option<Service> {
    let dir = world.dir.path().join("service");
    std::fs::create_dir_all(&dir).unwrap();
    let more = city.more(&dir).unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let proof = dir.join("proof");
    std::fs::write(&proof, "first-secret").unwrap();
    let started = servers::gas_api(&more.meters, &proof, &dir, port);
    match started {
        Ok(server) => {
            let line = Line::to(server.port()).await;
            Some(Service { server, line, proof })
        }
        Err(missing) if missing.is_missing() => {
            assert!(std::env::var("YIWANG_REQUIRE_SERVICES").is_err(), "{missing}");
            println!("SKIPPED: {missing}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// Turns a member's adapter to the service: by the department's own mapping, with few calls at once and little patience.
fn turn(world: &World, service: &Service, member: &mut Member) {
    let secret = world.dir.path().join("service/secret");
    std::fs::write(&secret, "first-secret").unwrap();
    let settings = &mut member.settings.0;
    settings.insert("GAS_API".to_owned(), service.line.url(""));
    settings.insert("GAS_TOKENS".to_owned(), service.line.url("/token"));
    let mut text = std::fs::read_to_string(departments().join("gas/connection.toml")).unwrap();
    let secret = secret.display().to_string();
    let pool = "pool = { max = 2, acquire = \"300ms\" }\n";
    for (from, to) in [("/run/secrets/gas-api", secret.as_str()), ("openapi = \"openapi.json\"\n", pool)] {
        assert!(text.contains(from), "{from}");
        text = text.replace(from, to);
    }
    let mapping = world.dir.path().join("service.toml");
    std::fs::write(&mapping, text).unwrap();
    member.mappings = vec![mapping];
}
