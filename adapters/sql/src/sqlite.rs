//! SQLite, opened read only. A database in WAL mode can be read only while its `-wal` and `-shm` files are
//! there or their folder can be written: use a rollback journal, or a copy, where the adapter's user may
//! not write.

use crate::dialect::{Dialect, Sqlite, Wrapped};
use crate::pool::{Cancel, CancelOnDrop, Pool, Shares, WAITING_MAX};
use crate::server::order;
use crate::{findings, live};
use rusqlite::config::DbConfig;
use rusqlite::hooks::{AuthAction, AuthContext, Authorization, TransactionOperation};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, ErrorCode, OpenFlags};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::oneshot;
use yiwang_adapter_sdk::check::Finding;
use yiwang_adapter_sdk::mapping::{Access, Mapping, OperationDef, SourceCommon, SourceDef};
use yiwang_adapter_sdk::source::{BoxFuture, Environment, FetchQuery, Fetched, Probe, Source, SourceError};
use yiwang_adapter_sdk::value::{Cell, Rows, parse_instant};
use yiwang_adapter_sdk::words::words;
use yiwang_proto::ambient::SystemClock;
use yiwang_proto::contract::Scalar;

/// Threads, each with a connection: look-ups are short, and two cores are the smallest box.
const CONNECTIONS: usize = 2;
/// Prepared statements kept per connection: operations times the sets of fields that contracts grant.
const STATEMENTS_MAX: usize = 64;
/// Instructions of SQLite's machine between two looks at the cancel flag: some tens of microseconds.
const STEPS_PER_LOOK: i32 = 4000;
/// How long a probe may take.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);

/// An SQLite file as a source. Dropping it ends its threads.
pub struct SqliteSource {
    pool: Pool<Worker>,
    path: PathBuf,
    common: SourceCommon,
    generation: Arc<AtomicU64>,
}

/// One thread's connection; reopened when the file was replaced by another.
struct Worker {
    connection: Connection,
    path: PathBuf,
    generation: u64,
    newest: Arc<AtomicU64>,
}

impl SqliteSource {
    /// Opens the file that a mapping names. Errors: another kind of source, a setting that is missing, a
    /// file that is no database.
    pub fn open(mapping: &Mapping, environment: &dyn Environment) -> Result<Self, SourceError> {
        let SourceDef::Sqlite(def) = mapping.source() else {
            return Err(SourceError::Setting("the mapping's source is not sqlite".to_owned()));
        };
        let path = mapping.base().join(def.path.resolve(mapping.base(), environment)?);
        let generation = Arc::new(AtomicU64::new(identity(&path)));
        let mut workers = Vec::with_capacity(CONNECTIONS);
        for _ in 0..CONNECTIONS {
            workers.push(Worker {
                connection: connect(&path)?,
                path: path.clone(),
                generation: generation.load(Ordering::Acquire),
                newest: Arc::clone(&generation),
            });
        }
        let pool = Pool::start("sqlite", Arc::new(SystemClock::default()), workers)
            .map_err(|error| SourceError::Unavailable(format!("no thread: {error}")))?;
        Ok(Self { pool, path, common: def.common.clone(), generation })
    }

    async fn run<T: Send + 'static>(
        &self,
        timeout: Duration,
        work: impl FnOnce(&mut Worker) -> Result<T, SourceError> + Send + 'static,
    ) -> Result<T, SourceError> {
        let cancel = Cancel::default();
        let guard = CancelOnDrop(cancel.clone());
        let (reply, answer) = oneshot::channel();
        let watched = cancel.clone();
        let job = move |worker: &mut Worker| {
            let outcome = worker.watch(watched).and_then(|()| work(worker));
            // The asker may have gone; then nobody misses the outcome.
            drop(reply.send(outcome));
        };
        if !self.pool.submit(cancel, Box::new(job)).await {
            return Err(SourceError::Busy { waiting: WAITING_MAX });
        }
        let outcome = tokio::time::timeout(timeout, answer).await;
        drop(guard);
        match outcome {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(SourceError::Unavailable("the source was closed".to_owned())),
            Err(_) => Err(SourceError::Timeout(timeout)),
        }
    }
}

