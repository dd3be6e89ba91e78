//! What is common to databases that are servers: how a query goes its way, what becomes of a connection,
//! probes and checks. A database adds its protocol behind [`Server`] and [`Link`].

mod check;
mod pool;
mod rights;
mod target;
mod trust;

pub(crate) use rights::Rights;
pub(crate) use target::{Host, Settings, Target, not_reached};
pub(crate) use trust::trust;
pub(crate) use yiwang_adapter_sdk::words::words;

use crate::dialect::{Dialect, Wrapped, own};
use crate::findings::key_fault;
use crate::types::Typed;
use pool::Pool;
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use yiwang_adapter_sdk::check::Finding;
use yiwang_adapter_sdk::mapping::{Access, OperationDef, OrderDef, ParamType, SourceCommon};
use yiwang_adapter_sdk::source::{BoxFuture, FetchQuery, Fetched, Probe, Source, SourceError, Usage};
use yiwang_adapter_sdk::value::{Rows, TooMuchText};
use yiwang_proto::ambient::SystemClock;
use yiwang_proto::contract::Scalar;
use yiwang_proto::ids::Operation;

/// How long the proof of the role's rights may take, and after it a probe's statements.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a live check of all operations may take.
const CHECK_TIMEOUT: Duration = Duration::from_secs(30);

/// Why a connection gave nothing, and what it is good for now.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// It is as good as before.
    Kept(SourceError),
    /// What is left of an answer is still on its way, so it must be closed.
    Spent(SourceError),
    /// Rows of a page, up to what fits; what is left is still on its way, as above.
    Full(Rows),
    /// The server has gone.
    Lost(String),
    /// The statement was prepared for a table that has changed since.
    Stale(String),
}

/// What a server is taken to say where the role lacks a right: the words for it begin so.
pub(crate) const MAY_NOT_READ: &str = "the role may not read what the statement names";

impl Trouble {
    fn keeps(&self) -> bool {
        matches!(self, Self::Kept(_) | Self::Stale(_))
    }

    /// Where it is that a row does not fit, a page ends before it.
    pub(crate) fn or_page(self, statement: &Statement, mut rows: Rows) -> Self {
        let too_large = matches!(self, Self::Spent(SourceError::TooLarge(_)));
        if too_large && statement.paged && rows.end_early().is_ok() { Self::Full(rows) } else { self }
    }
}

/// Counts the rows of an answer up to what was asked for.
pub(crate) struct Room(usize);

impl Room {
    pub(crate) fn of(statement: &Statement) -> Self {
        Self(statement.limit)
    }

    /// Takes the place of one row. Errors: the server gives more than it was asked for.
    pub(crate) fn take(&mut self) -> Result<(), Trouble> {
        self.0 = self.0.checked_sub(1).ok_or(Trouble::Spent(SourceError::TooLarge(TooMuchText)))?;
        Ok(())
    }
}

impl From<Trouble> for SourceError {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Kept(error) | Trouble::Spent(error) => error,
            Trouble::Full(_) => Self::TooLarge(TooMuchText),
            Trouble::Lost(what) => Self::Unavailable(what),
            Trouble::Stale(what) => Self::Drift(what),
        }
    }
}

/// A statement with the values of its placeholders, in their order.
pub(crate) struct Statement {
    pub(crate) text: String,
    pub(crate) values: Vec<Option<Scalar>>,
    /// How many columns it gives.
    pub(crate) width: usize,
    /// Rows at most, which the text says to the server as well: a server that gives more is not read on.
    pub(crate) limit: usize,
    /// Whether rows that do not fit may be left for the next page.
    pub(crate) paged: bool,
    /// After this the server itself ends it: the operation's time, which is the same for all its queries.
    pub(crate) timeout: Duration,
}

