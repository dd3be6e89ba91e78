//! MariaDB, and MySQL by the same protocol. Each statement is a transaction of its own in a session whose
//! transactions can only read.

mod cells;
mod grants;
mod inspect;
mod key;
mod plan;
mod trouble;

pub(crate) use inspect::inspect;

use crate::dialect::{Mariadb, Wrapped};
use crate::server::{
    Described, Host, Link, Rights, Room, Server, ServerSource, Settings, Statement, Trouble, trust,
};
use jiff::tz::{Offset, TimeZone};
use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Opts, OptsBuilder, Params, SslOpts, Value};
use std::sync::Arc;
use std::time::Duration;
use trouble::{At, opening, trouble};
use yiwang_adapter_sdk::mapping::{Mapping, ParamType, SourceDef};
use yiwang_adapter_sdk::source::{Environment, Source, SourceError};
use yiwang_adapter_sdk::value::{Rows, TEXT_MAX};
use yiwang_proto::ambient::{Clock, SystemClock};
use yiwang_proto::contract::Scalar;

/// Prepared statements kept per connection: operations times the sets of fields that contracts grant.
const STATEMENTS_MAX: usize = 64;
/// Bytes of one row: no fetch may hold more text than this, so no row is larger.
const PACKET_MAX: usize = TEXT_MAX + 64 * 1024;
/// Without backslashes a quoted text ends where the mapping's reader thinks it does.
const SQL_MODE: &str = "STRICT_ALL_TABLES,NO_BACKSLASH_ESCAPES,NO_ENGINE_SUBSTITUTION";

/// Opens the server that a mapping names; it is connected to when it is first asked.
///
/// # Errors
/// Another kind of source, a setting that is missing or is no address.
pub fn open_mariadb(
    mapping: &Mapping,
    environment: &Arc<dyn Environment>,
) -> Result<Arc<dyn Source>, SourceError> {
    let (server, settings) = server(mapping, environment)?;
    Ok(Arc::new(ServerSource::new(server, &settings)))
}

fn server(
    mapping: &Mapping,
    environment: &Arc<dyn Environment>,
) -> Result<(MyServer, Settings), SourceError> {
    let SourceDef::Mariadb(def) = mapping.source() else {
        return Err(SourceError::Setting("the mapping's source is not mariadb".to_owned()));
    };
    let settings = Settings::new(mapping, def, Arc::clone(environment), &["mariadb", "mysql"], 3306);
    trust(settings.resolve()?.ca.as_deref())?;
    let zone = def.common.zone.clone();
    Ok((MyServer { settings: settings.clone(), zone, clock: SystemClock::default() }, settings))
}

struct MyServer {
    settings: Settings,
    zone: TimeZone,
    clock: SystemClock,
}

struct MyLink {
    conn: Conn,
    opts: Opts,
    zone: TimeZone,
    /// The session's own, in which it gives moments.
    offset: Offset,
    /// Whether the server is MariaDB; MySQL names its time limit otherwise.
    mariadb: bool,
    /// The time limit that is set.
    limit: Duration,
}

impl Server for MyServer {
    type Dialect = Mariadb;
    type Link = MyLink;

    const HOLDS_NUL: bool = true;

    async fn connect(&self) -> Result<MyLink, SourceError> {
        let target = self.settings.read().await?;
        let mut opts = OptsBuilder::default()
            .user(Some(target.role))
            .pass(target.password)
            .db_name(Some(target.database))
            .prefer_socket(false)
            .tcp_nodelay(true)
            .max_allowed_packet(Some(PACKET_MAX))
            .stmt_cache_size(STATEMENTS_MAX);
        opts = match target.host {
            Host::Tcp(name, port) => opts.ip_or_hostname(name).tcp_port(port),
            Host::Socket(path) => opts.socket(Some(path.display().to_string())),
        };
        if let Some(ca) = target.ca {
            let tls = SslOpts::default().with_root_certs(vec![ca.into()]).with_disable_built_in_roots(true);
            opts = opts.ssl_opts(tls);
        }
        let opts = Opts::from(opts);
        let conn = Conn::new(opts.clone()).await.map_err(|error| opening(&error))?;
        let now = jiff::Timestamp::from_millisecond(self.clock.now_ms()).unwrap_or_default();
        let offset = self.zone.to_offset(now);
        let limit = Duration::ZERO;
        let mut link = MyLink { conn, opts, zone: self.zone.clone(), offset, mariadb: true, limit };
        link.set_up()
            .await
            .map_err(|error| SourceError::from(trouble(&error, At::Execute, Duration::ZERO)))?;
        Ok(link)
    }
}