impl Source for SqliteSource {
    fn fetch(&self, query: FetchQuery) -> BoxFuture<'_, Result<Fetched, SourceError>> {
        Box::pin(async move {
            let timeout = query.timeout;
            // What the asker allocated goes back to it: freed by another thread it costs that thread a lock.
            let work =
                move |worker: &mut Worker| fetch(&worker.connection, &query).map(|found| (found, query));
            self.run(timeout, work).await.map(|(found, _query)| found)
        })
    }

    fn probe(&self) -> BoxFuture<'_, Result<Probe, SourceError>> {
        Box::pin(async move {
            // A file that was replaced by renaming is another file; the threads reopen it.
            self.generation.store(identity(&self.path), Ordering::Release);
            let common = self.common.clone();
            self.run(PROBE_TIMEOUT, move |worker| probe(&worker.connection, &common)).await
        })
    }

    fn identity(&self) -> BoxFuture<'_, Result<String, SourceError>> {
        let place = std::path::absolute(&self.path).unwrap_or_else(|_| self.path.clone());
        Box::pin(async move { Ok(place.display().to_string()) })
    }

    fn check(&self, operations: Vec<Arc<OperationDef>>) -> BoxFuture<'_, Vec<Finding>> {
        Box::pin(async move {
            let path = self.path.clone();
            let checked = self
                .run(PROBE_TIMEOUT, move |_| {
                    let mut findings = live::read_only(&path);
                    // A connection that has served prepares under the schema that it read last.
                    let connection = connect(&path)?;
                    for operation in &operations {
                        live::operation(&connection, operation, &mut findings);
                    }
                    Ok(findings)
                })
                .await;
            checked.unwrap_or_else(|error| vec![findings::failed(&error)])
        })
    }
}

impl Shares for Worker {
    fn begin(&mut self) {
        // Where it fails, each statement takes its own view, and tells its own error.
        drop(self.transaction("begin"));
    }

    fn end(&mut self) {
        // A read has nothing to commit. Where even this fails the connection is of no use: it is opened anew.
        if !self.connection.is_autocommit() && self.transaction("rollback").is_err() {
            self.generation = 0;
        }
    }
}

impl Worker {
    fn transaction(&self, word: &str) -> rusqlite::Result<usize> {
        self.connection.prepare_cached(word)?.raw_execute()
    }

    /// Lets the flag interrupt what runs next, and reopens a file that was replaced.
    fn watch(&mut self, cancel: Cancel) -> Result<(), SourceError> {
        let newest = self.newest.load(Ordering::Acquire);
        if newest != self.generation {
            self.connection = connect(&self.path)?;
            self.generation = newest;
        }
        self.connection
            .progress_handler(STEPS_PER_LOOK, Some(move || cancel.is_set()))
            .map_err(|error| step_error(&error))
    }
}

/// Device, inode: another file under the same name has another number.
fn identity(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata(path).map_or(0, |meta| meta.ino() ^ meta.dev().rotate_left(32))
}

/// Why a file cannot be read as a database. SQLite does not say what is wrong with a path. The file is not opened for this:
/// closing it would drop the locks that this process's other connections have on it (POSIX advisory locks).
pub(crate) fn unavailable(path: &Path, error: &rusqlite::Error) -> SourceError {
    let why = match rustix::fs::access(path, rustix::fs::Access::READ_OK) {
        Ok(()) => prepare_text(error),
        Err(rustix::io::Errno::NOENT) => {
            "there is no such file; a path in a mapping counts from the mapping's folder".to_owned()
        }
        Err(errno) => format!("this user cannot read it: {}", std::io::Error::from(errno)),
    };
    SourceError::Unavailable(format!("`{}`: {why}", path.display()))
}

