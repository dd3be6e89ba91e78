//! The offline verifier: it checks a ledger folder, an evidence bundle or a proof file without any code
//! of the hub and without a network, and trusts nobody. Whatever it reads is hostile input: sizes are
//! bounded, nothing panics, nothing is executed or followed.
//!
//! | function | question |
//! |---|---|
//! | [`verify_ledger`] | is every entry, signature, tile, reference and decision of this folder right? |
//! | [`verify_evidence`] | did this one exchange happen, under these documents, in this ledger? |
//! | [`verify_proof`] | is this entry in the ledger that this checkpoint speaks of? |
//! | [`fsck`] | are the files of this folder whole? |
//! | [`show`] | what does this entry say? |
//! | [`show_folded`] | what does this folded denial say, and is it under its entry's root? |
//! | [`accesses`] | who asked what of whom, under which contract and case? |
//! | [`sightings()`] | who saw this person, also in pages of batches that name only the root over everybody's tags? |
//! | [`reconcile::reconcile`] | do apps, ledger and adapters tell the same story? |
//! | [`SearchIndex`] | which exchanges are of this member, officer, case, subject tag, ... ? |
//!
//! What stands behind an answer "clean": the key, the origin and the roots that the auditor pinned in
//! [`Options`], and the older checkpoint that the auditor kept. Without a pinned key a whole ledger could be
//! made up; the report then says so.
#![deny(missing_docs)]

mod accesses;
mod bundle;
pub mod command;
mod error;
mod files;
#[cfg(feature = "fixture")]
pub mod fixture;
mod folded;
mod fsck;
mod index;
mod journal;
mod ledger;
mod named;
mod options;
mod parallel;
mod parse;
mod proof;
pub mod reconcile;
mod redecide;
mod report;
mod reports;
mod rows;
mod rules;
mod show;
mod sightings;
mod source;
mod state;
mod tiles;

pub use accesses::{Access, Ended, Filter, Listed, accesses};
pub use bundle::verify_evidence;
pub use error::AuditError;
#[cfg(feature = "fixture")]
pub use folded::fold_parts;
pub use fsck::fsck;
pub use index::{Difference, Differences, Page, SearchIndex};
pub use ledger::verify_ledger;
pub use options::Options;
pub use proof::verify_proof;
pub use report::{Decisions, Finding, MAX_FINDINGS, Report};
pub use rows::{Rows, write_accesses};
pub use rules::Rule;
pub use show::{show, show_folded, show_text};
pub use sightings::{
    Closed, FoundIn, Missing, PageFault, PageFinding, Person, Sighting, Sightings, sightings,
};
pub use source::{Entries, folder_entries};
