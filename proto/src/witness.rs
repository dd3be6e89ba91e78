//! Witnesses: who must have cosigned a checkpoint (C2SP `tlog-policy`), and how a cosignature is asked for
//! and given (C2SP `tlog-witness`). Pure: bodies, status codes and the rules behind them; transport and
//! durable records are the callers'.

mod call;
mod fork;
mod policy;

pub use call::{
    AddCheckpoint, CallError, Judged, PROOF_LINES_MAX, Recorded, Refused, SIZE_TYPE, add_lines, parse_lines,
};
pub use fork::{FORK_FORMAT, ForkEvidence};
pub use policy::{
    GROUPS_MAX, LOGS_MAX, POLICY_MAX, PolicyFault, RawPolicy, WITNESSES_MAX, WitnessPolicy, Witnessed,
};
