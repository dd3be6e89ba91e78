//! A service that fails under whole exchanges: a gas company's API, a FHIR server, in front of it a line that can be slow. It
//! is stopped, slow, restarted, and takes the adapter's secret no more, while an app asks two departments without pause. Only the
//! department's own fields turn unavailable, and they come back without a restart of its adapter; in the end apps, ledger
//! and adapters tell one story.

#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests fail by panicking")]

#[path = "sources/line.rs"]
mod line;
#[path = "sources/load.rs"]
mod load;

use line::Line;
use load::{Asking, Load, Watched, judge};
use std::path::Path;
use yiwang_city::City;
use yiwang_city::servers::{self, Double};
use yiwang_tests::contracts::draft;
use yiwang_tests::departments;
use yiwang_tests::member::{Member, RunningAdapter};
use yiwang_tests::world::World;

/// A service that runs.
struct Service {
    server: Double,
    line: Line,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_companys_api_fails_and_only_its_own_fields_are_missing() {
    let world = World::new(153).await;
    let city = world.city();
    let Some(service) = start(&world, |dir, port| {
        let more = city.more(dir).unwrap();
        std::fs::write(dir.join("proof"), "first-secret").unwrap();
        servers::gas_api(&more.meters, &dir.join("proof"), dir, port)
    })
    .await
    else {
        return;
    };
    let department = Department {
        id: "gas",
        grant: (
            "UtilityConnection",
            "connection.by_person",
            &["kind", "next_check_on", "safety_check", "state"],
        ),
        own: "/records/UtilityConnection/state",
    };
    let town = department.town(world, &city, &service, gas).await;
    down(&service, &town.asking).await;
    slow(&service, &town.asking).await;
    restarted(&service, &town.asking).await;
    not_known(&town.world.dir.path().join("service/proof"), &service, &town.asking).await;
    town.judged().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fhir_server_fails_and_only_its_own_fields_are_missing() {
    let world = World::new(154).await;
    let city = world.city();
    let Some(service) = start(&world, |dir, port| {
        let more = city.more(dir).unwrap();
        servers::fhir_double(&more.fhir, dir, port)
    })
    .await
    else {
        return;
    };
    let department = Department {
        id: "health",
        grant: (
            "HealthCoverage",
            "coverage.by_person",
            &["family_doctor_site", "insured", "scheme", "since"],
        ),
        own: "/records/HealthCoverage/insured",
    };
    let town = department.town(world, &city, &service, health).await;
    down(&service, &town.asking).await;
    slow(&service, &town.asking).await;
    restarted(&service, &town.asking).await;
    town.judged().await;
}

/// The department whose service fails.
struct Department {
    id: &'static str,
    /// Record, operation and fields that an office may ask for.
    grant: (&'static str, &'static str, &'static [&'static str]),
    /// Where one of the fields stands in an answer.
    own: &'static str,
}

/// It, another department whose source does not fail, and an office that asks both.
struct Town {
    world: World,
    adapters: Vec<RunningAdapter>,
    parties: [Member; 2],
    asking: Asking,
    load: Load,
}

impl Department {
    async fn town(
        &self,
        world: World,
        city: &City,
        service: &Service,
        turn: fn(&World, &Service, &mut Member),
    ) -> Town {
        let police = world.department(city, "police", &["person"]).await;
        let mut own = world.member(self.id).await;
        turn(&world, service, &mut own);
        let street = world.member("street-office").await;
        let now = world.clock.now_ms();
        world.agree(&draft(&police, &street, "police-street-person", now), &police, &street).await;
        let (record, operation, fields) = self.grant;
        let contract = draft(&own, &street, "own-street", now).record(record, operation, fields, 2);
        world.agree(&contract, &own, &street).await;
        let adapters = vec![police.run_adapter(&world).await, own.run_adapter(&world).await];
        let of = Watched { department: self.id, own: self.own, other: "/records/Person/name" };
        let asking = Asking::new(&world, &street, city.household().mother.id, of).await;
        let load = asking.load();
        asking.until_there().await;
        Town { world, adapters, parties: [police, own], asking, load }
    }
}

impl Town {
    /// Apps, ledger and adapters tell one story.
    async fn judged(self) {
        let asked = self.load.end().await;
        let judged = judge(self.world, self.adapters, self.asking.kept, self.parties.each_ref()).await;
        assert!(judged.is_clean(), "{judged:#?}");
        println!("{} whole records, {} without its fields", asked.own_there, asked.own_missing);
    }
}

async fn down(service: &Service, asking: &Asking) {
    service.server.stop();
    // A slow machine may have had more calls waiting than there is patience for, just before.
    asking.until_says("source_error").await;
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

/// What it compares the adapter's proof with, read at its start, is another secret than the adapter has; then the adapter's again.
async fn not_known(proof: &Path, service: &Service, asking: &Asking) {
    let known = std::fs::read(proof).unwrap();
    service.server.stop();
    std::fs::write(proof, "another-secret").unwrap();
    service.server.start().unwrap();
    // It is there, and lets nobody in.
    for _ in 0..3 {
        asking.until_says("source_error").await;
    }
    service.server.stop();
    std::fs::write(proof, known).unwrap();
    service.server.start().unwrap();
    asking.until_there().await;
}

/// Starts the service with a line before it; none, said aloud, where what it takes is not installed.
async fn start(
    world: &World,
    run: impl FnOnce(&Path, u16) -> Result<Double, servers::ServerError>,
) -> Option<Service> {
    let dir = world.dir.path().join("service");
    std::fs::create_dir_all(&dir).unwrap();
    let port = yiwang_city::servers::free_port().unwrap().port();
    match run(&dir, port) {
        Ok(server) => {
            let line = Line::to(server.port()).await;
            Some(Service { server, line })
        }
        Err(missing) if missing.is_missing() => {
            assert!(std::env::var("YIWANG_REQUIRE_SERVICES").is_err(), "{missing}");
            println!("SKIPPED: {missing}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// Few calls at once and little patience.
const POOL: &str = "pool = { max = 2, acquire = \"300ms\" }\n";

fn gas(world: &World, service: &Service, member: &mut Member) {
    let secret = world.dir.path().join("service/secret");
    std::fs::write(&secret, "first-secret").unwrap();
    member.settings.0.insert("GAS_TOKENS".to_owned(), service.line.url("/token"));
    let secret = secret.display().to_string();
    let changes = [("/run/secrets/gas-api", secret.as_str()), ("openapi = \"openapi.json\"\n", POOL)];
    turn(world, member, ("gas/connection.toml", &changes), ("GAS_API", service.line.url("")));
}

fn health(world: &World, service: &Service, member: &mut Member) {
    let probe = "health = { probe = \"/metadata\", every = \"15s\", unhealthy_after = 3 }\n";
    let changes = [(probe, &*format!("{probe}{POOL}"))];
    turn(
        world,
        member,
        ("health/fhir/health-coverage.toml", &changes),
        ("FHIR_BASE_URL", service.line.url("/fhir")),
    );
}

/// Turns a member's adapter to the service: by the department's own mapping with some changes, and where it is.
fn turn(
    world: &World,
    member: &mut Member,
    (file, changes): (&str, &[(&str, &str)]),
    (name, url): (&str, String),
) {
    member.settings.0.insert(name.to_owned(), url);
    let mut text = std::fs::read_to_string(departments().join(file)).unwrap();
    for (from, to) in changes {
        assert!(text.contains(from), "{from}");
        text = text.replace(from, to);
    }
    let mapping = world.dir.path().join("service.toml");
    std::fs::write(&mapping, text).unwrap();
    member.mappings = vec![mapping];
}
