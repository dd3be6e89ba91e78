//! PostgreSQL and MariaDB.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tempfile::TempDir;

use super::guard::{Guard, NOBODY, Streams, as_user, is_root};
use super::{ServerError, end_of, program};

/// The administrator's password: the server listens on this machine only, and for as long as it is wanted.
const ADMIN: &str = "lab-admin";
/// How often it is asked whether it is up, a tenth of a second apart: a first start on a busy machine takes seconds.
const TRIES: u32 = 600;

/// Which server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// PostgreSQL.
    Postgres,
    /// MariaDB.
    Mariadb,
}

impl Kind {
    fn programs(self) -> [&'static str; 3] {
        match self {
            Self::Postgres => ["initdb", "postgres", "psql"],
            Self::Mariadb => ["mariadb-install-db", "mariadbd", "mariadb"],
        }
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Postgres => "PostgreSQL",
            Self::Mariadb => "MariaDB",
        }
    }

    /// The program that it lacks on this machine, and what to install.
    ///
    /// # Errors
    /// [`ServerError::Missing`].
    pub fn installed(self) -> Result<(), ServerError> {
        let help = match self {
            Self::Postgres => "install a package like `postgresql`",
            Self::Mariadb => "install a package like `mariadb-server`",
        };
        match self.programs().into_iter().find(|name| program(name).is_none()) {
            Some(missing) => Err(ServerError::Missing { program: missing.to_owned(), help }),
            None => Ok(()),
        }
    }
}

/// A database server that runs, unless it was stopped.
#[derive(Debug)]
pub struct Database {
    /// Which.
    pub kind: Kind,
    folder: TempDir,
    port: u16,
    ca: String,
    logged: bool,
    running: Mutex<Option<Guard>>,
}

fn found(name: &str) -> Result<PathBuf, ServerError> {
    let help = "it was there a moment ago";
    program(name).ok_or_else(|| ServerError::Missing { program: name.to_owned(), help })
}

fn run(command: &mut Command) -> Result<(), ServerError> {
    let what = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(ServerError::io(what.clone()))?;
    if output.status.success() {
        return Ok(());
    }
    Err(ServerError::Refused { what, said: end_of(&String::from_utf8_lossy(&output.stderr)) })
}

/// A file that only the server's user may read.
fn private(path: &Path, text: &str) -> Result<(), ServerError> {
    std::fs::write(path, text).map_err(ServerError::at(path))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(ServerError::at(path))?;
    own(path)
}

fn own(path: &Path) -> Result<(), ServerError> {
    if is_root() {
        std::os::unix::fs::chown(path, Some(NOBODY), Some(NOBODY)).map_err(ServerError::at(path))?;
    }
    Ok(())
}

/// An authority, and a certificate of it with its key for this machine.
fn certificates() -> Result<(String, String, String), rcgen::Error> {
    let ca_key = rcgen::KeyPair::generate()?;
    let mut ca = rcgen::CertificateParams::new(Vec::<String>::new())?;
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    ca.distinguished_name.push(rcgen::DnType::CommonName, "lab authority");
    let ca_pem = ca.self_signed(&ca_key)?.pem();
    let issuer = rcgen::Issuer::new(ca, ca_key);
    let key = rcgen::KeyPair::generate()?;
    let leaf = rcgen::CertificateParams::new(vec!["localhost".to_owned()])?;
    Ok((ca_pem, leaf.signed_by(&key, &issuer)?.pem(), key.serialize_pem()))
}

fn certified() -> Result<(String, String, String), ServerError> {
    certificates().map_err(|error| ServerError::Refused {
        what: "making a certificate".to_owned(),
        said: error.to_string(),
    })
}

/// An authority that no server here has.
///
/// # Errors
/// [`ServerError`]: no key can be made.
pub fn authority_of_nobody() -> Result<String, ServerError> {
    Ok(certified()?.0)
}