impl MyLink {
    async fn set_up(&mut self) -> Result<(), mysql_async::Error> {
        self.conn.query_drop("set session transaction read only").await?;
        self.conn.query_drop("set names utf8mb4").await?;
        let seconds = self.offset.seconds();
        let (sign, minutes) = (if seconds < 0 { '-' } else { '+' }, seconds.abs() / 60);
        let zone = format!("{sign}{:02}:{:02}", minutes / 60, minutes % 60);
        self.conn
            .query_drop(format!("set session sql_mode = '{SQL_MODE}', session time_zone = '{zone}'"))
            .await?;
        let version: Option<String> = self.conn.query_first("select version()").await?;
        self.mariadb = version.is_some_and(|version| version.contains("MariaDB"));
        Ok(())
    }

    /// Lets the server itself end a statement: who asked may not be there any more to stop it.
    async fn limit(&mut self, timeout: Duration) -> Result<(), mysql_async::Error> {
        if self.limit == timeout {
            return Ok(());
        }
        let millis = timeout.as_millis();
        let set = if self.mariadb {
            format!("set session max_statement_time = {}.{:03}", millis / 1000, millis % 1000)
        } else {
            format!("set session max_execution_time = {millis}")
        };
        self.conn.query_drop(set).await?;
        self.limit = timeout;
        Ok(())
    }

    async fn run(&mut self, statement: &Statement) -> Result<Rows, Trouble> {
        let at = |error: &mysql_async::Error| trouble(error, At::Execute, statement.timeout);
        self.limit(statement.timeout).await.map_err(|error| at(&error))?;
        let prepared = self.conn.prep(statement.text.as_str()).await;
        let prepared = prepared.map_err(|error| trouble(&error, At::Prepare, statement.timeout))?;
        let values = Params::Positional(statement.values.iter().map(value).collect());
        let values = if statement.values.is_empty() { Params::Empty } else { values };
        let mut result = self.conn.exec_iter(prepared, values).await.map_err(|error| at(&error))?;
        let (mut rows, mut room) = (Rows::new(statement.width), Room::of(statement));
        loop {
            let row = match result.next().await {
                Ok(Some(row)) => row,
                Ok(None) => return Ok(rows),
                Err(error) => return Err(at(&error).or_page(statement, rows)),
            };
            room.take()?;
            for column in 0..statement.width {
                if let Err(trouble) = cells::push(&row, column, self.offset, &self.zone, &mut rows) {
                    return Err(trouble.or_page(statement, rows));
                }
            }
        }
    }
}

fn value(scalar: &Option<Scalar>) -> Value {
    match scalar {
        None => Value::NULL,
        Some(Scalar::Bool(value)) => Value::Int(i64::from(*value)),
        Some(Scalar::Integer(value)) => Value::Int(*value),
        Some(Scalar::Number(value)) => Value::Double(*value),
        Some(Scalar::Text(text)) => Value::Bytes(text.clone().into_bytes()),
    }
}

impl Link for MyLink {
    fn lives(&self) -> bool {
        !self.conn.is_disconnected()
    }

    fn interrupt(&self) -> impl Future<Output = ()> + Send + 'static {
        let (opts, id) = (self.opts.clone(), self.conn.id());
        async move {
            if let Ok(mut conn) = Conn::new(opts).await {
                // The pool closes the connection whether or not this came through.
                drop(conn.query_drop(format!("kill query {id}")).await);
                drop(conn.disconnect().await);
            }
        }
    }

    async fn fetch(&mut self, statement: &Statement) -> Result<Rows, Trouble> {
        let outcome = self.run(statement).await;
        if let Err(Trouble::Stale(_)) = outcome
            && let Ok(prepared) = self.conn.prep(statement.text.as_str()).await
        {
            // The library forgets it first; where closing it fails, the next preparation tells.
            drop(self.conn.close(prepared).await);
        }
        outcome
    }

    async fn rights(&mut self) -> Result<Rights, SourceError> {
        let read = grants::read(&mut self.conn).await;
        read.map_err(|error| trouble(&error, At::Execute, Duration::ZERO).into())
    }

    async fn describe(&mut self, wrapped: &Wrapped, _kinds: &[ParamType]) -> Result<Described, Trouble> {
        let prepared = self.conn.prep(wrapped.text.as_str()).await;
        let prepared = prepared.map_err(|error| trouble(&error, At::Prepare, Duration::ZERO))?;
        let columns = prepared.columns();
        let opaque = columns.iter().filter(|column| !cells::can_take(column));
        Ok(Described {
            names: columns.iter().map(|column| column.name_str().into_owned()).collect(),
            opaque: opaque.map(|column| (column.name_str().into_owned(), cells::type_name(column))).collect(),
            types: columns.iter().filter_map(cells::typed).collect(),
            // A placeholder takes any type here; the plan shows whether an index still serves.
            unfit: Vec::new(),
        })
    }

    async fn unfit_key(&mut self, none: &str, values: usize) -> Result<Option<String>, Trouble> {
        key::unfit(&mut self.conn, none, values).await
    }

    async fn scans(
        &mut self,
        wrapped: &Wrapped,
        kinds: &[ParamType],
    ) -> Result<Option<Vec<String>>, Trouble> {
        plan::scans(&mut self.conn, wrapped, kinds).await
    }
}
