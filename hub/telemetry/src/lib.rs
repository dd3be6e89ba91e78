//! What hub and adapters tell their operators: a page of metrics in Prometheus' text format, and traces to an
//! OTLP collector. A leaf crate; it knows nothing of members or exchanges.
//!
//! Rule for every metric and span: labels and attributes are names of members, codes, stages and numbers of
//! exchanges. Never a subject, a value, an address or anything else without a bound.
#![deny(missing_docs)]

mod export;
mod histogram;
mod host;
mod page;
mod process;
mod trace;

pub use export::{ExportError, Telemetry, start};
pub use histogram::{Histogram, LATENCY_US};
pub use host::answers_to;
pub use page::{CONTENT_TYPE, Kind, Page};
pub use process::process;
pub use trace::{continue_trace, traceparent_of};