impl Database {
    /// Makes and starts a server with TLS at a port of this machine. With `logged` it writes down every statement.
    /// Blocks until it answers.
    ///
    /// # Errors
    /// [`ServerError`]: it is not installed, or does not start.
    pub fn start_new(kind: Kind, port: u16, logged: bool) -> Result<Self, ServerError> {
        kind.installed()?;
        let folder = tempfile::tempdir().map_err(ServerError::io("a folder for a server"))?;
        let open = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(folder.path(), open).map_err(ServerError::at(folder.path()))?;
        own(folder.path())?;
        let (ca, certificate, key) = certified()?;
        private(&folder.path().join("server.crt"), &certificate)?;
        private(&folder.path().join("server.key"), &key)?;
        let database = Self { kind, folder, port, ca, logged, running: Mutex::new(None) };
        database.make()?;
        database.start()?;
        Ok(database)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn shown(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    fn make(&self) -> Result<(), ServerError> {
        match self.kind {
            Kind::Postgres => {
                private(&self.path("pw"), ADMIN)?;
                run(as_user(&found("initdb")?)
                    .args(["-U", "postgres", "-A", "scram-sha-256", "-E", "UTF8"])
                    .args(["--locale=C.UTF-8", "--no-sync"])
                    .args(["--pwfile", &self.shown("pw"), "-D", &self.shown("data")]))
            }
            Kind::Mariadb => {
                run(as_user(&found("mariadb-install-db")?).args([
                    "--no-defaults",
                    "--auth-root-authentication-method=normal",
                    "--skip-test-db",
                    &format!("--datadir={}", self.shown("data")),
                    // A server that starts removes what others keep in a folder for all.
                    &format!("--tmpdir={}", self.folder.path().display()),
                ]))?;
                let set = format!("alter user root@localhost identified by '{ADMIN}';");
                private(&self.path("init.sql"), &set)
            }
        }
    }

    fn arguments(&self) -> Result<Vec<String>, ServerError> {
        let port = self.port;
        Ok(match self.kind {
            Kind::Postgres => {
                let mut all = vec![found("postgres")?.display().to_string()];
                all.extend(["-D".to_owned(), self.shown("data")]);
                for setting in [
                    format!("port={port}"),
                    "listen_addresses=127.0.0.1".to_owned(),
                    format!("unix_socket_directories={}", self.folder.path().display()),
                    "ssl=on".to_owned(),
                    format!("ssl_cert_file={}", self.shown("server.crt")),
                    format!("ssl_key_file={}", self.shown("server.key")),
                    format!("log_statement={}", if self.logged { "all" } else { "none" }),
                    "log_line_prefix=%u ".to_owned(),
                    "fsync=off".to_owned(),
                    "max_connections=40".to_owned(),
                ] {
                    all.extend(["-c".to_owned(), setting]);
                }
                all
            }
            Kind::Mariadb => vec![
                found("mariadbd")?.display().to_string(),
                "--no-defaults".to_owned(),
                format!("--datadir={}", self.shown("data")),
                format!("--tmpdir={}", self.folder.path().display()),
                format!("--port={port}"),
                "--bind-address=127.0.0.1".to_owned(),
                format!("--socket={}", self.shown("s")),
                format!("--pid-file={}", self.shown("pid")),
                format!("--init-file={}", self.shown("init.sql")),
                format!("--ssl-cert={}", self.shown("server.crt")),
                format!("--ssl-key={}", self.shown("server.key")),
                format!("--general-log={}", u8::from(self.logged)),
                format!("--general-log-file={}", self.shown("general.log")),
                "--skip-name-resolve".to_owned(),
                "--innodb-flush-log-at-trx-commit=0".to_owned(),
                "--max-connections=60".to_owned(),
            ],
        })
    }

    /// Starts it, after it was stopped again at the same port; blocks until it answers.
    ///
    /// # Errors
    /// [`ServerError`]: it does not start.
    pub fn start(&self) -> Result<(), ServerError> {
        let path = self.path("log");
        let log = OpenOptions::new().create(true).append(true).open(&path).map_err(ServerError::at(&path))?;
        let out = log.try_clone().map_err(ServerError::at(&path))?.into();
        let streams = Streams { out, error: log.into() };
        let shell = as_user(Path::new("/bin/sh"));
        let guard = Guard::start(shell, &self.arguments()?, Some(self.folder.path()), streams)?;
        *self.running() = Some(guard);
        for _ in 0..TRIES {
            if self.admin("postgres", "select 1").is_ok() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Err(ServerError::Start { server: self.kind.name(), said: end_of(&self.log()) })
    }

    fn running(&self) -> std::sync::MutexGuard<'_, Option<Guard>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stops the server and waits for its end.
    pub fn stop(&self) {
        let guard = self.running().take();
        if let Some(guard) = guard {
            guard.stop();
        }
    }

    /// Everything that the server wrote down, statements among them where it logs them.
    pub fn log(&self) -> String {
        let read = |name| std::fs::read(self.path(name)).unwrap_or_default();
        let mut all = String::from_utf8_lossy(&read("log")).into_owned();
        all.push_str(&String::from_utf8_lossy(&read("general.log")));
        all
    }

    /// The authority of its certificate, in PEM.
    pub fn ca(&self) -> &str {
        &self.ca
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The address that a mapping refers to.
    pub fn url(&self, role: &str, password: &str, database: &str) -> String {
        let scheme = match self.kind {
            Kind::Postgres => "postgres",
            Kind::Mariadb => "mariadb",
        };
        format!("{scheme}://{role}:{password}@localhost:{}/{database}", self.port)
    }

    /// Runs statements as the administrator; the result's lines.
    ///
    /// # Errors
    /// [`ServerError::Refused`] with what the server said.
    pub fn admin(&self, database: &str, sql: &str) -> Result<String, ServerError> {
        self.load(database, &mut |out| out.write_all(sql.as_bytes()))
    }

    /// Runs statements that are written piece by piece, as the administrator.
    ///
    /// # Errors
    /// As [`Database::admin`].
    pub fn load(
        &self,
        database: &str,
        write: &mut dyn FnMut(&mut dyn Write) -> std::io::Result<()>,
    ) -> Result<String, ServerError> {
        let what = || format!("a statement for {}", self.kind.name());
        let mut child = self.spawn_client(database)?;
        let mut written = Ok(());
        if let Some(pipe) = child.stdin.take() {
            let mut out = std::io::BufWriter::new(pipe);
            written = write(&mut out).and_then(|()| out.flush());
        }
        let output = child.wait_with_output().map_err(ServerError::io(what()))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            return Err(ServerError::Refused { what: what(), said });
        }
        written.map_err(ServerError::io(what()))?;
        Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
    }

    /// Begins a session of the administrator with these statements; it lasts until its input is closed.
    ///
    /// # Errors
    /// [`ServerError`]: the client does not start.
    pub fn session(&self, database: &str, sql: &str) -> Result<Child, ServerError> {
        let mut child = self.spawn_client(database)?;
        if let Some(pipe) = child.stdin.as_mut() {
            pipe.write_all(sql.as_bytes()).map_err(ServerError::io("a session"))?;
        }
        Ok(child)
    }

    fn spawn_client(&self, database: &str) -> Result<Child, ServerError> {
        self.client(database)?
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(ServerError::io(self.kind.name()))
    }

    fn client(&self, database: &str) -> Result<Command, ServerError> {
        Ok(match self.kind {
            Kind::Postgres => {
                let mut command = as_user(&found("psql")?);
                command.env("PGPASSWORD", ADMIN).args(["-XAtq", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1"]);
                command.args(["-U", "postgres", "-p", &self.port.to_string(), "-d", database]);
                command
            }
            Kind::Mariadb => {
                let mut command = as_user(&found("mariadb")?);
                command.arg("--no-defaults").env("MYSQL_PWD", ADMIN);
                command.args(["-N", "-B", "-u", "root", "-S", &self.shown("s")]);
                command.arg("--default-character-set=utf8mb4");
                if database != "postgres" {
                    command.arg(database);
                }
                command
            }
        })
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        self.stop();
    }
}
