//! What every program here does around its measurement: it reads its command line, says what is wrong with it before it
//! measures, and ends with a code that says how it went.

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use anyhow::Result;
use clap::{Parser, error::ErrorKind};

/// A program, as its command line asks for it.
pub(crate) trait Program: Parser {
    /// Says why this cannot be measured: values that do not go together, or a machine that does not allow it. Measures
    /// nothing and needs no Kafka, but may ask other programs: `tailcast config check` is run with the settings of a node.
    ///
    /// # Errors
    ///
    /// When it cannot, with what could.
    fn check(&self) -> Result<(), String>;

    /// Whether that is all that is asked for.
    fn only_checks(&self) -> bool;

    /// Measures, and returns how to end; or does what a companion process is to do.
    ///
    /// # Errors
    ///
    /// When there are no figures.
    fn run(&self) -> Result<ExitCode>;
}

/// Runs a program. Ends the process with 2 when it cannot be measured what the command line asks for.
pub(crate) fn main<P: Program>() -> ExitCode {
    let program = P::parse();
    if let Err(wrong) = program.check() {
        P::command().error(ErrorKind::ValueValidation, wrong).exit();
    }
    if program.only_checks() {
        return ExitCode::SUCCESS;
    }
    program.run().unwrap_or_else(|error| {
        // Nobody is left to tell when standard error is gone.
        let _ = writeln!(io::stderr(), "{}: {error:#}", P::command().get_name());
        ExitCode::FAILURE
    })
}