/// What a statement looks like once it is prepared.
pub(crate) struct Described {
    /// Columns that it gives.
    pub(crate) names: BTreeSet<String>,
    /// Columns whose type no field can take, with the type.
    pub(crate) opaque: Vec<(String, String)>,
    /// The types of the others.
    pub(crate) types: BTreeMap<String, Typed>,
    /// Parameters that do not fit what they are compared with: name, what is wrong.
    pub(crate) unfit: Vec<(String, String)>,
}

/// A kind of database server.
pub(crate) trait Server: Send + Sync + 'static {
    type Dialect: Dialect + Default;
    type Link: Link;

    /// Whether a text with a NUL can stand in a column.
    const HOLDS_NUL: bool;

    /// Opens a connection that can only read.
    fn connect(&self) -> impl Future<Output = Result<Self::Link, SourceError>> + Send;
}

/// A connection.
pub(crate) trait Link: Send + 'static {
    /// Whether it can be used, as far as is known without asking the server.
    fn lives(&self) -> bool;

    /// Stops what runs on it, from outside.
    fn interrupt(&self) -> impl Future<Output = ()> + Send + 'static;

    /// Runs a statement in a transaction that cannot write.
    fn fetch(&mut self, statement: &Statement) -> impl Future<Output = Result<Rows, Trouble>> + Send;

    /// What its role may do.
    fn rights(&mut self) -> impl Future<Output = Result<Rights, SourceError>> + Send;

    /// Prepares a statement and says what it looks like; `kinds` are the types of its named parameters.
    fn describe(
        &mut self,
        wrapped: &Wrapped,
        kinds: &[ParamType],
    ) -> impl Future<Output = Result<Described, Trouble>> + Send;

    /// What is wrong with the one column of a statement as the key of pages; `none` gives that column and no row, and takes so
    /// many values.
    fn unfit_key(
        &mut self,
        none: &str,
        values: usize,
    ) -> impl Future<Output = Result<Option<String>, Trouble>> + Send;

    /// Tables that the statement reads in full; none if the plan cannot be shown.
    fn scans(
        &mut self,
        wrapped: &Wrapped,
        kinds: &[ParamType],
    ) -> impl Future<Output = Result<Option<Vec<String>>, Trouble>> + Send;
}

/// A server as a source.
pub(crate) struct ServerSource<S: Server> {
    pool: Pool<S>,
    common: SourceCommon,
    settings: Settings,
    /// Batches whose keys were proved since the last probe; no more than the mapping has.
    keys: Mutex<BTreeSet<Operation>>,
}

impl<S: Server> ServerSource<S> {
    /// Connects to nothing yet.
    pub(crate) fn new(server: S, settings: &Settings) -> Self {
        let clock = Arc::new(SystemClock::default());
        let common = settings.def.common.clone();
        Self {
            pool: Pool::new(server, settings.def.pool, clock),
            common,
            settings: settings.clone(),
            keys: Mutex::default(),
        }
    }

    /// Runs a statement, and once more where the connection had gone before it was asked, or the table
    /// has changed since the statement was prepared: it only reads, so nothing happens twice.
    async fn run(&self, statement: &Statement) -> Result<Rows, SourceError> {
        let mut first = true;
        loop {
            let mut lease = self.pool.lease().await?;
            let mut outcome = lease.begin()?.fetch(statement).await;
            if let Err(Trouble::Stale(_)) = outcome {
                // On the same connection, which has forgotten what was prepared.
                outcome = lease.begin()?.fetch(statement).await;
            }
            lease.done(outcome.as_ref().err().is_none_or(Trouble::keeps));
            match outcome {
                Ok(rows) | Err(Trouble::Full(rows)) => return Ok(rows),
                Err(Trouble::Lost(_)) if first && lease.was_used() => self.pool.renew(),
                Err(trouble) => return Err(trouble.into()),
            }
            first = false;
        }
    }

