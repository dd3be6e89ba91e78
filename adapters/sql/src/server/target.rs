//! Where a server is, and with what it is asked: read from the mapping's references for every connection,
//! so that a password or an authority that was changed is used without a restart.

use percent_encoding::percent_decode_str;
use std::path::PathBuf;
use std::sync::Arc;
use url::{Host as UrlHost, Url};
use yiwang_adapter_sdk::mapping::{Mapping, ServerDef, TlsDef};
use yiwang_adapter_sdk::source::{Environment, SourceError};

/// What a mapping says of its server.
#[derive(Clone)]
pub(crate) struct Settings {
    pub(crate) def: ServerDef,
    base: PathBuf,
    environment: Arc<dyn Environment>,
    /// Words before `://`; the first is shown.
    schemes: &'static [&'static str],
    port: u16,
}

/// A server, resolved. Holds a password, so it is never shown.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) host: Host,
    pub(crate) role: String,
    pub(crate) password: Option<String>,
    pub(crate) database: String,
    /// The authority's certificate, PEM; none without TLS.
    pub(crate) ca: Option<Vec<u8>>,
}

/// A name and port, or a socket's file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Host {
    Tcp(String, u16),
    Socket(PathBuf),
}

/// Why nothing is connected to, and where to look.
pub(crate) fn not_reached(fault: &std::io::Error) -> String {
    let next = match fault.kind() {
        std::io::ErrorKind::ConnectionRefused => {
            "is it running, with the host and port of what `url` refers to?"
        }
        _ => "see the host and port of what `url` refers to",
    };
    format!("the server cannot be reached: {}; {next}", fault.kind())
}

impl Host {
    fn is_here(&self) -> bool {
        match self {
            Self::Socket(_) => true,
            Self::Tcp(name, _) => {
                name == "localhost"
                    || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
            }
        }
    }
}

impl Target {
    /// The server and its database, without role and password.
    pub(crate) fn identity(&self) -> String {
        let host = match &self.host {
            Host::Tcp(name, port) => format!("{}:{port}", name.to_ascii_lowercase()),
            Host::Socket(path) => path.display().to_string(),
        };
        format!("{host}\n{}", self.database)
    }
}

