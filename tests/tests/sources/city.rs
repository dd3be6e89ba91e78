//! Two departments, one of them on a database server, and an app that asks both.

use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::task::JoinSet;
use yiwang_audit::reconcile::Reconciled;
use yiwang_city::City;
use yiwang_city::servers::{self, Database, Kind};
use yiwang_client::client::Client;
use yiwang_client::record::RecordQuery;
use yiwang_proto::body::Arguments;
use yiwang_proto::ids::{Matter, Purpose};
use yiwang_tests::contracts::draft;
use yiwang_tests::departments;
use yiwang_tests::member::{Member, RunningAdapter};
use yiwang_tests::scene::{reconcile, verify_ledger};
use yiwang_tests::world::World;

/// Apps that ask without pause.
const WORKERS: usize = 2;
/// Each breathes between two questions: the ledger need not be long.
const BREATH: Duration = Duration::from_millis(30);
/// Times that are looked, a tenth of a second apart.
const TRIES: u32 = 600;

/// Starts a server; none, said aloud, where it is not installed.
pub fn start(kind: Kind) -> Option<Database> {
    if let Err(missing) = kind.installed() {
        assert!(std::env::var("YIWANG_REQUIRE_SERVICES").is_err(), "{missing}");
        println!("SKIPPED: {missing}");
        return None;
    }
    // Free now, and this machine's for as long as the test runs; tests that start a server again use the same one.
    // Each is looked at once, since tests run beside each other.
    static NEXT: AtomicU16 = AtomicU16::new(29_999);
    let port = std::iter::repeat_with(|| NEXT.fetch_sub(1, Ordering::SeqCst))
        .take_while(|port| *port > 20_000)
        .find(|port| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .unwrap();
    Some(Database::start_new(kind, port, false).unwrap())
}

/// Departments and who asks.
pub struct Town {
    pub server: Database,
    world: World,
    police: Member,
    civil: Member,
    adapters: Vec<RunningAdapter>,
    app: Arc<Client>,
    query: Arc<RecordQuery>,
    kept: PathBuf,
    address: PathBuf,
}

/// What a load saw.
#[derive(Debug, Default)]
pub struct Asked {
    pub own_there: u64,
    pub own_missing: u64,
    pub others_missing: Vec<Value>,
}

/// A lock that somebody holds.
pub struct Lock(std::process::Child);

impl Lock {
    /// Gives it back.
    pub fn release(self) {
        let ended = self.0.wait_with_output().unwrap();
        assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    }
}

/// A load that runs.
pub struct Load {
    stop: Arc<AtomicBool>,
    seen: Arc<Mutex<Asked>>,
    tasks: JoinSet<()>,
}

/// The department that is on the server, where its field stands in a record, and the other's.
fn names(kind: Kind) -> (&'static str, &'static str, &'static str) {
    let (police, civil) = ("/records/Person/name", "/records/BenefitStatus/scheme");
    match kind {
        Kind::Mariadb => ("police", police, civil),
        Kind::Postgres => ("civil-affairs", civil, police),
    }
}

/// The database there, the table that is asked, a column of it.
fn table(kind: Kind) -> (&'static str, &'static str, &'static str) {
    match kind {
        Kind::Mariadb => ("police", "T_RY", "XM"),
        Kind::Postgres => ("civil", "mz_jzdx", "jzlb"),
    }
}

impl Town {
    pub async fn new(seed: u64, server: Database) -> Self {
        let world = World::new(seed).await;
        let city = world.city();
        let (department, ..) = names(server.kind);
        let mut police = world.department(&city, "police", &["person"]).await;
        let mut civil = world.department(&city, "civil-affairs", &["benefit-status"]).await;
        let address = world.dir.path().join("url");
        let moved = if department == "police" { &mut police } else { &mut civil };
        serve_from(&server, &city, &world, moved, &address);
        let street = world.member("street-office").await;
        let now = world.clock.now_ms();
        world.agree(&draft(&police, &street, "police-street-person", now), &police, &street).await;
        let benefit = draft(&civil, &street, "civil-street-benefit", now).record(
            "BenefitStatus",
            "benefit.by_person",
            &["scheme", "status"],
            2,
        );
        world.agree(&benefit, &civil, &street).await;
        let adapters = vec![police.run_adapter(&world).await, civil.run_adapter(&world).await];
        let kept = world.dir.path().join("kept");
        let app = street.app(&world, "assistance-desk").await.keeping(&kept).unwrap();
        let mother = city.household().mother.id;
        let matter = Matter::parse("social-assistance").unwrap();
        let (case, _) = app.open_case(&matter, std::slice::from_ref(&mother)).await.unwrap();
        let query = RecordQuery {
            subject: mother,
            purpose: Purpose::parse("social-assistance.eligibility").unwrap(),
            case,
            officer: None,
            fields: [].into(),
            arguments: Arguments::new(),
        };
        let (app, query) = (Arc::new(app), Arc::new(query));
        Self { server, world, police, civil, adapters, app, query, kept, address }
    }

    /// Asks both; what the department on the server did: `answered`, or a code.
    pub async fn own(&self) -> String {
        own(self.server.kind, &ask(&self.app, &self.query).await)
    }

    /// Asks so many times at once.
    pub async fn crowd(&self, size: usize) -> Vec<String> {
        let mut asking = JoinSet::new();
        for _ in 0..size {
            let (app, query, kind) = (Arc::clone(&self.app), Arc::clone(&self.query), self.server.kind);
            asking.spawn(async move { own(kind, &ask(&app, &query).await) });
        }
        asking.join_all().await
    }

    /// Waits until the department on the server answers.
    pub async fn until_there(&self) {
        let mut state = String::new();
        for _ in 0..TRIES {
            state = self.own().await;
            if state == "answered" {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("it does not come back: {state}");
    }

    /// Waits until it does not; with which code.
    pub async fn until_missing(&self) -> String {
        for _ in 0..TRIES {
            let state = self.own().await;
            if state != "answered" {
                return state;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("it answers still");
    }

    /// Somebody keeps the table to himself until the lock is given back.
    pub fn lock(&self) -> Lock {
        let (database, table, _) = table(self.server.kind);
        let statement = match self.server.kind {
            Kind::Postgres => format!("begin;\nlock table {table} in access exclusive mode;\n"),
            Kind::Mariadb => format!("lock tables {table} write;\n"),
        };
        Lock(self.server.session(database, &statement).unwrap())
    }

    /// Gives a column that the mapping reads another name, or its own again.
    pub fn rename(&self, away: bool) {
        let (database, table, column) = table(self.server.kind);
        let (from, to) = if away { (column, "other") } else { ("other", column) };
        let statement = format!("alter table {table} rename column {from} to {to};");
        self.server.admin(database, &statement).unwrap();
    }

    /// The role gets another password, and its sessions end.
    pub fn change_password(&self, password: &str) {
        let statement = match self.server.kind {
            Kind::Postgres => format!(
                "alter role yiwang password '{password}'; \
                 select pg_terminate_backend(pid) from pg_stat_activity where usename = 'yiwang';"
            ),
            Kind::Mariadb => {
                format!("alter user yiwang@'%' identified by '{password}'; kill user yiwang@'%';")
            }
        };
        self.server.admin("postgres", &statement).unwrap();
    }

    /// The department's IT writes it where the mapping refers to.
    pub fn tell_password(&self, password: &str) {
        let (database, ..) = table(self.server.kind);
        std::fs::write(&self.address, self.server.url("yiwang", password, database)).unwrap();
    }

    /// Starts apps that ask both departments without pause.
    pub fn load(&self) -> Load {
        let (stop, seen) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Asked::default())));
        let mut tasks = JoinSet::new();
        for _ in 0..WORKERS {
            let (app, query, kind) = (Arc::clone(&self.app), Arc::clone(&self.query), self.server.kind);
            let (stop, seen) = (Arc::clone(&stop), Arc::clone(&seen));
            tasks.spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    note(kind, &ask(&app, &query).await, &mut seen.lock().unwrap());
                    tokio::time::sleep(BREATH).await;
                }
            });
        }
        Load { stop, seen, tasks }
    }

    /// Stops everything; then ledger, journals and what the app kept are held against each other.
    pub async fn judge(self) -> Reconciled {
        let mut world = self.world;
        for adapter in self.adapters {
            adapter.stop().await;
        }
        world.stop_hub().await;
        let (code, report) = verify_ledger(&world);
        assert_eq!(code, 0, "{report}");
        let journals = [&self.police, &self.civil].map(|member| member.folder.path().join("journal"));
        reconcile(&world, &[self.kept], &journals)
    }
}

