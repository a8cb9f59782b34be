//! The second process: the same program in another role, so that its CPU is not counted.

use std::{
    io::Read as _,
    process::{Child, Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};

/// A process that ends with this value.
#[derive(Debug)]
pub(crate) struct Companion {
    /// The program and its role.
    name: String,
    child: Child,
}

impl Companion {
    /// Starts this program in a role.
    pub(crate) fn start(role: &str, arguments: &[(&str, String)]) -> Result<Self> {
        let program = std::env::current_exe().context("the program does not know where it is")?;
        let name = format!("{} {role}", program.file_name().unwrap_or_default().display());
        let mut command = Command::new(program);
        command.arg(role).stdin(Stdio::null()).stdout(Stdio::piped());
        for (flag, value) in arguments {
            command.arg(flag).arg(value);
        }
        let child = command.spawn().with_context(|| format!("`{name}` cannot be started"))?;
        Ok(Self { name, child })
    }

    /// Waits for its end, and returns the number that it wrote.
    ///
    /// # Errors
    ///
    /// When it failed, which it has explained on standard error.
    pub(crate) fn finish(mut self) -> Result<u64> {
        let name = &self.name;
        let mut said = String::new();
        let mut output = self.child.stdout.take().context("its output is piped")?;
        output.read_to_string(&mut said).with_context(|| format!("`{name}` cannot be read"))?;
        let status = self.child.wait().with_context(|| format!("`{name}` cannot be waited for"))?;
        ensure!(status.success(), "`{name}` failed ({status})");
        said.trim().parse().with_context(|| format!("`{name}` said {said:?}, which is no number"))
    }
}

impl Drop for Companion {
    fn drop(&mut self) {
        // Both fail when it has ended, which is what they are for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
