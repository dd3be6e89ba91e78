//! Who is at the other end of a connection: the hub's certificate authority, SPIFFE identities, TLS 1.3
//! configuration, one-time enrolment tokens, and the loop that accepts connections under limits.
//!
//! Identities route and throttle; what a caller may have is decided by signatures under members' roots.

pub mod accept;
pub mod authority;
pub mod files;
pub mod identity;
pub mod server;
pub mod token;
