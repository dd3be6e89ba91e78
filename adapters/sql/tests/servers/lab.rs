//! Real database servers for tests: each with its own folder, port, key and log, ended with the test
//! process. Servers refuse to run as root, so there they run as `nobody`.

use std::fmt::Write as _;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;
use yiwang_adapter_sdk::source::Environment;

/// Which server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Postgres,
    Mariadb,
}

/// The administrator's password.
const ADMIN: &str = "lab-admin";
/// The user and group of servers where the tests run as root.
const NOBODY: u32 = 65_534;

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
    folder: tempfile::TempDir,
    port: u16,
    ca: String,
    running: Mutex<Option<Child>>,
}

fn program(name: &str) -> Option<PathBuf> {
    let mut folders: Vec<PathBuf> = std::env::split_paths(&std::env::var_os("PATH")?).collect();
    folders.push(PathBuf::from("/usr/sbin"));
    if let Ok(versions) = std::fs::read_dir("/usr/lib/postgresql") {
        folders.extend(versions.flatten().map(|version| version.path().join("bin")));
    }
    folders.into_iter().map(|folder| folder.join(name)).find(|path| path.is_file())
}

impl Kind {
    fn programs(self) -> &'static [&'static str] {
        match self {
            Self::Postgres => &["initdb", "postgres", "psql"],
            Self::Mariadb => &["mariadb-install-db", "mariadbd", "mariadb"],
        }
    }
}

fn is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|id| id.stdout.trim_ascii() == b"0")
}

