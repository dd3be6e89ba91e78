//! Real database servers for tests: each with its own folder, port, key and log, ended with the test process.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock};
use yiwang_adapter_sdk::source::Environment;
use yiwang_city::servers::Database;

pub use yiwang_city::servers::Kind;

/// Where settings of a mapping under test come from; what is in it can be changed.
#[derive(Default)]
pub struct Settings(Mutex<std::collections::BTreeMap<String, String>>);

impl Settings {
    pub fn with(url: &str, ca: &str) -> Arc<Self> {
        let settings = Self::default();
        settings.set("URL", url);
        settings.set("CA", ca);
        Arc::new(settings)
    }

    pub fn set(&self, name: &str, value: &str) {
        self.0.lock().unwrap().insert(name.to_owned(), value.to_owned());
    }
}

impl Environment for Settings {
    fn var(&self, name: &str) -> Option<String> {
        self.0.lock().unwrap().get(name).cloned()
    }

    fn read(&self, path: &Path) -> std::io::Result<String> {
        std::fs::read_to_string(path)
    }
}

/// A server that runs.
pub struct Lab {
    pub kind: Kind,
    server: Database,
}

fn free_port() -> u16 {
    yiwang_city::servers::free_port().unwrap().port()
}

/// An authority of nobody's.
pub fn other_authority() -> String {
    yiwang_city::servers::authority_of_nobody().unwrap()
}

impl Lab {
    /// The server that tests of this process share; none, said aloud, where it is not installed.
    pub fn shared(kind: Kind) -> Option<&'static Self> {
        static POSTGRES: OnceLock<Option<Lab>> = OnceLock::new();
        static MARIADB: OnceLock<Option<Lab>> = OnceLock::new();
        let lab = match kind {
            Kind::Postgres => &POSTGRES,
            Kind::Mariadb => &MARIADB,
        };
        lab.get_or_init(|| Self::own(kind)).as_ref()
    }

    /// A server of one test's own.
    pub fn own(kind: Kind) -> Option<Self> {
        if let Err(missing) = kind.installed() {
            assert!(std::env::var("YIWANG_REQUIRE_SERVICES").is_err(), "{missing}");
            println!("skipped: {missing}");
            return None;
        }
        Some(Self { kind, server: Database::start_new(kind, free_port(), true).unwrap() })
    }

    pub fn start(&self) {
        self.server.start().unwrap();
    }

    /// Stops the server and waits for its end.
    pub fn stop(&self) {
        self.server.stop();
    }

    /// Everything that the server wrote down, statements among them.
    pub fn log(&self) -> String {
        self.server.log()
    }

    pub fn ca(&self) -> &str {
        self.server.ca()
    }

    pub fn url(&self, role: &str, password: &str, database: &str) -> String {
        self.server.url(role, password, database)
    }

    /// Runs statements as the administrator; the result's lines.
    pub fn admin(&self, database: &str, sql: &str) -> String {
        self.server.admin(database, sql).unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    /// Gives a role another password and ends its sessions.
    pub fn change_password(&self, role: &str, secret: &str) {
        let secret = secret.replace('\'', "''");
        let (change, end) = match self.kind {
            Kind::Postgres => (
                format!("alter role {role} password '{secret}'"),
                format!("select pg_terminate_backend(pid) from pg_stat_activity where usename = '{role}'"),
            ),
            Kind::Mariadb => {
                (format!("alter user {role}@'%' identified by '{secret}'"), format!("kill user {role}@'%'"))
            }
        };
        self.admin(role, &change);
        self.admin(role, &end);
    }

    /// A database with the compliance suite's table and a role of the same name that may read just that.
    pub fn people(&self, name: &str) {
        let mut sql = String::new();
        let (quote, kind) = match self.kind {
            Kind::Postgres => {
                self.admin("postgres", &format!("create database {name};"));
                ('"', "text")
            }
            Kind::Mariadb => {
                let set = "character set utf8mb4 collate utf8mb4_bin";
                self.admin("postgres", &format!("create database {name} {set};"));
                // Backslashes in the suite's texts are themselves.
                sql.push_str("set sql_mode = 'NO_BACKSLASH_ESCAPES';\n");
                ('`', "varchar(250)")
            }
        };
        let columns = yiwang_adapter_sdk::compliance::COLUMNS.map(|column| {
            let kind = if column == "ID" { "char(18)" } else { kind };
            format!("{quote}{column}{quote} {kind}")
        });
        let table = format!("{quote}PERSON{quote}");
        let _ = writeln!(sql, "create table {table} ({});", columns.join(", "));
        let _ = writeln!(sql, "create index by_id on {table} ({quote}ID{quote});");
        let _ = writeln!(sql, "create index by_area on {table} ({quote}AREA{quote});");
        sql.push_str("create table canary (a varchar(10)); insert into canary values ('alive');\n");
        for row in yiwang_adapter_sdk::compliance::rows() {
            let cells = row.map(|cell| match cell.as_str() {
                "" => "null".to_owned(),
                text => format!("'{}'", text.replace('\'', "''")),
            });
            let _ = writeln!(sql, "insert into {table} values ({});", cells.join(", "));
        }
        match self.kind {
            Kind::Postgres => {
                let _ = writeln!(sql, "create role {name} login password 'pw-{name}';");
                let _ = writeln!(sql, "grant select on {table} to {name};");
            }
            Kind::Mariadb => {
                let _ = writeln!(sql, "create user {name}@'%' identified by 'pw-{name}';");
                let _ = writeln!(sql, "grant select on {name}.{table} to {name}@'%';");
            }
        }
        self.admin(name, &sql);
    }
}
