//! What every program here does around its measurement: it reads its command line, says what is wrong with it before anything is
//! started, and ends with a code that says how it went.

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use anyhow::Result;
use clap::{Parser, error::ErrorKind};

/// A program, as its command line asks for it.
pub(crate) trait Program: Parser {
    /// Says what is wrong with values that are each right.
    ///
    /// # Errors
    ///
    /// When there is something, with what would be right.
    fn check(&self) -> Result<(), String> {
        Ok(())
    }

    /// Measures, and returns how to end; or does what a companion process is to do.
    ///
    /// # Errors
    ///
    /// When there are no figures.
    fn run(&self) -> Result<ExitCode>;
}

/// Runs a program. Ends the process with 2 when the command line is wrong.
pub(crate) fn main<P: Program>() -> ExitCode {
    let program = P::parse();
    if let Err(wrong) = program.check() {
        P::command().error(ErrorKind::ValueValidation, wrong).exit();
    }
    program.run().unwrap_or_else(|error| {
        // Nobody is left to tell when standard error is gone.
        let _ = writeln!(io::stderr(), "{}: {error:#}", P::command().get_name());
        ExitCode::FAILURE
    })
}
