//! What every adapter needs: the mapping file and its checks, the trait of a source, and the way of an
//! answer from rows to records. A source crate (`sql`, `csv`) only opens, probes and fetches; everything
//! that decides what leaves is here, so that it is the same for all sources.
#![deny(missing_docs)]

pub mod adapter;
pub mod batch;
pub mod check;
pub mod compliance;
pub mod connect;
pub mod count;
pub mod decide;
pub mod fetch;
pub mod health;
pub mod journal;
pub mod mapping;
pub mod material;
mod officer;
pub mod reduce;
pub mod reply;
mod sealing;
pub mod source;
mod standings;
pub mod subjects;
pub mod value;
pub mod watch;
pub mod words;
