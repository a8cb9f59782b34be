//! How a process ended: what its last log line and its exit code are made of.

use std::error::Error;
use std::fmt;

/// How the process ended.
#[derive(Debug)]
pub enum Ending {
    /// Everything that was started has ended, and nothing failed.
    Clean,
    /// A supervised task ended before its time; this was the first.
    Failed {
        /// The task's name.
        task: &'static str,
        /// What became of it.
        cause: Cause,
    },
    /// The deadline passed (or a second signal came) while tasks were still running.
    Deadline {
        /// The tasks that were still running.
        left: Vec<Running>,
    },
}

/// Why a supervised task counts as failed.
#[derive(Debug)]
pub enum Cause {
    /// It returned although nobody had asked the process to drain.
    EndedEarly,
    /// It returned an error.
    Error(Box<dyn Error + Send>),
    /// It panicked with this message.
    Panicked(String),
}

/// Tasks that were running at a moment, of one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Running {
    /// The name it was started under.
    pub task: &'static str,
    /// The number of tasks of that name.
    pub count: usize,
}

/// Tasks by name, for the log: `1 × feed, 3 × session`.
#[derive(Clone, Copy, Debug)]
pub struct Tasks<'a>(pub &'a [Running]);

impl fmt::Display for Tasks<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for Running { task, count } in self.0 {
            write!(f, "{separator}{count} × {task}")?;
            separator = ", ";
        }
        Ok(())
    }
}

impl Ending {
    /// Whether the process may exit with 0.
    pub fn is_clean(&self) -> bool {
        matches!(self, Self::Clean)
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Clean => f.write_str("everything has ended"),
            Self::Failed { task, cause } => write!(f, "task `{task}` {cause}"),
            Self::Deadline { left } => write!(f, "still running at the deadline: {}", Tasks(left)),
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EndedEarly => f.write_str("ended although the process was not draining"),
            Self::Panicked(message) => write!(f, "panicked: {message}"),
            Self::Error(error) => {
                write!(f, "failed: {error}")?;
                let mut source = error.source();
                while let Some(cause) = source {
                    write!(f, ": {cause}")?;
                    source = cause.source();
                }
                Ok(())
            }
        }
    }
}
