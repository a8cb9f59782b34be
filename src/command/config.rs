//! `tailcast config`: checks and prints the configuration without starting a service.

use clap::Subcommand;
use tailcast_services::config::Misspelt;

use crate::{
    config::{DEFAULTS, NoFlags, Overrides, Shown},
    exit::{Exit, Failure, OrExit},
    output,
};

/// Checks the configuration, prints the effective one, or prints the defaults.
#[derive(Debug, clap::Args)]
#[command(after_help = crate::exit::HELP)]
pub(super) struct Config {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Checks the configuration and lists every mistake; exit code 64 if there is one.
    Check(Overrides<NoFlags>),
    /// Prints the effective configuration of defaults, file, environment and --set, with secrets
    /// redacted.
    Show(Overrides<NoFlags>),
    /// Prints every key with its default and its meaning.
    Default,
}

impl Config {
    /// Runs the subcommand.
    pub(super) fn run(self) -> Result<Exit, Failure> {
        match self.action {
            Action::Check(overrides) => {
                let layers = overrides.layers();
                for Misspelt { found, meant } in layers.misspelt_variables() {
                    output::report(format_args!("warning: {found} is ignored; did you mean {meant}?"));
                }
                let mistakes = layers.load().or_exit(Exit::Usage)?.mistakes();
                if !mistakes.is_empty() {
                    let lines: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
                    return Err(Failure::message(Exit::Usage, lines.join("\n")));
                }
                output::report("the configuration is valid");
            }
            Action::Show(overrides) => {
                let layers = overrides.layers();
                // Every key has a value of its type here; only `check` rejects invalid
                // combinations.
                layers.load().or_exit(Exit::Usage)?;
                output::print(Shown::new(&layers).or_exit(Exit::Usage)?)?;
            }
            Action::Default => output::print(DEFAULTS)?,
        }
        Ok(Exit::Done)
    }
}
