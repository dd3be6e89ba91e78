//! An HTTP API as a source, against a real server process: the compliance suite, hostile values, faults,
//! credentials, TLS, proxies, OpenAPI.
#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests fail by panicking")]

mod complies;
mod credentials;
mod double;
mod faults;
mod gas;
mod hostile;
mod openapi;
mod ways;
