//! The folder as a source: reads again what changed, answers from memory.

use crate::dropped;
use crate::folder::{Folder, Version};
use crate::snapshot::Snapshot;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use yiwang_adapter_sdk::check::{Finding, Severity};
use yiwang_adapter_sdk::mapping::{CsvDef, Mapping, OperationDef, SourceDef};
use yiwang_adapter_sdk::source::{
    BoxFuture, Environment, FetchQuery, Fetched, Probe, Quarantined, Source, SourceError,
};
use yiwang_proto::plural::counted;

/// A folder of CSV files as a source.
pub struct CsvSource {
    inner: Arc<Inner>,
}

struct Inner {
    def: CsvDef,
    operations: Vec<Arc<OperationDef>>,
    /// Where the folder is.
    place: PathBuf,
    /// The list of what was dropped.
    dropped: PathBuf,
    /// Locked while files are read again: whoever asks then waits for the new rows.
    current: Mutex<Current>,
}

/// The folder that is at the path, and the newest snapshot of it.
struct Current {
    folder: Folder,
    snapshot: Option<Arc<Snapshot>>,
}

impl CsvSource {
    /// Opens the folder that a mapping names and reads its files. Errors: another kind of source, a
    /// setting that is missing, a folder that cannot be read, files of which none fits the mapping. A folder
    /// without a file is opened: one may come.
    pub fn open(mapping: &Mapping, environment: &dyn Environment) -> Result<Self, SourceError> {
        let SourceDef::Csv(def) = mapping.source() else {
            return Err(SourceError::Setting("the mapping's source is not csv".to_owned()));
        };
        let path = mapping.base().join(def.folder.resolve(mapping.base(), environment)?);
        let inner = Inner {
            def: def.clone(),
            operations: mapping.operations().to_vec(),
            current: Mutex::new(Current { folder: Folder::open(&path, &def.files)?, snapshot: None }),
            place: path,
            dropped: dropped::path(mapping),
        };
        inner.load()?;
        Ok(Self { inner: Arc::new(inner) })
    }

    /// What is quarantined now, at most 10,000 rows, and how many there are in all.
    pub fn quarantine(&self) -> (Vec<Quarantined>, usize) {
        let current = self.inner.current.lock().unwrap_or_else(PoisonError::into_inner);
        current.snapshot.as_ref().map_or((Vec::new(), 0), |snapshot| {
            let (kept, count) = snapshot.quarantined();
            (kept.to_vec(), count)
        })
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> Result<T, SourceError> + Send + 'static,
    ) -> Result<T, SourceError> {
        let inner = Arc::clone(&self.inner);
        tokio::task::spawn_blocking(move || work(&inner))
            .await
            .unwrap_or_else(|_| Err(SourceError::Unavailable("reading the files failed".to_owned())))
    }
}

impl Inner {
    /// The rows that are served now. Errors: as of [`Self::load`], and a folder without a file, which would say of
    /// everybody that there is no record.
    fn snapshot(&self) -> Result<Arc<Snapshot>, SourceError> {
        let loaded = self.load()?;
        if loaded.files() == 0 {
            return Err(SourceError::Unavailable(self.no_file()));
        }
        Ok(loaded)
    }

    fn no_file(&self) -> String {
        format!("no file of the folder matches `{}`", self.def.files)
    }

    /// The folder as it is now. Without the list of what was dropped nothing is served: it would let out again what
    /// somebody took out.
    fn load(&self) -> Result<Arc<Snapshot>, SourceError> {
        let unread = |error: String| SourceError::Unavailable(format!("what was dropped: {error}"));
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let version = Version::at(&self.dropped).map_err(|error| unread(error.to_string()))?;
        if !current.folder.is_at(&self.place)? {
            // What the old one held is not of the new one, not even for the time that a file there is bad.
            let folder = Folder::open(&self.place, &self.def.files)?;
            *current = Current { folder, snapshot: None };
        }
        if let Some(snapshot) = &current.snapshot
            && snapshot.is_current(&current.folder, version)?
        {
            return Ok(Arc::clone(snapshot));
        }
        let (list, version) = dropped::read(&self.dropped).map_err(|error| unread(error.to_string()))?;
        let dropped = (&list, version);
        let previous = current.snapshot.as_deref();
        let loaded = Snapshot::load(&current.folder, &self.def, &self.operations, dropped, previous)?;
        let loaded = Arc::new(loaded);
        current.snapshot = Some(Arc::clone(&loaded));
        Ok(loaded)
    }

