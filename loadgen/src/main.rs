//! Load for Tailcast, verified: order, loss, repetition, latency.
//!
//! Knows the contract and the Rust client, and neither service: what it says about them is what a user would see.

mod invocation;

mod cli;

mod scenario;

mod preflight;

mod interrupts;

mod run;

mod plan;

mod layout;

mod slow;

mod storm;

mod clock;

mod payload;

mod publish;

mod ledger;

mod fleet;

mod worker;

mod crew;

mod reader;

mod link;

mod account;

mod verify;

mod conflation;

mod traffic;

mod interval;

mod lag;

mod bare_consumer;

mod tally;

mod course;

mod servers;

mod server_process;

mod node_metrics;

mod verdict;

mod saturation;

mod figures;

mod threshold;

mod progress;

mod report;

mod results;

mod hgrm;

mod html;

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use crate::{invocation::Invocation, report::Verdict};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// What the process ends with when it was asked for what cannot be, as for a wrong command line.
const NOTHING_BEGUN: u8 = 2;

fn main() -> ExitCode {
    let invocation = Invocation::read();
    let baseline = match preflight::check(&invocation.cli) {
        Ok(baseline) => baseline,
        Err(error) => {
            complain(&error);
            return NOTHING_BEGUN.into();
        }
    };
    let outcome = run::run(&invocation, baseline).and_then(|results| match results {
        Some(results) => results.tell(&invocation.cli.output).map(|()| results.report.verdict),
        None => Ok(Verdict::Clean),
    });
    match outcome {
        Ok(verdict) => verdict.exit_code().into(),
        Err(error) => {
            complain(&error);
            ExitCode::FAILURE
        }
    }
}

fn complain(error: &anyhow::Error) {
    // Nobody is left to tell when standard error is gone.
    let _ = writeln!(io::stderr(), "loadgen: {error:#}");
}
