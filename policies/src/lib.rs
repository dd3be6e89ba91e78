//! The same decision at the hub, at the adapter and in the offline verifier: catalogue, contract check,
//! lint, row filters, Cedar rules, rates. Pure: no IO, no clock of its own, no tokio.
//!
//! The way of one decision: [`Decider::prepare`] turns a verified contract into a [`Prepared`] once;
//! [`Decider::decide`] judges one request under it in a [`Context`] and yields a [`Permit`] or a [`Denial`].
//! The rules are Cedar files in `base/`, one per decision; row arguments are judged in Rust
//! ([`rows`]), because Cedar has no map of arguments, and so is the proof of an officer, which few requests
//! carry. [`naive`] is the same decision written a second time
//! without Cedar; tests hold the two together.
//!
//! Most requests under a contract are of a few kinds. What Cedar grants to a kind without looking at time or
//! counts is remembered with the prepared contract (`memory.rs`), under a digest of every fact that it was
//! judged by; time and counts are judged by Cedar each time, or, where many ask within one second, for that second as a
//! whole (`window.rs`). Denials are always judged in full.
//!
//! Every data file is part of the program and of [`Decider::digest`], the policy bundle's digest that
//! ledger entries name.
#![deny(missing_docs)]

mod asked;
mod bounds;
pub mod bundle;
pub mod catalogue;
pub mod count;
pub mod decide;
pub mod decision;
pub mod draft;
mod facts;
pub mod fields;
pub mod input;
pub mod lint;
mod memory;
pub mod naive;
mod officer;
pub mod place;
pub mod rates;
pub mod record_type;
pub mod rows;
mod rules;
mod ruleset;
mod terms;
pub mod tickets;
mod window;

pub use catalogue::{Catalogue, FieldDef, FieldType, RecordDef, SubjectKind};
pub use decide::{Decider, PolicyError, Prepared};
pub use decision::{Denial, OfficerProof, Permit};
pub use fields::{Fault, check_contract};
pub use input::{CaseFacts, Context, Counts, OfficerEvidence, Site};
pub use lint::{Refusal, lint_name};
pub use rates::Rates;
pub use record_type::{RecordTypeError, RecordTypeText, RecordTypeVersion};
pub use rows::{RowFault, RowFilter, check_arguments};
pub use tickets::TicketUses;

#[cfg(test)]
mod situations;
#[cfg(test)]
mod testing;
