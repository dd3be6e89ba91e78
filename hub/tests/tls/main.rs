//! The hub's doors as a stranger meets them: who gets in, as whom, and how long one may do nothing.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

mod authority;
mod enrolment;
mod handshake;
mod lying;
mod stopping;
mod support;
mod waiting;
