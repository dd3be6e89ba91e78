//! Two departments, one of them on a database server, and an app that asks both.

use crate::load::{Asking, Watched, judge};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU16, Ordering};
use yiwang_audit::reconcile::Reconciled;
use yiwang_city::City;
use yiwang_city::servers::{self, Database, Kind};
use yiwang_tests::contracts::draft;
use yiwang_tests::departments;
use yiwang_tests::member::{Member, RunningAdapter};
use yiwang_tests::world::World;

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
    pub asking: Asking,
    address: PathBuf,
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

/// The department that is on the server.
fn watched(kind: Kind) -> Watched {
    let (police, civil) = ("/records/Person/name", "/records/BenefitStatus/scheme");
    match kind {
        Kind::Mariadb => Watched { department: "police", own: police, other: civil },
        Kind::Postgres => Watched { department: "civil-affairs", own: civil, other: police },
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
        let department = watched(server.kind).department;
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
        let of = watched(server.kind);
        let asking = Asking::new(&world, &street, city.household().mother.id, of).await;
        Self { server, world, police, civil, adapters, asking, address }
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

    /// Stops everything and holds the stories against each other.
    pub async fn judge(self) -> Reconciled {
        judge(self.world, self.adapters, self.asking.kept, [&self.police, &self.civil]).await
    }
}

/// Fills the server with a department's tables and turns its adapter to it; the address lies in a file.
fn serve_from(server: &Database, city: &City, world: &World, member: &mut Member, address: &std::path::Path) {
    let department = watched(server.kind).department;
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
