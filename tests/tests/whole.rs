//! The system as a whole: other people's software judges what we write, the hub keeps no carried value, and
//! the workspace keeps its own rules.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

#[path = "whole/canaries.rs"]
mod canaries;
#[path = "whole/judges.rs"]
mod judges;
#[path = "whole/promises.rs"]
mod promises;
#[path = "whole/scan.rs"]
mod scan;
#[path = "whole/tidy.rs"]
mod tidy;
#[path = "whole/unsigned.rs"]
mod unsigned;
