//! Faults within one process: flipped bits, moved clocks, altered messages. Short tiers run with `cargo test`;
//! `.ci/long` runs the same tests longer (see [`rounds`]). Faults of whole processes are in `hub/cli/tests/faults`.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

#[path = "faults/f06_flips.rs"]
mod f06_flips;
#[path = "faults/f13_certificates.rs"]
mod f13_certificates;
#[path = "faults/f15_clocks.rs"]
mod f15_clocks;
#[path = "faults/f16_upgrades.rs"]
mod f16_upgrades;
#[path = "faults/seeds.rs"]
mod seeds;
#[path = "faults/t05_altered.rs"]
mod t05_altered;
#[path = "faults/t26_ids.rs"]
mod t26_ids;

/// How often something is done: a few times by default, as often as the acceptance says where
/// `YIWANG_LONG` is set.
fn rounds(short: u32, long: u32) -> u32 {
    if std::env::var_os("YIWANG_LONG").is_some() { long } else { short }
}
