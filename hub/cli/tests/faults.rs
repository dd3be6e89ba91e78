//! Faults of whole processes: the hub and an adapter run as an operator runs them, an app asks without pause, and
//! something breaks. Whatever breaks, what was acknowledged is in the ledger, to the byte, and the ledger verifies
//! offline; the adapter's journal agrees with it.
//!
//! Short tiers run with `cargo test`; `.ci/long` runs the same tests longer (see [`rounds`]).

#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests fail by panicking")]

#[path = "faults/address.rs"]
mod address;
#[path = "faults/f01_hub_killed.rs"]
mod f01_hub_killed;
#[path = "faults/f02_adapter_killed.rs"]
mod f02_adapter_killed;
#[path = "faults/f03_power_cut.rs"]
mod f03_power_cut;
#[path = "faults/f04_syscalls.rs"]
mod f04_syscalls;
#[path = "faults/f15_clocks.rs"]
mod f15_clocks;
#[path = "faults/f16_upgrades.rs"]
mod f16_upgrades;
#[path = "faults/f19_frames.rs"]
mod f19_frames;
#[path = "faults/f21_crowds.rs"]
mod f21_crowds;
#[path = "faults/f24_network.rs"]
mod f24_network;
#[path = "faults/judge.rs"]
mod judge;
#[path = "faults/load.rs"]
mod load;
#[path = "faults/mounted.rs"]
mod mounted;
#[path = "faults/relay.rs"]
mod relay;
#[path = "faults/t05_tls.rs"]
mod t05_tls;
#[path = "faults/t24_denials.rs"]
mod t24_denials;
#[path = "faults/town.rs"]
mod town;

/// How often something is done: a few times by default, as often as the acceptance says where
/// `YIWANG_LONG` is set.
fn rounds(short: u32, long: u32) -> u32 {
    if std::env::var_os("YIWANG_LONG").is_some() { long } else { short }
}
