//! PostgreSQL. A query is one round trip: `begin read only` with the operation's time limit, the statement,
//! and `rollback` are sent together, so that whatever a statement does, nothing of it stays.

mod cells;
mod inspect;
mod key;
mod params;
mod plan;
mod rights;
mod tls;
mod trouble;

pub(crate) use inspect::inspect;

use crate::dialect::{Postgres, Wrapped};
use crate::server::{
    Described, Host, Link, Rights, Room, Server, ServerSource, Settings, Statement, Target, Trouble,
    not_reached, trust,
};
use futures_util::future::try_join3;
use futures_util::{FutureExt as _, TryStreamExt as _};
use jiff::tz::TimeZone;
use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tls::{Raw, Tls};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinHandle;
use tokio_postgres::config::{ChannelBinding, SslMode};
use tokio_postgres::{CancelToken, Client, Config};
use trouble::{At, opening, trouble};
use yiwang_adapter_sdk::mapping::{Mapping, ParamType, SourceDef};
use yiwang_adapter_sdk::source::{Environment, Source, SourceError};
use yiwang_adapter_sdk::value::Rows;

/// Prepared statements kept per connection: operations times the sets of fields that contracts grant.
const STATEMENTS_MAX: usize = 64;
/// How long a connection may take to say goodbye.
const CLOSING: Duration = Duration::from_secs(2);
/// Limits of the session, for whatever sets none of its own: no operation has more than 30 s, and the
/// adapter never leaves a transaction open.
const SESSION: &str = "-c default_transaction_read_only=on -c statement_timeout=30000 \
                       -c idle_in_transaction_session_timeout=60000 -c standard_conforming_strings=on";

/// Opens the server that a mapping names; it is connected to when it is first asked.
///
/// # Errors
/// Another kind of source, a setting that is missing or is no address.
pub fn open_postgres(
    mapping: &Mapping,
    environment: &Arc<dyn Environment>,
) -> Result<Arc<dyn Source>, SourceError> {
    let (server, settings) = server(mapping, environment)?;
    Ok(Arc::new(ServerSource::new(server, &settings)))
}

fn server(
    mapping: &Mapping,
    environment: &Arc<dyn Environment>,
) -> Result<(PgServer, Settings), SourceError> {
    let SourceDef::Postgres(def) = mapping.source() else {
        return Err(SourceError::Setting("the mapping's source is not postgres".to_owned()));
    };
    let schemes = &["postgres", "postgresql"];
    let settings = Settings::new(mapping, def, Arc::clone(environment), schemes, 5432);
    trust(settings.resolve()?.ca.as_deref())?;
    Ok((PgServer { settings: settings.clone(), zone: def.common.zone.clone() }, settings))
}

struct PgServer {
    settings: Settings,
    zone: TimeZone,
}

struct PgLink {
    client: Option<Client>,
    connection: Option<JoinHandle<()>>,
    statements: HashMap<String, tokio_postgres::Statement>,
    zone: TimeZone,
    host: Host,
    tls: Tls,
}

impl Server for PgServer {
    type Dialect = Postgres;
    type Link = PgLink;

    const HOLDS_NUL: bool = false;

    async fn connect(&self) -> Result<PgLink, SourceError> {
        let target = self.settings.read().await?;
        let tls = Tls::new(&target)?;
        let config = config(&target, self.zone.iana_name());
        let stream =
            dial(&target.host).await.map_err(|error| SourceError::Unavailable(not_reached(&error)))?;
        let (client, connection) =
            config.connect_raw(stream, tls.clone()).await.map_err(|error| opening(&error))?;
        let connection = tokio::spawn(async move {
            // Its end shows in the client, which knows what was being asked.
            drop(connection.await);
        });
        Ok(PgLink {
            client: Some(client),
            connection: Some(connection),
            statements: HashMap::new(),
            zone: self.zone.clone(),
            host: target.host,
            tls,
        })
    }
}

fn config(target: &Target, zone: Option<&str>) -> Config {
    let mut config = Config::new();
    config.user(&target.role).dbname(&target.database).application_name("yiwang-adapter");
    if let Some(password) = &target.password {
        config.password(password);
    }
    let zone = zone.unwrap_or("UTC");
    config.options(format!("{SESSION} -c TimeZone={zone}"));
    config.ssl_mode(if target.ca.is_some() { SslMode::Require } else { SslMode::Disable });
    // The server's certificate was verified, which is what the binding would prove once more.
    config.channel_binding(ChannelBinding::Disable);
    config
}

async fn dial(host: &Host) -> io::Result<Raw> {
    Ok(match host {
        Host::Tcp(name, port) => {
            let stream = TcpStream::connect((name.as_str(), *port)).await?;
            stream.set_nodelay(true)?;
            Raw(Box::new(stream))
        }
        Host::Socket(path) => Raw(Box::new(UnixStream::connect(path).await?)),
    })
}

impl Drop for PgLink {
    fn drop(&mut self) {
        // Without its client a connection says goodbye and ends, unless its server has stopped to listen.
        self.client = None;
        let Some(connection) = self.connection.take() else { return };
        let abort = connection.abort_handle();
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn(async move {
                drop(tokio::time::timeout(CLOSING, connection).await);
                abort.abort();
            })),
            Err(_) => abort.abort(),
        }
    }
}

