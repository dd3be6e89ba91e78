//! Opens the sources that mappings name, and watches them. A source that is away at the start does not
//! keep the others from serving: it is opened again until it is there.

use crate::error::HostError;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use yiwang_adapter_csv::CsvSource;
use yiwang_adapter_fhir::FhirSource;
use yiwang_adapter_http::HttpSource;
use yiwang_adapter_sdk::check::{Finding, Severity};
use yiwang_adapter_sdk::fetch::MappedSource;
use yiwang_adapter_sdk::mapping::{MAPPING_MAX, Mapping, OperationDef, SourceDef};
use yiwang_adapter_sdk::source::{
    BoxFuture, Environment, FetchQuery, Fetched, Probe, Quarantined, Source, SourceError, Usage,
};
use yiwang_adapter_sql::{SqliteSource, open_mariadb, open_postgres};
use yiwang_proto::ambient::Clock;

/// Reads a mapping file's text; one that is too long is left for the parser to refuse.
pub(crate) fn read_mapping(file: &Path) -> Result<String, HostError> {
    use std::io::Read as _;
    let read = || {
        let mut text = String::new();
        std::fs::File::open(file)?.take(MAPPING_MAX as u64 + 1).read_to_string(&mut text)?;
        Ok(text)
    };
    read().map_err(|source| HostError::Read { path: file.to_owned(), source })
}

/// Opens the source of a mapping.
///
/// # Errors
/// [`SourceError`]: a setting that is missing, or a source that is not there.
pub fn open(mapping: &Mapping, environment: &Arc<dyn Environment>) -> Result<Arc<dyn Source>, SourceError> {
    Ok(match mapping.source() {
        SourceDef::Sqlite(_) => Arc::new(SqliteSource::open(mapping, environment.as_ref())?),
        SourceDef::Csv(_) => Arc::new(CsvSource::open(mapping, environment.as_ref())?),
        // Servers ask it again for every connection, services where they are turned away: passwords change.
        SourceDef::Postgres(_) => open_postgres(mapping, environment)?,
        SourceDef::Mariadb(_) => open_mariadb(mapping, environment)?,
        SourceDef::Http(_) => Arc::new(HttpSource::open(mapping, environment)?),
        SourceDef::Fhir(_) => Arc::new(FhirSource::open(mapping, environment)?),
    })
}

/// How soon a source that failed is looked at again.
const SOON: Duration = Duration::from_secs(2);
/// Probes before their time within one period of a source's own: enough for the usual three to say so. More would try a
/// wrong password until the server locks the role out, or ask on behalf of whoever asks for what fails.
const EARLY_MAX: u8 = 3;

/// How long a statement is compared with its source.
const COMPARE_TIMEOUT: Duration = Duration::from_secs(5);

/// Findings of a live check that say that a statement does not fit its source, as an exchange would be told. The others,
/// like a table that is read in full, do not keep it from being answered.
const UNFIT: [&str; 7] =
    ["A-SRC-000", "A-SQL-001", "A-SQL-002", "A-SQL-003", "A-SQL-017", "A-SQL-018", "A-SQL-019"];

/// When a source is probed: at its own pace, and a little before where there is a reason. Pure.
#[derive(Debug, Default)]
struct Pace {
    early: u8,
}

impl Pace {
    /// Whether to probe now. A reason is a source that failed, the probe or an exchange, or one in trouble that answers again.
    fn is_due(&mut self, is_time: bool, has_reason: bool) -> bool {
        if is_time {
            self.early = 0;
            return true;
        }
        let early = has_reason && self.early < EARLY_MAX;
        self.early += u8::from(early);
        early
    }
}

/// A mapping's source, watched.
pub(crate) struct Watched {
    pub(crate) mapped: MappedSource,
    state: Mutex<State>,
    failures: AtomicU32,
    /// Whether it ever answered: one that never did is not given time to come back.
    answered: AtomicBool,
}

#[derive(Debug, Clone, Default)]
struct State {
    trouble: Option<String>,
    newest_ms: Option<i64>,
}

/// How one source does.
#[derive(Debug, Clone)]
pub(crate) struct SourceHealth {
    pub(crate) mapping: String,
    pub(crate) trouble: Option<String>,
    pub(crate) newest_ms: Option<i64>,
    pub(crate) stale: bool,
}

