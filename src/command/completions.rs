//! `tailcast completions`: prints a completion script for a shell.

use clap::Command;
use clap_complete::Shell;

use crate::{
    exit::{Exit, Failure},
    output,
};

/// Prints a shell's completion script.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  tailcast completions bash > ~/.local/share/bash-completion/completions/tailcast"
)]
pub(super) struct Completions {
    /// The shell.
    shell: Shell,
}

impl Completions {
    /// Prints the script for `command`.
    pub(super) fn run(self, command: &mut Command) -> Result<Exit, Failure> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, command, "tailcast", &mut script);
        output::print(String::from_utf8_lossy(&script))?;
        Ok(Exit::Done)
    }
}