impl Load {
    /// Ends it; questions under way are answered.
    pub async fn end(mut self) -> Asked {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = self.tasks.join_next().await {
            ended.unwrap();
        }
        std::mem::take(&mut self.seen.lock().unwrap())
    }
}

/// Fills the server with a department's tables and turns its adapter to it; the address lies in a file.
fn serve_from(server: &Database, city: &City, world: &World, member: &mut Member, address: &std::path::Path) {
    let (department, ..) = names(server.kind);
    let (database, ..) = table(server.kind);
    let (tables, file) = match server.kind {
        Kind::Postgres => (servers::CIVIL_AFFAIRS, "civil-affairs/postgres/benefit-status.toml"),
        Kind::Mariadb => (servers::POLICE, "police/mariadb/person.toml"),
    };
    let embedded = city.sources().iter().find(|source| source.member == department).unwrap();
    let url = server.fill(database, tables, &embedded.path, ("yiwang", "first-secret")).unwrap();
    std::fs::write(address, url).unwrap();
    let variable = if department == "police" { "POLICE_DB" } else { "CIVIL_DB" };
    member.settings.0.insert(format!("{variable}_CA"), server.ca().to_owned());
    // Few connections, and little patience: a crowd is soon one.
    let text = std::fs::read_to_string(departments().join(file)).unwrap();
    let turned = text.replace(
        &format!("url = {{ env = \"{variable}_URL\" }}\n"),
        &format!("url = {{ file = \"{}\" }}\npool = {{ max = 2, acquire = \"300ms\" }}\n", address.display()),
    );
    assert_ne!(turned, text);
    let mapping = world.dir.path().join("server.toml");
    std::fs::write(&mapping, turned).unwrap();
    member.mappings = vec![mapping];
}

async fn ask(app: &Client, query: &RecordQuery) -> Value {
    serde_json::to_value(app.query_record(query).await.unwrap()).unwrap()
}

/// What the department on the server did.
fn own(kind: Kind, answer: &Value) -> String {
    let (department, ..) = names(kind);
    let sources = answer["sources"].as_array().unwrap();
    let source = sources.iter().find(|source| source["member"] == department).unwrap();
    source["state"].as_str().unwrap().to_owned()
}

fn note(kind: Kind, answer: &Value, seen: &mut Asked) {
    let (_, own, other) = names(kind);
    let state = |place: &str| answer.pointer(place).map_or(json!(null), |field| field["state"].clone());
    if state(other) != "value" {
        seen.others_missing.push(answer.clone());
    }
    match state(own).as_str() {
        Some("value") => seen.own_there += 1,
        Some("unavailable") => seen.own_missing += 1,
        _ => seen.others_missing.push(answer.clone()),
    }
}
