//! A source that remembers what it was asked.

use crate::check::Finding;
use crate::mapping::OperationDef;
use crate::source::{BoxFuture, FetchQuery, Fetched, Probe, Source, SourceError};
use std::sync::{Arc, Mutex, PoisonError};

/// Passes every call on and keeps the queries.
pub struct Recording {
    inner: Arc<dyn Source>,
    queries: Mutex<Vec<FetchQuery>>,
}

impl Recording {
    /// Records what a source is asked.
    pub fn new(inner: Arc<dyn Source>) -> Self {
        Self { inner, queries: Mutex::new(Vec::new()) }
    }

    /// All queries so far.
    pub fn queries(&self) -> Vec<FetchQuery> {
        self.queries.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Source for Recording {
    fn fetch(&self, query: FetchQuery) -> BoxFuture<'_, Result<Fetched, SourceError>> {
        self.queries.lock().unwrap_or_else(PoisonError::into_inner).push(query.clone());
        self.inner.fetch(query)
    }

    fn probe(&self) -> BoxFuture<'_, Result<Probe, SourceError>> {
        self.inner.probe()
    }

    fn check(&self, operations: Vec<Arc<OperationDef>>) -> BoxFuture<'_, Vec<Finding>> {
        self.inner.check(operations)
    }
}