impl Watched {
    /// Opens the source of a mapping, or prepares to open it later.
    pub(crate) fn open(mapping: Arc<Mapping>, environment: Arc<dyn Environment>) -> Result<Self, HostError> {
        let mut state = State::default();
        let source = match open(&mapping, &environment) {
            Ok(source) => source,
            // A missing setting does not come by waiting.
            Err(source @ SourceError::Setting(_)) => {
                return Err(HostError::Source { mapping: mapping.name().to_owned(), source });
            }
            Err(error) => {
                tracing::warn!(mapping = mapping.name(), %error, "the source is away and will be tried again");
                state.trouble = Some(error.to_string());
                Arc::new(Late { mapping: Arc::clone(&mapping), environment, opened: OnceLock::new() })
            }
        };
        let mapped = MappedSource::new(mapping, source);
        let (failures, answered) = (AtomicU32::new(0), AtomicBool::new(false));
        Ok(Self { mapped, state: Mutex::new(state), failures, answered })
    }

    /// How the source does; old data is told, but does not make a source unfit.
    pub(crate) fn health(&self, now_ms: i64) -> SourceHealth {
        let mapping = self.mapped.mapping();
        let State { trouble, newest_ms } = self.state.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let limit = mapping.source().common().freshness.as_ref().map(|freshness| freshness.fail.as_millis());
        let stale = newest_ms.zip(limit).is_some_and(|(newest, limit)| {
            u128::try_from(now_ms.saturating_sub(newest)).is_ok_and(|age| age > limit)
        });
        SourceHealth { mapping: mapping.name().to_owned(), trouble, newest_ms, stale }
    }

    /// Probes the source as often as its mapping says, until stopped.
    pub(crate) async fn watch(self: Arc<Self>, stop: CancellationToken) {
        let mapping = Arc::clone(self.mapped.mapping());
        let every = mapping.source().common().health.every.max(Duration::from_secs(1));
        let mut pace = Pace::default();
        loop {
            let probed = stop.run_until_cancelled(self.mapped.source().probe()).await;
            let Some(probed) = probed else { return };
            let failed = probed.is_err();
            self.note(probed, mapping.source().common().health.unhealthy_after);
            if !failed && stop.run_until_cancelled(self.compare_again()).await.is_none() {
                return;
            }
            if stop.run_until_cancelled(self.pause(&mut pace, every, failed)).await.is_none() {
                return;
            }
        }
    }

    /// Compares again what had drifted, so that it is told to fit without anybody's asking for it. A service that is not a
    /// database shows only in an answer what its rows are; the next one tells.
    async fn compare_again(&self) {
        if !self.is_compared() {
            return;
        }
        let mapping = self.mapped.mapping();
        for one in self.mapped.operations_health().into_iter().filter(|one| one.drift.is_some()) {
            let Some(operation) = mapping.operation(&one.operation) else { continue };
            let comparing = self.mapped.source().check(vec![Arc::clone(operation)]);
            // One that hangs keeps no probe waiting, and says nothing.
            let Ok(findings) = tokio::time::timeout(COMPARE_TIMEOUT, comparing).await else { return };
            if !findings.iter().any(|finding| UNFIT.contains(&finding.code)) {
                tracing::info!(mapping = mapping.name(), operation = %one.operation, "the source fits its mapping again");
                self.mapped.note_fits(&one.operation);
            }
        }
    }

    /// Whether it can be seen without a question that it fits its mapping again.
    pub(crate) fn is_compared(&self) -> bool {
        let source = self.mapped.mapping().source();
        matches!(source, SourceDef::Sqlite(_) | SourceDef::Postgres(_) | SourceDef::Mariadb(_))
    }

    /// Until the next probe.
    async fn pause(&self, pace: &mut Pace, every: Duration, failed: bool) {
        let known = self.state.lock().unwrap_or_else(PoisonError::into_inner).trouble.is_some();
        let (before, mut waited) = (self.mapped.sight(), Duration::ZERO);
        loop {
            let step = SOON.min(every.saturating_sub(waited));
            tokio::time::sleep(step).await;
            waited += step;
            let now = self.mapped.sight();
            let reason = if known { now.there != before.there } else { failed || now.away != before.away };
            if pace.is_due(waited >= every, reason) {
                return;
            }
        }
    }