    /// Whether pages can be gone on after an operation's key, as the server compares it.
    async fn prove_key(&self, operation: &OperationDef) -> Result<(), SourceError> {
        let keys = || self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        if keys().contains(&operation.name) {
            return Ok(());
        }
        let none = without_rows(&S::Dialect::default(), operation)?;
        let mut first = true;
        let unfit = loop {
            let mut lease = self.pool.lease().await?;
            let unfit = lease.begin()?.unfit_key(&none.0, none.1).await;
            lease.done(unfit.as_ref().err().is_none_or(Trouble::keeps));
            match unfit {
                Err(Trouble::Lost(_)) if first && lease.was_used() => self.pool.renew(),
                unfit => break unfit?,
            }
            first = false;
        };
        if let Some(what) = unfit {
            return Err(SourceError::Drift(key_fault(operation, &what)));
        }
        keys().insert(operation.name.clone());
        Ok(())
    }

    async fn probe_all(&self) -> Result<Probe, SourceError> {
        let mut probe = Probe::default();
        if let Some(text) = &self.common.health.probe {
            self.run(&asked::<S>(text)).await.map_err(|error| named("health probe", error))?;
        }
        if let Some(text) = self.common.freshness.as_ref().and_then(|freshness| freshness.probe.as_ref()) {
            let rows = self.run(&asked::<S>(text)).await.map_err(|error| named("freshness probe", error))?;
            probe.newest_ms = check::newest(&rows, &self.common)?;
        }
        Ok(probe)
    }

    /// Looks for a right that was given since the connections were opened. Where that cannot be told, for
    /// whatever reason, every connection has to prove itself again before it is used.
    async fn prove(&self) -> Result<(), SourceError> {
        let proved = match tokio::time::timeout(PROBE_TIMEOUT, self.proof()).await {
            Ok(proved) => proved,
            Err(_) => Err(SourceError::Timeout(PROBE_TIMEOUT)),
        };
        if proved.is_err() {
            self.pool.renew();
        }
        proved
    }

    async fn proof(&self) -> Result<(), SourceError> {
        let mut first = true;
        loop {
            let mut lease = self.pool.lease().await?;
            let rights = lease.begin()?.rights().await;
            // The server had gone while the connection lay idle.
            let gone = first && lease.was_used() && matches!(rights, Err(SourceError::Unavailable(_)));
            let proved = rights.and_then(|rights| rights.refuse_writer());
            lease.done(proved.is_ok());
            if !gone {
                return proved;
            }
            self.pool.renew();
            first = false;
        }
    }
}

impl<S: Server> Source for ServerSource<S> {
    fn fetch(&self, query: FetchQuery) -> BoxFuture<'_, Result<Fetched, SourceError>> {
        Box::pin(async move {
            let timeout = query.timeout;
            let statement = statement::<S>(&query)?;
            // Such a text equals nothing that the database can hold. Where a statement does not look for
            // equality fewer rows come, never more.
            let holds_nul =
                |value: &Option<Scalar>| matches!(value, Some(Scalar::Text(text)) if text.contains('\0'));
            if !S::HOLDS_NUL && statement.values.iter().any(holds_nul) {
                return Ok(Fetched { rows: Rows::new(statement.width) });
            }
            let running = async {
                if query.page.is_some() {
                    self.prove_key(&query.operation).await?;
                }
                self.run(&statement).await
            };
            match tokio::time::timeout(timeout, running).await {
                Ok(rows) => Ok(Fetched { rows: rows? }),
                Err(_) => Err(SourceError::Timeout(timeout)),
            }
        })
    }

    fn probe(&self) -> BoxFuture<'_, Result<Probe, SourceError>> {
        Box::pin(async move {
            self.pool.reap();
            // A column can be altered while the adapter serves.
            self.keys.lock().unwrap_or_else(PoisonError::into_inner).clear();
            // First, so that no statement that fails or takes its time keeps it from being made.
            self.prove().await?;
            match tokio::time::timeout(PROBE_TIMEOUT, self.probe_all()).await {
                Ok(probe) => probe,
                Err(_) => Err(SourceError::Timeout(PROBE_TIMEOUT)),
            }
        })
    }

    fn usage(&self) -> Option<Usage> {
        Some(self.pool.usage())
    }

    fn identity(&self) -> BoxFuture<'_, Result<String, SourceError>> {
        Box::pin(async move { Ok(self.settings.read().await?.identity()) })
    }

    fn check(&self, operations: Vec<Arc<OperationDef>>) -> BoxFuture<'_, Vec<Finding>> {
        Box::pin(async move {
            let checking = check::check(self.pool.server(), &operations);
            match tokio::time::timeout(CHECK_TIMEOUT, checking).await {
                Ok(findings) => findings,
                Err(_) => vec![crate::findings::failed(&SourceError::Timeout(CHECK_TIMEOUT))],
            }
        })
    }
}

