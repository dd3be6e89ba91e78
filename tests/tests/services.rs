//! Services that fail under whole exchanges: a gas company's API and a FHIR server, in front of them a line that can be
//! slow. They are stopped, slow, restarted, and take the adapter's proof of itself no more, while an app asks two
//! departments without pause. Only the department's own fields turn unavailable, and they come back without a restart of
//! its adapter; in the end apps, ledger and adapters tell one story.

#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests fail by panicking")]

#[path = "sources/line.rs"]
mod line;
#[path = "sources/load.rs"]
mod load;

use line::Line;
use load::{Asking, Watched, judge};
use std::path::{Path, PathBuf};
use yiwang_city::City;
use yiwang_city::servers::{self, Double};
use yiwang_tests::contracts::draft;
use yiwang_tests::departments;
use yiwang_tests::member::Member;
use yiwang_tests::world::World;

/// Which service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Gas,
    Fhir,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_companys_api_fails_and_only_its_own_fields_are_missing() {
    fails(Kind::Gas, 153).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_departments_fhir_server_fails_and_only_its_own_fields_are_missing() {
    fails(Kind::Fhir, 154).await;
}

/// A service that runs, and what it compares the adapter's proof with: read at its start.
struct Service {
    server: Double,
    line: Line,
    proof: PathBuf,
}

async fn fails(kind: Kind, seed: u64) {
    let world = World::new(seed).await;
    let city = world.city();
    let Some(service) = start(kind, &world, &city).await else { return };
    let police = world.department(&city, "police", &["person"]).await;
    let name = if kind == Kind::Gas { "gas" } else { "health" };
    let mut own = world.member(name).await;
    turn(kind, &world, &service, &mut own);
    let street = world.member("street-office").await;
    let now = world.clock.now_ms();
    world.agree(&draft(&police, &street, "police-street-person", now), &police, &street).await;
    let contract = draft(&own, &street, "own-street", now);
    let (contract, field) = match kind {
        Kind::Gas => {
            let fields = ["kind", "state"];
            (
                contract.record("UtilityConnection", "connection.by_person", &fields, 2),
                "/records/UtilityConnection/state",
            )
        }
        Kind::Fhir => {
            let fields = ["insured", "scheme"];
            (
                contract.record("HealthCoverage", "coverage.by_person", &fields, 2),
                "/records/HealthCoverage/insured",
            )
        }
    };
    world.agree(&contract, &own, &street).await;
    let adapters = vec![police.run_adapter(&world).await, own.run_adapter(&world).await];
    let of = Watched { department: name, own: field, other: "/records/Person/name" };
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
    println!("{kind:?}: {} whole records, {} without its fields", asked.own_there, asked.own_missing);
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

/// It knows another secret, or another key, than the adapter has; and then the adapter's again.
async fn not_known(service: &Service, asking: &Asking) {
    let known = std::fs::read(&service.proof).unwrap();
    let other = service.proof.with_file_name("other.public.pem");
    service.server.stop();
    std::fs::copy(other, &service.proof).unwrap();
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
async fn start(kind: Kind, world: &World, city: &City) -> Option<Service> {
    let dir = world.dir.path().join("service");
    std::fs::create_dir_all(&dir).unwrap();
    let more = city.more(&dir).unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let proof = dir.join("proof");
    let started = servers::key_pair(&dir, "adapter").and_then(|()| {
        servers::key_pair(&dir, "other")?;
        match kind {
            Kind::Gas => {
                std::fs::write(&proof, "first-secret").unwrap();
                servers::gas_api(&more.meters, &proof, &dir, port)
            }
            Kind::Fhir => {
                std::fs::copy(dir.join("adapter.public.pem"), &proof).unwrap();
                servers::fhir_double_with_key(&more.fhir, &proof, &dir, port)
            }
        }
    });
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
fn turn(kind: Kind, world: &World, service: &Service, member: &mut Member) {
    let dir = world.dir.path().join("service");
    let shown = |path: &Path| path.display().to_string();
    let settings = &mut member.settings.0;
    let pool = "pool = { max = 2, acquire = \"300ms\" }\n";
    let (file, turned): (&str, Vec<(&str, String)>) = match kind {
        Kind::Gas => {
            let secret = dir.join("secret");
            std::fs::write(&secret, "first-secret").unwrap();
            settings.insert("GAS_API".to_owned(), service.line.url(""));
            settings.insert("GAS_TOKENS".to_owned(), service.line.url("/token"));
            let openapi = ("openapi = \"openapi.json\"\n", pool.to_owned());
            ("gas/connection.toml", vec![("/run/secrets/gas-api", shown(&secret)), openapi])
        }
        Kind::Fhir => {
            settings.insert("FHIR_BASE_URL".to_owned(), service.line.url("/fhir"));
            settings.insert("TOKENS".to_owned(), service.line.url("/token"));
            let auth = format!(
                "auth = {{ kind = \"smart-backend\", token_url = {{ env = \"TOKENS\" }}, client_id = \"hub-adapter\", key = {{ file = {:?} }}, scopes = [\"system/Coverage.rs\"] }}\n",
                shown(&dir.join("adapter.pem"))
            );
            let zone = "time_zone = \"UTC\"\n";
            ("health/fhir/health-coverage.toml", vec![(zone, format!("{zone}{pool}{auth}"))])
        }
    };
    let mut text = std::fs::read_to_string(departments().join(file)).unwrap();
    for (from, to) in turned {
        assert!(text.contains(from), "{from}");
        text = text.replace(from, &to);
    }
    let mapping = world.dir.path().join("service.toml");
    std::fs::write(&mapping, text).unwrap();
    member.mappings = vec![mapping];
}