impl Settings {
    pub(crate) fn new(
        mapping: &Mapping,
        def: &ServerDef,
        environment: Arc<dyn Environment>,
        schemes: &'static [&'static str],
        port: u16,
    ) -> Self {
        Self { def: def.clone(), base: mapping.base().to_path_buf(), environment, schemes, port }
    }

    /// Reads the references on a thread that may wait for a disk.
    pub(crate) async fn read(&self) -> Result<Target, SourceError> {
        let settings = self.clone();
        let reading = tokio::task::spawn_blocking(move || settings.resolve());
        reading.await.unwrap_or_else(|_| Err(SourceError::Unavailable("its settings cannot be read".into())))
    }

    /// Reads the references. Errors name a variable or file, never what is in it.
    pub(crate) fn resolve(&self) -> Result<Target, SourceError> {
        let url = self.def.url.resolve(&self.base, self.environment.as_ref())?;
        let ca = match &self.def.tls {
            TlsDef::VerifyFull { ca } => {
                Some(ca.resolve(&self.base, self.environment.as_ref())?.into_bytes())
            }
            TlsDef::Off => None,
        };
        let target = self.parse(&url, ca).ok_or_else(|| {
            let scheme = self.schemes.first().copied().unwrap_or_default();
            SourceError::Setting(format!(
                "what `url` refers to is no address of this source: write \
                 {scheme}://role:password@host:port/database, with %40 for @ and %2F for / in a password, \
                 or {scheme}://role:password@localhost/database?socket=/path/of/the.socket"
            ))
        })?;
        if target.ca.is_none() && !target.host.is_here() {
            return Err(SourceError::Setting(
                "`tls` is off, and the server is not on this machine: write \
                 tls = { mode = \"verify-full\", ca = { file = \"ca.pem\" } }, or give `init` that file as --ca ca.pem"
                    .to_owned(),
            ));
        }
        Ok(target)
    }

    fn parse(&self, url: &str, ca: Option<Vec<u8>>) -> Option<Target> {
        let url = Url::parse(url).ok()?;
        if !self.schemes.contains(&url.scheme()) || url.fragment().is_some() {
            return None;
        }
        let decoded = |text: &str| Some(percent_decode_str(text).decode_utf8().ok()?.into_owned());
        let mut host = match url.host()? {
            UrlHost::Domain(name) => Host::Tcp(decoded(name)?, url.port().unwrap_or(self.port)),
            UrlHost::Ipv4(address) => Host::Tcp(address.to_string(), url.port().unwrap_or(self.port)),
            UrlHost::Ipv6(address) => Host::Tcp(address.to_string(), url.port().unwrap_or(self.port)),
        };
        // Whatever else could stand here would change what the session does.
        for (key, value) in url.query_pairs() {
            match key.as_ref() {
                "socket" if host.is_here() => host = Host::Socket(PathBuf::from(value.as_ref())),
                _ => return None,
            }
        }
        let database = decoded(url.path().strip_prefix('/')?)?;
        let role = decoded(url.username())?;
        if role.is_empty() || database.is_empty() || database.contains('/') {
            return None;
        }
        let password = url.password().and_then(decoded);
        Some(Target { host, role, password, database, ca })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;
    use yiwang_adapter_sdk::mapping::SourceDef;

    struct One(&'static str);

    impl Environment for One {
        fn var(&self, name: &str) -> Option<String> {
            (name == "URL").then(|| self.0.to_owned())
        }

        fn read(&self, _path: &Path) -> std::io::Result<String> {
            Ok("-----BEGIN".to_owned())
        }
    }

    fn resolve(url: &'static str, tls: &str) -> Result<Target, String> {
        let text = yiwang_adapter_sdk::compliance::mapping(
            &format!("[source.postgres]\nurl = {{ env = \"URL\" }}\ntls = {tls}\ntime_zone = \"UTC\""),
            "sql = \"select 1 where :id = ''\"",
            "sql = \"select 1 where :area = ''\"",
        );
        let mapping = Mapping::parse(&text, Path::new("m.toml")).unwrap();
        let SourceDef::Postgres(def) = mapping.source() else { panic!("a postgres mapping") };
        let environment = Arc::new(One(url));
        Settings::new(&mapping, def, environment, &["postgres", "postgresql"], 5432)
            .resolve()
            .map_err(|error| error.to_string())
    }

    #[test]
    fn an_address_is_read_and_what_would_change_the_session_is_refused() {
        const OFF: &str = "{ mode = \"off\" }";
        const FULL: &str = "{ mode = \"verify-full\", ca = { file = \"ca\" } }";
        let target = resolve("postgresql://r%40x:p%2Fw%3A@db.local/people", FULL).ok().unwrap();
        assert_eq!(target.host, Host::Tcp("db.local".to_owned(), 5432));
        assert_eq!((target.role.as_str(), target.password.as_deref()), ("r@x", Some("p/w:")));
        assert_eq!((target.database.as_str(), target.ca.is_some()), ("people", true));
        let target = resolve("postgres://r@localhost/people?socket=/run/x/.s", OFF).ok().unwrap();
        assert_eq!(target.host, Host::Socket(PathBuf::from("/run/x/.s")));
        assert!(resolve("postgres://r:p@[::1]:7/people", OFF).is_ok());
        for bad in [
            "mysql://r:hunter2@localhost/people",
            "postgres://r:hunter2@localhost",
            "postgres://:hunter2@localhost/people",
            "postgres://r:hunter2@localhost/people?options=-c%20x",
            "postgres://r:hunter2@localhost/people?sslmode=disable",
            "postgres://r:hunter2@db.local/people?socket=/x",
            "postgres://r:hunter2@localhost/a/b",
            "postgres://r:hunter2@localhost/people#x",
            "r:hunter2@localhost/people",
            "hunter2",
        ] {
            let error = resolve(bad, FULL).err().unwrap();
            assert!(error.contains("write postgres://role:password@host") && !error.contains("hunter2"));
        }
        let error = resolve("postgres://r:hunter2@db.local/people", OFF).err().unwrap();
        assert!(error.contains("`tls` is off") && !error.contains("hunter2"), "{error}");
    }
}