    fn note(&self, probed: Result<Probe, SourceError>, unhealthy_after: u32) {
        let name = self.mapped.mapping().name();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match probed {
            Ok(probe) => {
                self.failures.store(0, Ordering::Relaxed);
                self.answered.store(true, Ordering::Relaxed);
                if state.trouble.take().is_some() {
                    tracing::info!(mapping = name, "the source is back");
                }
                state.newest_ms = probe.newest_ms;
            }
            Err(error) => {
                let failures = self.failures.load(Ordering::Relaxed).saturating_add(1);
                self.failures.store(failures, Ordering::Relaxed);
                let never = !self.answered.load(Ordering::Relaxed);
                if failures >= unhealthy_after || never || state.trouble.is_some() {
                    if state.trouble.is_none() {
                        tracing::warn!(mapping = name, %error, "the source does not answer its probe");
                    }
                    state.trouble = Some(error.to_string());
                }
            }
        }
    }
}

/// Time by which data is judged; for [`Watched::health`].
pub(crate) fn healths(sources: &[Arc<Watched>], clock: &dyn Clock) -> Vec<SourceHealth> {
    sources.iter().map(|source| source.health(clock.now_ms())).collect()
}

/// A source that was away when the host started. Its probe opens it; until then it is unavailable.
struct Late {
    mapping: Arc<Mapping>,
    environment: Arc<dyn Environment>,
    opened: OnceLock<Arc<dyn Source>>,
}

impl Late {
    fn now(&self) -> Result<&Arc<dyn Source>, SourceError> {
        self.opened.get().ok_or_else(|| SourceError::Unavailable("it was not opened yet".to_owned()))
    }

    async fn try_open(&self) -> Result<&Arc<dyn Source>, SourceError> {
        if let Ok(source) = self.now() {
            return Ok(source);
        }
        let (mapping, environment) = (Arc::clone(&self.mapping), Arc::clone(&self.environment));
        let opened = tokio::task::spawn_blocking(move || open(&mapping, &environment)).await;
        let opened = opened.map_err(|_| SourceError::Unavailable("opening it failed".to_owned()))??;
        Ok(self.opened.get_or_init(|| opened))
    }
}

impl Source for Late {
    fn fetch(&self, query: FetchQuery) -> BoxFuture<'_, Result<Fetched, SourceError>> {
        Box::pin(async move { self.now()?.fetch(query).await })
    }

    fn probe(&self) -> BoxFuture<'_, Result<Probe, SourceError>> {
        Box::pin(async move { self.try_open().await?.probe().await })
    }

    fn check(&self, operations: Vec<Arc<OperationDef>>) -> BoxFuture<'_, Vec<Finding>> {
        Box::pin(async move {
            match self.try_open().await {
                Ok(source) => source.check(operations).await,
                Err(error) => vec![Finding::new(Severity::Error, "A-SRC-000", error.to_string())],
            }
        })
    }

    fn usage(&self) -> Option<Usage> {
        self.now().ok()?.usage()
    }

    fn identity(&self) -> BoxFuture<'_, Result<String, SourceError>> {
        Box::pin(async move { self.now()?.identity().await })
    }

    fn quarantine(&self) -> (Vec<Quarantined>, usize) {
        self.now().map(|source| source.quarantine()).unwrap_or_default()
    }

    fn held_back(&self) -> usize {
        self.now().map(|source| source.held_back()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_probes_of_a_period_come_early_and_only_with_a_reason() {
        let mut pace = Pace::default();
        let due = |pace: &mut Pace, time: bool, reason: bool| pace.is_due(time, reason);
        assert!(!due(&mut pace, false, false));
        assert!((0..3).all(|_| due(&mut pace, false, true)));
        // However often it fails, the next one is in time.
        for _ in 0..100 {
            assert!(!due(&mut pace, false, true));
        }
        assert!(due(&mut pace, true, false));
        assert!((0..3).all(|_| due(&mut pace, false, true)) && !due(&mut pace, false, true));
    }
}