/// A command as the user of servers.
fn as_user(program: &Path) -> Command {
    let mut command = Command::new(program);
    if is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    command
        .current_dir("/tmp")
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("LC_ALL", "C.UTF-8");
    command
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{command:?}: {}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A file that only the server's user may read.
fn private(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
    own(path);
}

fn own(path: &Path) {
    if is_root() {
        std::os::unix::fs::chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
    }
}

/// An authority, and a certificate of it with its key for this machine.
fn certificates() -> (String, String, String) {
    let ca_key = rcgen::KeyPair::generate().unwrap();
    let mut ca = rcgen::CertificateParams::new(Vec::<String>::new()).unwrap();
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    ca.distinguished_name.push(rcgen::DnType::CommonName, "lab authority");
    let ca_pem = ca.self_signed(&ca_key).unwrap().pem();
    let issuer = rcgen::Issuer::new(ca, ca_key);
    let key = rcgen::KeyPair::generate().unwrap();
    let leaf = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    (ca_pem, leaf.signed_by(&key, &issuer).unwrap().pem(), key.serialize_pem())
}

/// An authority of nobody's.
pub fn other_authority() -> String {
    certificates().0
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
        if let Some(missing) = kind.programs().iter().find(|name| program(name).is_none()) {
            assert!(std::env::var("YIWANG_REQUIRE_SERVICES").is_err(), "`{missing}` is not installed");
            println!("skipped: {missing} not installed");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        own(folder.path());
        let (ca, certificate, key) = certificates();
        private(&folder.path().join("server.crt"), &certificate);
        private(&folder.path().join("server.key"), &key);
        let lab = Self { kind, folder, port: free_port(), ca, running: Mutex::new(None) };
        lab.make();
        lab.start();
        Some(lab)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn shown(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    fn make(&self) {
        match self.kind {
            Kind::Postgres => {
                private(&self.path("pw"), ADMIN);
                run(as_user(&program("initdb").unwrap())
                    .args([
                        "-U",
                        "postgres",
                        "-A",
                        "scram-sha-256",
                        "-E",
                        "UTF8",
                        "--locale=C.UTF-8",
                        "--no-sync",
                    ])
                    .args(["--pwfile", &self.shown("pw"), "-D", &self.shown("data")]));
            }
            Kind::Mariadb => {
                run(as_user(&program("mariadb-install-db").unwrap()).args([
                    "--no-defaults",
                    "--auth-root-authentication-method=normal",
                    "--skip-test-db",
                    &format!("--datadir={}", self.shown("data")),
                ]));
                let set = format!("alter user root@localhost identified by '{ADMIN}';");
                private(&self.path("init.sql"), &set);
            }
        }
    }

    fn arguments(&self) -> Vec<String> {
        let port = self.port;
        match self.kind {
            Kind::Postgres => {
                let mut all = vec![program("postgres").unwrap().display().to_string()];
                all.extend(["-D".to_owned(), self.shown("data")]);
                for setting in [
                    format!("port={port}"),
                    "listen_addresses=127.0.0.1".to_owned(),
                    format!("unix_socket_directories={}", self.folder.path().display()),
                    "ssl=on".to_owned(),
                    format!("ssl_cert_file={}", self.shown("server.crt")),
                    format!("ssl_key_file={}", self.shown("server.key")),
                    "log_statement=all".to_owned(),
                    "log_line_prefix=%u ".to_owned(),
                    "fsync=off".to_owned(),
                    "max_connections=40".to_owned(),
                ] {
                    all.extend(["-c".to_owned(), setting]);
                }
                all
            }
            Kind::Mariadb => vec![
                program("mariadbd").unwrap().display().to_string(),
                "--no-defaults".to_owned(),
                format!("--datadir={}", self.shown("data")),
                format!("--port={port}"),
                "--bind-address=127.0.0.1".to_owned(),
                format!("--socket={}", self.shown("s")),
                format!("--pid-file={}", self.shown("pid")),
                format!("--init-file={}", self.shown("init.sql")),
                format!("--ssl-cert={}", self.shown("server.crt")),
                format!("--ssl-key={}", self.shown("server.key")),
                "--general-log=1".to_owned(),
                format!("--general-log-file={}", self.shown("general.log")),
                "--skip-name-resolve".to_owned(),
                "--innodb-flush-log-at-trx-commit=0".to_owned(),
                "--max-connections=60".to_owned(),
            ],
        }
    }

    /// Starts the server, under a shell that stops it when this process ends, however it ends, and then
    /// takes its folder away: what is shared by all tests is dropped by none.
    pub fn start(&self) {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.path("log")).unwrap();
        let script = "\"$@\" & server=$!; read -r word; kill -INT $server; kill $server; wait $server; \
                      [ -n \"$word\" ] || rm -rf \"$FOLDER\"";
        let child = as_user(Path::new("/bin/sh"))
            .args(["-c", script, "sh"])
            .args(self.arguments())
            .env("FOLDER", self.folder.path())
            .stdin(Stdio::piped())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        *self.running.lock().unwrap() = Some(child);
        for _ in 0..600 {
            if self.try_admin("postgres", "select 1").is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        panic!("the server does not start: {}", self.log());
    }

    /// Stops the server and waits for its end.
    pub fn stop(&self) {
        if let Some(mut child) = self.running.lock().unwrap().take() {
            child.stdin.take().unwrap().write_all(b"stop\n").unwrap();
            child.wait().unwrap();
        }
    }

    /// Everything that the server wrote down, statements among them.
    pub fn log(&self) -> String {
        let read = |name| std::fs::read(self.path(name)).unwrap_or_default();
        let mut all = String::from_utf8_lossy(&read("log")).into_owned();
        all.push_str(&String::from_utf8_lossy(&read("general.log")));
        all
    }

    pub fn ca(&self) -> &str {
        &self.ca
    }

    pub fn url(&self, role: &str, password: &str, database: &str) -> String {
        let scheme = match self.kind {
            Kind::Postgres => "postgres",
            Kind::Mariadb => "mariadb",
        };
        format!("{scheme}://{role}:{password}@localhost:{}/{database}", self.port)
    }

    /// Runs statements as the administrator; the result's lines.
    pub fn admin(&self, database: &str, sql: &str) -> String {
        self.try_admin(database, sql).unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    fn try_admin(&self, database: &str, sql: &str) -> Result<String, String> {
        let mut command = match self.kind {
            Kind::Postgres => {
                let mut command = as_user(&program("psql").unwrap());
                command.env("PGPASSWORD", ADMIN).args(["-XAtq", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1"]);
                command.args(["-U", "postgres", "-p", &self.port.to_string(), "-d", database]);
                command
            }
            Kind::Mariadb => {
                let mut command = as_user(&program("mariadb").unwrap());
                command.arg("--no-defaults").env("MYSQL_PWD", ADMIN);
                command.args([
                    "-N",
                    "-B",
                    "-u",
                    "root",
                    "-S",
                    &self.shown("s"),
                    "--default-character-set=utf8mb4",
                ]);
                if database != "postgres" {
                    command.arg(database);
                }
                command
            }
        };
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| error.to_string())?;
        child.stdin.take().unwrap().write_all(sql.as_bytes()).map_err(|error| error.to_string())?;
        let output = child.wait_with_output().map_err(|error| error.to_string())?;
        if output.status.success() {
            Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
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

impl Drop for Lab {
    fn drop(&mut self) {
        self.stop();
    }
}
