//! The host as a department runs it: configuration, commands, gateway over plain HTTP against a real hub.
#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests fail by panicking")]

mod commands;
mod config;
mod departments;
mod gateway;
mod http;
mod program;
mod refusals;
mod town;