async fn cancel(token: CancelToken, host: Host, tls: Tls) {
    if let Ok(stream) = dial(&host).await {
        // The pool closes the connection whether or not this came through.
        drop(token.cancel_query_raw(stream, tls).await);
    }
}

fn closed() -> Trouble {
    Trouble::Lost("the connection was closed".to_owned())
}

impl PgLink {
    fn client(&self) -> Result<&Client, Trouble> {
        self.client.as_ref().ok_or_else(closed)
    }

    /// A statement, prepared without types: the server takes those of the columns, so that an index is used.
    async fn prepare(&mut self, text: &str) -> Result<tokio_postgres::Statement, Trouble> {
        if let Some(statement) = self.statements.get(text) {
            return Ok(statement.clone());
        }
        let prepared = self.client()?.prepare(text).await;
        let statement = prepared.map_err(|error| trouble(&error, At::Prepare, Duration::ZERO))?;
        if self.statements.len() >= STATEMENTS_MAX {
            self.statements.clear();
        }
        self.statements.insert(text.to_owned(), statement.clone());
        Ok(statement)
    }

    async fn run(&mut self, statement: &Statement) -> Result<Rows, Trouble> {
        let prepared = self.prepare(&statement.text).await?;
        let Some(values) = params::encode(&statement.values, prepared.params())? else {
            return Ok(Rows::new(statement.width));
        };
        let client = self.client()?;
        let millis = statement.timeout.as_millis();
        let begin = format!("begin read only; set local statement_timeout = {millis}");
        let at = |error: &tokio_postgres::Error| trouble(error, At::Execute, statement.timeout);
        let read = async {
            let rows = client.query_raw(&prepared, values).await.map_err(|error| at(&error))?;
            let mut rows = std::pin::pin!(rows);
            let (mut read, mut room) = (Rows::new(statement.width), Room::of(statement));
            while let Some(row) = rows.try_next().await.map_err(|error| at(&error))? {
                room.take()?;
                for column in 0..statement.width {
                    if let Err(trouble) = cells::push(&row, column, &self.zone, &mut read) {
                        return Err(trouble.or_page(statement, read));
                    }
                }
            }
            Ok(read)
        };
        // What is left of an answer that is not read on is not waited for either: the connection is closed.
        let read = read.map(|read| match read {
            Err(spent @ (Trouble::Spent(_) | Trouble::Full(_))) => Err(spent),
            other => Ok(other),
        });
        // Polled in this order, and so sent in it. Without its transaction nothing is read further, and what was sent by
        // then ends with the connection.
        let begun = client.batch_execute(&begin).map(|begun| {
            begun.map_err(|error| match at(&error) {
                Trouble::Kept(error) => Trouble::Spent(error),
                other => other,
            })
        });
        let ended = client.batch_execute("rollback").map(Ok);
        let ((), rows, ended) = try_join3(begun, read, ended).await?;
        let rows = rows?;
        ended.map_err(|error| at(&error))?;
        Ok(rows)
    }
}

impl Link for PgLink {
    fn lives(&self) -> bool {
        self.client.as_ref().is_some_and(|client| !client.is_closed())
    }

    fn interrupt(&self) -> impl Future<Output = ()> + Send + 'static {
        let token = self.client.as_ref().map(Client::cancel_token);
        let (host, tls) = (self.host.clone(), self.tls.clone());
        async move {
            if let Some(token) = token {
                cancel(token, host, tls).await;
            }
        }
    }

    async fn fetch(&mut self, statement: &Statement) -> Result<Rows, Trouble> {
        let outcome = self.run(statement).await;
        if let Err(Trouble::Stale(_)) = outcome {
            self.statements.remove(&statement.text);
        }
        outcome
    }

    async fn rights(&mut self) -> Result<Rights, SourceError> {
        rights::read(self.client()?).await.map_err(SourceError::from)
    }

    async fn describe(&mut self, wrapped: &Wrapped, kinds: &[ParamType]) -> Result<Described, Trouble> {
        let prepared = self.prepare(&wrapped.text).await?;
        let columns = prepared.columns();
        let opaque = columns.iter().filter(|column| !cells::can_take(column.type_()));
        let unfit =
            wrapped.named.iter().zip(kinds).zip(prepared.params()).filter_map(|((name, kind), wanted)| {
                let what = params::unfit(*kind, wanted)?;
                Some((name.clone(), what))
            });
        Ok(Described {
            names: columns.iter().map(|column| column.name().to_owned()).collect(),
            opaque: opaque.map(|column| (column.name().to_owned(), column.type_().to_string())).collect(),
            types: columns.iter().filter_map(cells::typed).collect(),
            unfit: unfit.collect(),
        })
    }

    async fn unfit_key(&mut self, none: &str, values: usize) -> Result<Option<String>, Trouble> {
        key::unfit(self.client()?, none, values).await
    }

    async fn scans(
        &mut self,
        wrapped: &Wrapped,
        _kinds: &[ParamType],
    ) -> Result<Option<Vec<String>>, Trouble> {
        plan::scans(self.client()?, &wrapped.text).await
    }
}