pub(crate) fn connect(path: &Path) -> Result<Connection, SourceError> {
    let unavailable = |error| unavailable(path, &error);
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags).map_err(unavailable)?;
    connection.busy_timeout(Duration::from_millis(250)).map_err(unavailable)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    for (pragma, value) in
        [("query_only", "on"), ("trusted_schema", "off"), ("cell_size_check", "on"), ("temp_store", "memory")]
    {
        connection.pragma_update(None, pragma, value).map_err(unavailable)?;
    }
    // A column that is not there would otherwise be read as a text, its own name: every person would be called `XM`.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DQS_DML, false).map_err(unavailable)?;
    // Reading the schema shows whether it is a database at all.
    connection.query_row("select count(*) from sqlite_schema", [], |_| Ok(())).map_err(unavailable)?;
    // Without this, binding the limit marks the statement as stale and each look-up prepares it again.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).map_err(unavailable)?;
    connection.set_limit(rusqlite::limits::Limit::SQLITE_LIMIT_ATTACHED, 0).map_err(unavailable)?;
    connection.authorizer(Some(authorize)).map_err(unavailable)?;
    Ok(connection)
}

/// Whatever a mapping's statement says, SQLite lets it read and compute, nothing else.
fn authorize(context: AuthContext<'_>) -> Authorization {
    match context.action {
        AuthAction::Select | AuthAction::Recursive => Authorization::Allow,
        // Ours: a mapping's statement stands inside a `select`.
        AuthAction::Transaction {
            operation: TransactionOperation::Begin | TransactionOperation::Rollback,
        } => Authorization::Allow,
        // Tables of SQLite itself tell of the file and the schema, which are nobody's record.
        AuthAction::Read { table_name, .. }
            if !table_name.starts_with("pragma_") && !table_name.starts_with("sqlite_") =>
        {
            Authorization::Allow
        }
        AuthAction::Function { function_name } if function_name != "load_extension" => Authorization::Allow,
        _ => Authorization::Deny,
    }
}

/// The wrapped statement of an operation.
pub(crate) fn wrap(
    operation: &OperationDef,
    columns: &[impl AsRef<str>],
    query: Option<&FetchQuery>,
) -> Result<Wrapped, SourceError> {
    let Access::Sql(statement) = &operation.access else {
        return Err(SourceError::Query("the operation has no statement".to_owned()));
    };
    let filter = query.and_then(|query| query.filter.as_ref());
    let page = query.and_then(|query| query.page.as_ref());
    Sqlite.wrap(statement, columns, filter, page, order(operation, columns))
}

fn fetch(connection: &Connection, query: &FetchQuery) -> Result<Fetched, SourceError> {
    if query.page.is_some()
        && let Some(what) = live::unfit_key(connection, &query.operation)?
    {
        return Err(SourceError::Drift(findings::key_fault(&query.operation, &what)));
    }
    let wrapped = wrap(&query.operation, &query.columns, Some(query))?;
    let mut statement = connection
        .prepare_cached(&wrapped.text)
        .map_err(|error| SourceError::Drift(format!("{}: {}", query.operation.name, prepare_text(&error))))?;
    for (name, value) in &query.params {
        let index = statement.parameter_index(&format!(":{name}")).map_err(|error| step_error(&error))?;
        let index = index.ok_or_else(|| SourceError::Query(format!("parameter :{name} is not there")))?;
        match value {
            None => statement.raw_bind_parameter(index, rusqlite::types::Null),
            Some(value) => bind(&mut statement, index, value),
        }
        .map_err(|error| step_error(&error))?;
    }
    let first = query.params.len() + 1;
    for (at, value) in wrapped.filter_values.iter().enumerate() {
        bind(&mut statement, first + at, value).map_err(|error| step_error(&error))?;
    }
    statement
        .raw_bind_parameter(first + wrapped.filter_values.len(), query.limit)
        .map_err(|error| step_error(&error))?;
    let width = query.columns.len();
    let mut rows = Rows::with_room(width);
    let mut cursor = statement.raw_query();
    while let Some(row) = cursor.next().map_err(|error| interrupted(&error, query.timeout))? {
        for column in 0..width {
            let cell = cell(row.get_ref(column).map_err(|error| step_error(&error))?);
            if let Err(full) = rows.push(cell) {
                if query.page.is_none() {
                    return Err(full.into());
                }
                rows.end_early()?;
                return Ok(Fetched { rows });
            }
        }
    }
    Ok(Fetched { rows })
}

