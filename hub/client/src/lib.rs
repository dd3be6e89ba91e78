//! What a member's program needs to speak with its hub: the member's folder, enrolment, the pinned way
//! to the hub.
#![deny(missing_docs)]

pub mod folder;
pub mod tls;
pub mod token;
