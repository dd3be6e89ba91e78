//! A FHIR R4 server as a source of an adapter.
//!
//! Each operation is one search on one type of resource. It is sent in the body of a POST, so that no
//! identifier stands in an address, with `_elements` for the places that granted fields need and for no
//! others. What the server declares of itself is compared before anything is asked, because a server that
//! does not know a search parameter may leave it out and find everybody.
#![deny(missing_docs)]

mod bundle;
mod capability;
mod live;
mod outcome;
mod search;
mod source;

pub use source::FhirSource;
