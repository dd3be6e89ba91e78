//! What the gateway counts: problems by code and durations by route. Both lists are closed.

use super::openapi::ROUTES;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use yiwang_telemetry::Histogram;

/// Route of what is no route.
pub(super) const NO_ROUTE: &str = "other";

/// The counts since the start.
#[derive(Debug)]
pub(crate) struct Meters {
    problems: Mutex<BTreeMap<&'static str, u64>>,
    routes: BTreeMap<&'static str, Histogram>,
}

impl Default for Meters {
    fn default() -> Self {
        let routes = ROUTES.iter().map(|route| route.path).chain([NO_ROUTE]);
        Self { problems: Mutex::default(), routes: routes.map(|path| (path, Histogram::default())).collect() }
    }
}

impl Meters {
    pub(super) fn refused(&self, code: &'static str) {
        let mut counts = self.problems.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(code).or_default();
        *count = count.saturating_add(1);
    }

    pub(super) fn took(&self, route: &str, us: u64) {
        if let Some(histogram) = self.routes.get(route) {
            histogram.add(us);
        }
    }

    /// Problems by code.
    pub(crate) fn problems(&self) -> BTreeMap<&'static str, u64> {
        self.problems.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Durations by route.
    pub(crate) fn routes(&self) -> impl Iterator<Item = (&'static str, &Histogram)> {
        self.routes.iter().map(|(route, histogram)| (*route, histogram))
    }
}
