//! The effective command line: the arguments merged with those of the scenario.

use std::{env, fmt};

use clap::{
    CommandFactory as _, Parser as _,
    error::{ContextKind, ErrorKind},
};

use crate::{cli::Cli, consistency, scenario::Scenario};

/// The effective command line.
#[derive(Debug)]
pub(crate) struct Invocation {
    pub(crate) cli: Cli,
    /// All arguments, for worker processes.
    pub(crate) arguments: Vec<String>,
}

impl Invocation {
    /// Reads the command line; exits with code 2 if it or the scenario is invalid.
    pub(crate) fn read() -> Self {
        let given: Vec<_> = env::args().skip(1).collect();
        let scenario = Scenario::of(&given).unwrap_or_else(|error| exit_with(&error));
        let own = scenario.as_ref().map(|scenario| scenario.arguments(&given)).unwrap_or_default();
        let arguments: Vec<_> = own.into_iter().chain(given).collect();
        let name = env!("CARGO_PKG_NAME").to_owned();
        let parsed = Cli::try_parse_from([name].into_iter().chain(arguments.iter().cloned()));
        let cli = parsed.unwrap_or_else(|error| {
            let complaint = error.get(ContextKind::InvalidArg).map(ToString::to_string).unwrap_or_default();
            match scenario.as_ref().and_then(|scenario| scenario.place(&complaint)) {
                Some(place) => exit_with(&format!("{place}: {}", first_line(&error))),
                None => error.exit(),
            }
        });
        if let Err(text) = consistency::check(&cli) {
            exit_with(&text)
        }
        Self { cli, arguments }
    }
}

fn exit_with(reason: &dyn fmt::Display) -> ! {
    Cli::command().error(ErrorKind::ValueValidation, reason).exit()
}

fn first_line(error: &clap::Error) -> String {
    let text = error.to_string();
    text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned()
}
