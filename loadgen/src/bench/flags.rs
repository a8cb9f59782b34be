//! Flags for tests.

use clap::{Args, Command};

/// Parses flags without a command.
pub(crate) fn parse<A: Args>(flags: &str) -> Result<A, clap::Error> {
    let command = A::augment_args(Command::new("test").no_binary_name(true));
    A::from_arg_matches(&command.try_get_matches_from(flags.split_whitespace())?)
}
