//! `loadgen`: puts load on Tailcast and verifies order, loss, repetition and latency.
//!
//! Knows the protocol and the Rust client, and neither service: it reports what a user would see.

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use crate::{invocation::Invocation, output, preflight, report::Verdict, run};

/// The exit code when the run could not be started, the same as for an invalid command line.
const NOT_STARTED: u8 = 2;

/// Runs the command.
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
    // Standard error may be closed.
    let _ = writeln!(io::stderr(), "loadgen: {error:#}");
}
