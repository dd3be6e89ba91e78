//! A JSON API over HTTP as a source of an adapter, and the client that it and the FHIR source stand on.
//!
//! The client calls one service, and no other: its address is a setting, redirects are refused, and the
//! address of a next page must be the same service's. What is asked travels in the body, unless the mapping
//! says of a parameter that it may stand in the address. Answers are read under limits of size, depth and
//! number of values before they are parsed, and only the places that granted fields need are kept of them.
#![deny(missing_docs)]

pub mod client;
mod live;
mod openapi;
mod request;
mod rows;
mod source;

pub use openapi::{DescribedCall, DescribedPlace, describe};
pub use request::unfit;
pub use rows::{push_row, pushed};
pub use source::{HttpSource, carries};
