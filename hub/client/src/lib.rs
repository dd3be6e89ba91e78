//! What a member's program needs to speak with its hub: the member's folder, enrolment, the pinned way
//! to the hub; and for apps: plan, sign, send, verify, merge into a unified record.
#![deny(missing_docs)]

pub mod auditor;
pub mod batch;
pub mod cases;
pub mod client;
pub mod count;
pub mod counterparts;
pub mod error;
pub mod exchange;
pub mod folder;
mod heads;
pub mod keep;
pub mod merge;
pub mod pages;
pub mod paging;
pub mod prepared;
pub mod record;
pub mod record_type;
pub mod rows;
pub mod sealed;
pub mod standing;
mod stream;
pub mod tls;
pub mod token;
pub mod unasked;
