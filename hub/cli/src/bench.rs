//! `yiwang bench`: what things cost, measured with real processes and TLS. Read rates as ratios within one
//! run: machines are noisy.

mod adapter;
mod batch;
mod decide;
mod exchange;
mod fault;
mod ledger;
mod load;
mod measure;
mod network;
mod relay;
mod scale;
mod search;
mod soak;
mod synthetic;

use crate::fail::{Failure, Outcome};
use crate::setup;
use clap::{Args, Subcommand};

#[derive(Args)]
pub struct Common {
    /// Prints one JSON object instead of text.
    #[arg(long)]
    json: bool,
}

#[derive(Subcommand)]
pub enum Command {
    /// Full exchanges and the bare mutual-TLS relay, in alternation.
    Exchange {
        #[command(flatten)]
        common: Common,
        /// Seconds per turn.
        #[arg(long, default_value_t = 5)]
        seconds: u64,
        /// Turns of each kind.
        #[arg(long, default_value_t = 3)]
        turns: u32,
        /// Requests in flight.
        #[arg(long, default_value_t = 64)]
        in_flight: usize,
        /// Requests a second where times at a steady rate are taken.
        #[arg(long, default_value_t = 2_000)]
        rate: u64,
    },
    /// Full exchanges in a small network, with many contracts, and with many adapters connected.
    Scale {
        #[command(flatten)]
        common: Common,
        #[command(flatten)]
        arguments: scale::Arguments,
    },
    /// Durable entries of 900 bytes, and their offline verification.
    Ledger {
        #[command(flatten)]
        common: Common,
        /// Entries.
        #[arg(long, default_value_t = 200_000)]
        entries: u64,
        /// Entries of signed exchanges that are made and verified offline; 0 for none.
        #[arg(long, default_value_t = 50_000)]
        signed_entries: usize,
    },
    /// The auditor's index over exchanges, and searches in it.
    Search {
        #[command(flatten)]
        common: Common,
        /// Entries.
        #[arg(long, default_value_t = 200_000)]
        entries: usize,
    },
    /// One decision with 10 and with 10,000 contracts.
    Decide {
        #[command(flatten)]
        common: Common,
    },
    /// Hours of real processes under faults; fails where memory grows, files stay open, or the oracle objects.
    Soak {
        #[command(flatten)]
        common: Common,
        #[command(flatten)]
        arguments: soak::Arguments,
    },
    /// How long recoveries take: restarts after kill -9, revocations, a member that is cut off.
    Fault {
        #[command(flatten)]
        common: Common,
        #[command(flatten)]
        arguments: fault::Arguments,
    },
    /// A lookup through the adapter and the same query by itself, in alternation: SQLite, PostgreSQL, MariaDB.
    Adapter {
        #[command(flatten)]
        common: Common,
        #[command(flatten)]
        arguments: adapter::Arguments,
    },
    /// A whole batch through hub and adapter, and the same rows read by themselves: SQLite, PostgreSQL, MariaDB.
    Batch {
        #[command(flatten)]
        common: Common,
        #[command(flatten)]
        arguments: batch::Arguments,
    },
    /// The bare relay's hub: the same path without signatures, decision and ledger.
    #[command(hide = true)]
    RelayHub(relay::HubArguments),
    /// The bare relay's adapter.
    #[command(hide = true)]
    RelayAdapter(relay::AdapterArguments),
}

pub fn run(command: &Command) -> Outcome {
    let (common, result) = match command {
        Command::Exchange { common, seconds, turns, in_flight, rate } => {
            let measuring = exchange::measure(*seconds, *turns, *in_flight, *rate);
            (common, setup::runtime()?.block_on(measuring)?)
        }
        Command::Scale { common, arguments } => {
            (common, setup::runtime()?.block_on(scale::measure(arguments))?)
        }
        Command::Ledger { common, entries, signed_entries } => {
            (common, ledger::measure(*entries, *signed_entries)?)
        }
        Command::Search { common, entries } => (common, search::measure(*entries)?),
        Command::Decide { common } => (common, decide::measure()?),
        Command::Soak { common, arguments } => {
            let done = setup::runtime()?.block_on(soak::measure(arguments))?;
            print(common, &done.figures)?;
            return done.verdict();
        }
        Command::Fault { common, arguments } => {
            (common, setup::runtime()?.block_on(fault::measure(arguments))?)
        }
        Command::Adapter { common, arguments } => {
            (common, setup::runtime()?.block_on(adapter::measure(arguments))?)
        }
        Command::Batch { common, arguments } => {
            (common, setup::runtime()?.block_on(batch::measure(arguments))?)
        }
        Command::RelayHub(arguments) => return setup::runtime()?.block_on(relay::hub(arguments)),
        Command::RelayAdapter(arguments) => return setup::runtime()?.block_on(relay::adapter(arguments)),
    };
    print(common, &result)
}

fn print(common: &Common, result: &serde_json::Value) -> Outcome {
    if common.json {
        println!("{result}");
    } else {
        let text = serde_json::to_string_pretty(result).map_err(Failure::environment)?;
        println!("{text}");
    }
    Ok(())
}
