//! A FHIR server as a source, against a double of one (PyPI `fhirstarter`, filled with synthetic patients):
//! the compliance suite, what its access log shows, hostile values, faults, tokens.
#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests fail by panicking")]

mod complies;
mod double;
mod faults;
mod hostile;
mod patients;
mod tokens;
