//! The host as a department runs it: configuration, commands, gateway over plain HTTP against a real hub.
#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests fail by panicking")]

mod commands;
mod config;
mod contract;
mod departments;
mod gateway;
mod http;
mod hypotheses;
#[expect(dead_code, reason = "not all of what the sources' own tests need")]
#[path = "../../../sql/tests/servers/lab.rs"]
mod lab;
mod metrics;
mod misconfigured;
mod program;
#[expect(dead_code, reason = "the example's own `main` is not run here")]
#[path = "../../examples/query.rs"]
mod query_example;
mod refusals;
mod servers;
mod town;