fn bind(statement: &mut rusqlite::Statement<'_>, index: usize, value: &Scalar) -> rusqlite::Result<()> {
    match value {
        Scalar::Bool(value) => statement.raw_bind_parameter(index, value),
        Scalar::Integer(value) => statement.raw_bind_parameter(index, value),
        Scalar::Number(value) => statement.raw_bind_parameter(index, value),
        Scalar::Text(text) => statement.raw_bind_parameter(index, text),
    }
}

fn cell(value: ValueRef<'_>) -> Cell<'_> {
    match value {
        ValueRef::Null => Cell::Null,
        ValueRef::Integer(value) => Cell::Integer(value),
        ValueRef::Real(value) => Cell::Number(value),
        ValueRef::Text(bytes) => std::str::from_utf8(bytes).map_or(Cell::Opaque, Cell::Text),
        ValueRef::Blob(_) => Cell::Opaque,
    }
}

fn probe(connection: &Connection, common: &SourceCommon) -> Result<Probe, SourceError> {
    if let Some(text) = &common.health.probe {
        let mut statement = connection
            .prepare_cached(text)
            .map_err(|error| SourceError::Drift(format!("health probe: {}", prepare_text(&error))))?;
        statement.raw_query().next().map_err(|error| interrupted(&error, PROBE_TIMEOUT))?;
    }
    let Some(text) = common.freshness.as_ref().and_then(|freshness| freshness.probe.as_ref()) else {
        return Ok(Probe::default());
    };
    let mut statement = connection
        .prepare_cached(text)
        .map_err(|error| SourceError::Drift(format!("freshness probe: {}", prepare_text(&error))))?;
    let mut rows = statement.raw_query();
    let newest = match rows.next().map_err(|error| interrupted(&error, PROBE_TIMEOUT))? {
        None => None,
        Some(row) => match cell(row.get_ref(0).map_err(|error| step_error(&error))?) {
            Cell::Null => None,
            Cell::Text(text) => match parse_instant(text, None, &common.zone) {
                Some(at) => Some(at.as_millisecond()),
                None => return Err(no_time()),
            },
            _ => return Err(no_time()),
        },
    };
    Ok(Probe { newest_ms: newest })
}

fn no_time() -> SourceError {
    SourceError::Drift("freshness probe: its value is not a time".to_owned())
}

/// The text of an error while preparing: it speaks of the statement, which the mapping's author wrote.
pub(crate) fn prepare_text(error: &rusqlite::Error) -> String {
    match error {
        rusqlite::Error::SqlInputError { msg, .. } => words(msg),
        rusqlite::Error::SqliteFailure(_, Some(text)) => words(text),
        other => step_text(other),
    }
}

/// The text of an error while a statement runs: only SQLite's code, since its words can hold values.
fn step_text(error: &rusqlite::Error) -> String {
    match error.sqlite_error() {
        Some(code) => format!("{:?} ({})", code.code, code.extended_code),
        None => "value cannot be bound or read".to_owned(),
    }
}

fn step_error(error: &rusqlite::Error) -> SourceError {
    // SQLite prepares a statement again where the schema has changed: these words name what the statement names.
    if let rusqlite::Error::SqliteFailure(_, Some(text)) = error
        && ["no such column", "no such table"].iter().any(|gone| text.starts_with(gone))
    {
        return SourceError::Drift(prepare_text(error));
    }
    SourceError::Query(step_text(error))
}

fn interrupted(error: &rusqlite::Error, timeout: Duration) -> SourceError {
    match error.sqlite_error_code() {
        Some(ErrorCode::OperationInterrupted) => SourceError::Timeout(timeout),
        _ => step_error(error),
    }
}
