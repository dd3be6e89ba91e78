//! What a department installs: its sources towards the hub, and a gateway towards its own apps, in one
//! process with one configuration file. Nothing here decides what leaves: that is the adapter's and, for
//! what comes in, the client's.
#![deny(missing_docs)]

pub mod command;
pub mod config;
pub mod gateway;
mod health;
pub mod init;
mod mappings;
mod metrics;
mod serve;

mod error;
mod names;
mod record_types;
mod renew;
pub mod run;
mod slow;
pub mod sources;

pub use error::HostError;
