//! Apache Kafka's own broker, run by the script `tests/kafka/kafka`.
//!
//! The script stays in the foreground and ends its nodes when its standard input closes. The other
//! end of that pipe is open here, so no broker outlives the test process, however that ends.
//!
//! Most scenarios share one single-node cluster per test process, with topics of their own. A
//! scenario that disrupts a broker starts its own.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};
use std::{env, io, thread};

use anyhow::{Context as _, bail};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/kafka/kafka");

/// The environment variable that makes a missing Apache Kafka a failure: `required`.
const REQUIRED: &str = "TAILCAST_TEST_KAFKA";

/// Timeout for the script to end its nodes, which takes less than a second.
const END_WITHIN: Duration = Duration::from_secs(30);
/// Interval of checks whether the script has ended.
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// A running cluster. Dropping it ends its nodes at once.
#[derive(Debug)]
pub struct ApacheKafka {
    bootstrap: String,
    control: Mutex<Control>,
}

#[derive(Debug)]
struct Control {
    /// `None` only while dropping: closing it ends the nodes.
    commands: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    script: Child,
}

/// An action on one node.
#[derive(Debug, Clone, Copy)]
pub enum NodeAction {
    /// Kills it, like a crash.
    Kill,
    /// Shuts it down, and waits for that.
    Stop,
    /// Starts it again with the same address and data, and waits until it is up.
    Start,
    /// Pauses it, like a machine that hangs.
    Pause,
    /// Resumes it.
    Resume,
}

impl ApacheKafka {
    /// Returns the cluster that the scenarios of this process share, started on first use. `None`,
    /// with a line on standard error, if a program that the script needs is missing.
    ///
    /// # Panics
    ///
    /// When it does not start, or is missing and `TAILCAST_TEST_KAFKA=required`.
    pub fn shared() -> Option<&'static Self> {
        static SHARED: LazyLock<anyhow::Result<Option<ApacheKafka>>> =
            LazyLock::new(|| if is_present()? { ApacheKafka::start(1, &[]).map(Some) } else { Ok(None) });
        match &*SHARED {
            Ok(kafka) => kafka.as_ref(),
            Err(error) => panic!("{error:#}"),
        }
    }

    /// Starts a cluster of 1 or 3 nodes with clean data, and with options of the script, and waits
    /// until it is up. Blocks for seconds.
    ///
    /// # Errors
    ///
    /// When the script cannot be run or a node does not come up; with the end of its log.
    pub fn start(nodes: u32, options: &[&str]) -> anyhow::Result<Self> {
        let mut script = Command::new(SCRIPT)
            .args(["run", "--nodes", &nodes.to_string()])
            .args(options)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context(SCRIPT)?;
        let commands = script.stdin.take();
        let mut answers = BufReader::new(script.stdout.take().expect("standard output is piped"));

        let mut bootstrap = String::new();
        let mut line = String::new();
        loop {
            line.clear();
            if answers.read_line(&mut line).context(SCRIPT)? == 0 {
                bail!("Apache Kafka did not start:\n{}", error_output(&mut script));
            }
            match line.split_whitespace().collect::<Vec<_>>()[..] {
                ["node", ..] => {}
                ["bootstrap", servers] => servers.clone_into(&mut bootstrap),
                ["ready"] => break,
                _ => panic!("{SCRIPT} printed {line:?}"),
            }
        }
        let control = Mutex::new(Control { commands, answers, script });
        Ok(Self { bootstrap, control })
    }

    /// Returns the addresses of all nodes, in the form of `bootstrap.servers`.
    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// Performs an action on a node, and waits until it is done. Blocks, for some seconds if it is
    /// a start.
    ///
    /// # Panics
    ///
    /// When the script fails; with its reason.
    pub fn node(&self, verb: NodeAction, node: u32) {
        let verb = match verb {
            NodeAction::Kill => "kill",
            NodeAction::Stop => "stop-node",
            NodeAction::Start => "start-node",
            NodeAction::Pause => "pause",
            NodeAction::Resume => "resume",
        };
        tokio::task::block_in_place(|| {
            let mut control = self.control.lock().unwrap_or_else(PoisonError::into_inner);
            let commands = control.commands.as_mut().expect("only dropping closes it");
            writeln!(commands, "{verb} {node}").expect("the script reads its standard input");
            let mut answer = String::new();
            control.answers.read_line(&mut answer).expect("the script answers");
            assert_eq!(answer.trim(), "done", "{verb} node {node}");
        });
    }
}

impl Drop for ApacheKafka {
    fn drop(&mut self) {
        let control = self.control.get_mut().unwrap_or_else(PoisonError::into_inner);
        drop(control.commands.take());
        if !ends_within(END_WITHIN, &mut control.script) {
            // Not captured by the test runner, and no panic: the scenario may be panicking, and its
            // own failure is more important.
            let _seen = writeln!(
                io::stderr(),
                "{SCRIPT} did not end within {END_WITHIN:?} and was killed: its brokers at {} may still run",
                self.bootstrap
            );
        }
    }
}

/// Waits until the script has ended, and kills it after `patience`. Returns whether it ended by
/// itself.
fn ends_within(patience: Duration, script: &mut Child) -> bool {
    let deadline = Instant::now() + patience;
    // Its exit code is irrelevant to a scenario that has ended.
    while let Ok(None) = script.try_wait() {
        if Instant::now() >= deadline {
            // If it cannot be killed, it has just ended.
            let _killed = script.kill();
            let _status = script.wait();
            return false;
        }
        thread::park_timeout(POLL_INTERVAL);
    }
    true
}

/// Returns whether the programs that the script needs are installed. If not,
/// `TAILCAST_TEST_KAFKA=required` makes that an error.
fn is_present() -> anyhow::Result<bool> {
    let missing: Vec<_> =
        ["java", "mvn", "flock"].into_iter().filter(|program| !is_on_path(program)).collect();
    if missing.is_empty() {
        return Ok(true);
    }
    let missing = missing.join(" and ");
    if env::var_os(REQUIRED).is_some_and(|value| value == "required") {
        bail!("{REQUIRED}=required, and {missing} cannot be found on the PATH");
    }
    // Not captured by the test runner, so that the skipped half of the suite is visible.
    let _seen = writeln!(
        io::stderr(),
        "SKIPPED: every scenario against Apache Kafka, because {missing} cannot be found on the PATH"
    );
    Ok(false)
}

fn is_on_path(program: &str) -> bool {
    env::var_os("PATH").is_some_and(|path| env::split_paths(&path).any(|dir| dir.join(program).is_file()))
}

/// Returns the script's output on standard error, after it has ended.
fn error_output(script: &mut Child) -> String {
    let mut output = String::new();
    if let Some(stderr) = &mut script.stderr {
        // A partial output is better than none.
        let _length = stderr.read_to_string(&mut output);
    }
    let status = script.wait();
    format!("{output}({SCRIPT}: {status:?})")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn started(script: &str) -> Child {
        Command::new("sh").args(["-c", script]).stdin(Stdio::piped()).spawn().expect("a shell")
    }

    #[test]
    fn a_script_that_does_not_end_is_killed() {
        // There was no deadline: a script that did not end made the suite hang.
        let mut script = started("exec sleep 600");
        assert!(!ends_within(Duration::from_millis(20), &mut script));
        assert!(
            script.try_wait().expect("it is a child of this process").is_some_and(|status| !status.success())
        );
    }

    #[test]
    fn a_script_ends_when_its_standard_input_does() {
        let mut script = started("while read -r line; do :; done");
        drop(script.stdin.take());
        assert!(ends_within(END_WITHIN, &mut script));
    }
}
