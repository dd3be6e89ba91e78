//! Compliance suite.
