//! The end of a process: its last log line and its exit code.

use std::error::Error;
use std::fmt;

/// How the process ended.
#[derive(Debug)]
pub enum Ending {
    /// All tasks have ended, and none failed.
    Clean,
    /// A supervised task failed or ended too early; this was the first.
    Failed {
        /// The task's name.
        task: &'static str,
        /// The failure.
        cause: TaskFailure,
    },
    /// The deadline passed (or a second signal came) while tasks were still running.
    Deadline {
        /// The tasks that were still running.
        left: Vec<Running>,
    },
}

/// The failure of a supervised task.
#[derive(Debug)]
pub enum TaskFailure {
    /// The task returned before the process drained.
    EndedEarly,
    /// The task returned an error.
    Error(Box<dyn Error + Send>),
    /// The task panicked with this message.
    Panicked(String),
}

/// The running tasks, or other work in progress, of one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Running {
    /// The name of the tasks.
    pub task: &'static str,
    /// The number of tasks.
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
            Self::Clean => f.write_str("all tasks have ended"),
            Self::Failed { task, cause } => write!(f, "task `{task}` {cause}"),
            Self::Deadline { left } => write!(f, "still running at the deadline: {}", Tasks(left)),
        }
    }
}

impl fmt::Display for TaskFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EndedEarly => f.write_str("ended before the process was draining"),
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