/// A probe's statement, of which the first row is wanted.
fn asked<S: Server>(text: &str) -> Statement {
    let text = S::Dialect::default().first_row(text);
    Statement { text, values: Vec::new(), width: 1, limit: 1, paged: false, timeout: PROBE_TIMEOUT }
}

fn named(what: &str, error: SourceError) -> SourceError {
    match error {
        SourceError::Drift(text) => SourceError::Drift(format!("{what}: {text}")),
        SourceError::Query(text) => SourceError::Query(format!("{what}: {text}")),
        other => other,
    }
}

/// The statement of what is paged as one that gives its key and no row, and how many values it takes: what a search is asked
/// with, of which null is one that any parameter takes.
pub(crate) fn without_rows(
    dialect: &impl Dialect,
    operation: &OperationDef,
) -> Result<(String, usize), SourceError> {
    let (Access::Sql(statement), Some(page)) = (&operation.access, &operation.page) else {
        return Err(SourceError::Query("the operation has no pages".to_owned()));
    };
    let key = dialect.quote(&page.key)?;
    let mut text = format!("select q.{key} from (\n");
    let named = own(dialect, statement, &mut text);
    text.push_str("\n) q where 1 = 0");
    Ok((text, named.len()))
}

/// The wrapped statement of an operation.
pub(crate) fn wrap<S: Server>(
    operation: &OperationDef,
    columns: &[impl AsRef<str>],
    query: Option<&FetchQuery>,
) -> Result<Wrapped, SourceError> {
    let Access::Sql(statement) = &operation.access else {
        return Err(SourceError::Query("the operation has no statement".to_owned()));
    };
    let filter = query.and_then(|query| query.filter.as_ref());
    let page = query.and_then(|query| query.page.as_ref());
    S::Dialect::default().wrap(statement, columns, filter, page, order(operation, columns))
}

/// The order of an operation's rows. What is asked for all its columns is only described: without an order, so that a
/// column of it that is not there is told of by its name.
pub(crate) fn order<'o>(operation: &'o OperationDef, columns: &[impl AsRef<str>]) -> &'o [OrderDef] {
    if columns.is_empty() { &[] } else { &operation.order }
}

fn statement<S: Server>(query: &FetchQuery) -> Result<Statement, SourceError> {
    let Wrapped { text, named, filter_values } = wrap::<S>(&query.operation, &query.columns, Some(query))?;
    let mut values = Vec::with_capacity(named.len() + filter_values.len() + 1);
    for name in &named {
        let bound = query.params.iter().find(|(known, _)| known.as_ref() == name.as_str());
        let Some((_, value)) = bound else {
            return Err(SourceError::Query(format!("parameter :{name} is not there")));
        };
        values.push(value.clone());
    }
    values.extend(filter_values.into_iter().map(Some));
    values.push(Some(Scalar::Integer(i64::from(query.limit))));
    let limit = usize::try_from(query.limit).unwrap_or(usize::MAX);
    let (width, paged) = (query.columns.len(), query.page.is_some());
    Ok(Statement { text, values, width, limit, paged, timeout: query.operation.timeout })
}
