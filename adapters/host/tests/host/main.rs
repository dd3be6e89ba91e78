//! The host as a department runs it: configuration, commands, gateway over plain HTTP against a real hub.
#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests fail by panicking")]

mod as_json;
#[expect(dead_code, reason = "the example's own `main` is not run here")]
#[path = "../../examples/batch.rs"]
mod batch_example;
mod batches;
mod commands;
mod config;
mod contract;
mod departments;
mod doors;
#[expect(dead_code, reason = "not all of what the source's own tests need")]
#[path = "../../../fhir/tests/fhir/double.rs"]
mod fhir_double;
mod gateway;
mod http;
mod hypotheses;
mod init;
#[expect(dead_code, reason = "not all of what the sources' own tests need")]
#[path = "../../../sql/tests/servers/lab.rs"]
mod lab;
mod many;
mod meet;
mod metrics;
mod misconfigured;
mod operate;
mod program;
mod quarantine;
mod ready;
mod refusals;
mod reload;
mod sample;
mod schema;
mod servers;
mod town;
mod update;