    fn fetch(&self, query: &FetchQuery) -> Result<Fetched, SourceError> {
        let at = self.operations.iter().position(|operation| operation.name == query.operation.name);
        let at = at.ok_or_else(|| SourceError::Query("the operation is of another mapping".to_owned()))?;
        match query.operation.kind {
            yiwang_adapter_sdk::mapping::OperationKind::Count => self.snapshot()?.count(at, query, &self.def),
            _ => self.snapshot()?.fetch(at, query, &self.def),
        }
    }

    fn findings(&self) -> Result<Vec<Finding>, SourceError> {
        let snapshot = self.load()?;
        let mut findings = vec![Finding::new(
            Severity::Note,
            "A-CSV-010",
            format!(
                "{} with {}; opened for reading only, beneath the folder, without following links",
                counted(snapshot.files(), "file"),
                counted(snapshot.rows(), "row")
            ),
        )];
        if snapshot.files() == 0 {
            findings.push(
                Finding::new(Severity::Error, "A-CSV-002", self.no_file())
                    .help("nothing is answered until one is there; it is looked for at every question"),
            );
        }
        if snapshot.replaced > 0 {
            let message =
                format!("{} gave way to a later one of the same key", counted(snapshot.replaced, "row"));
            findings.push(Finding::new(Severity::Note, "A-CSV-003", message));
        }
        if snapshot.bad_files() > 0 {
            let message = format!("{} quarantined as a whole", counted(snapshot.bad_files(), "file"));
            findings.push(
                Finding::new(Severity::Error, "A-CSV-005", message).help(
                    "write files aside and rename them into the folder; the next finding names the first",
                ),
            );
        }
        let (rows, files) = snapshot.dropped();
        if rows + files > 0 {
            let message =
                format!("dropped and left out: {} and {}", counted(rows, "row"), counted(files, "file"));
            findings.push(Finding::new(Severity::Note, "A-CSV-006", message).help(
                "`yiwang-adapter quarantine list` says why and by whom; `retry` takes in what is sound",
            ));
        }
        let (kept, count) = snapshot.quarantined();
        if let Some(first) = kept.first() {
            let message = format!(
                "rows and files that are quarantined: {count}; the first: file `{}`, line {}, {}",
                first.file, first.line, first.reason
            );
            findings.push(
                Finding::new(Severity::Warning, "A-CSV-004", message)
                    .help("have them mended where they are made"),
            );
        }
        Ok(findings)
    }
}

impl Source for CsvSource {
    fn fetch(&self, query: FetchQuery) -> BoxFuture<'_, Result<Fetched, SourceError>> {
        Box::pin(async move {
            if query.page.is_some() {
                return Err(SourceError::Query("this source has no order to page in".to_owned()));
            }
            let timeout = query.timeout;
            tokio::time::timeout(timeout, self.blocking(move |inner| inner.fetch(&query)))
                .await
                .unwrap_or(Err(SourceError::Timeout(timeout)))
        })
    }

    fn probe(&self) -> BoxFuture<'_, Result<Probe, SourceError>> {
        Box::pin(self.blocking(|inner| Ok(Probe { newest_ms: inner.snapshot()?.newest_ms() })))
    }

    fn check(&self, _operations: Vec<Arc<OperationDef>>) -> BoxFuture<'_, Vec<Finding>> {
        Box::pin(async move {
            self.blocking(Inner::findings).await.unwrap_or_else(|error| {
                let message = format!("the source cannot be checked: {error}");
                vec![Finding::new(Severity::Error, "A-CSV-001", message)]
            })
        })
    }

    fn identity(&self) -> BoxFuture<'_, Result<String, SourceError>> {
        let place = std::path::absolute(&self.inner.place).unwrap_or_else(|_| self.inner.place.clone());
        Box::pin(async move { Ok(format!("{}\n{}", place.display(), self.inner.def.files)) })
    }

    fn quarantine(&self) -> (Vec<Quarantined>, usize) {
        // The method of the type itself.
        Self::quarantine(self)
    }

    fn held_back(&self) -> usize {
        let current = self.inner.current.lock().unwrap_or_else(PoisonError::into_inner);
        current.snapshot.as_ref().map_or(0, |snapshot| snapshot.quarantined().1)
    }
}
