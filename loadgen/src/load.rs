//! `loadgen`: load, verified: order, loss, repetition, latency.
//!
//! Knows the contract and the Rust client, and neither service: what it says about them is what a user would see.

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use crate::{invocation::Invocation, output, preflight, report::Verdict, run};

/// What the process ends with when it was asked for what cannot be, as for a wrong command line.
const NOT_STARTED: u8 = 2;

/// Does what the command line says.
#[must_use]
pub fn main() -> ExitCode {
    let invocation = Invocation::read();
    let baseline = match preflight::check(&invocation.cli) {
        Ok(baseline) => baseline,
        Err(error) => {
            report_error(&error);
            return NOT_STARTED.into();
        }
    };
    let outcome = run::run(&invocation, baseline).and_then(|report| match report {
        Some(report) => {
            output::write(&report, invocation.cli.output.json.as_deref()).map(|()| report.verdict)
        }
        None => Ok(Verdict::Clean),
    });
    match outcome {
        Ok(verdict) => verdict.exit_code().into(),
        Err(error) => {
            report_error(&error);
            ExitCode::FAILURE
        }
    }
}

fn report_error(error: &anyhow::Error) {
    // Nobody is left to tell when standard error is gone.
    let _ = writeln!(io::stderr(), "loadgen: {error:#}");
}
