//! What one member, or one wrong clock, can do to the hub and so to all others: nothing that lasts.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

#[path = "defences/clock.rs"]
mod clock;
#[path = "defences/enrolment.rs"]
mod enrolment;
#[path = "defences/material.rs"]
mod material;
#[path = "defences/meanwhile.rs"]
mod meanwhile;
#[path = "defences/quotas.rs"]
mod quotas;
