//! The way of a request through an adapter: what is let out, what is refused and why, what survives a
//! restart, and the link. The hub is a fake here, so that it can lie.
#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests fail by panicking")]

mod cases;
mod contracts;
mod faults;
mod hub;
mod identity;
mod link;
mod officers;
mod record_types;
mod releases;
mod requests;
mod restarts;
mod sealed;
mod standings;
mod witness;
mod world;
