//! The transparency formats against published vectors, a real log, two foreign crates and a naive model.
#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests fail by panicking")]

mod checkpoints;
mod foreign;
mod hostile;
mod merkle;
mod notes;
mod proof_files;
mod support;
mod tiles;
mod vectors;
mod witness;
