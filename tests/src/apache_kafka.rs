//! Apache Kafka's own broker, run by the script `tests/kafka/kafka`.
//!
//! The script stays in the foreground and ends its nodes when its standard input closes, and the other end of that pipe is
//! held here: so however a test process ends, no broker outlives it.
//!
//! Most scenarios share one single-node cluster per test process, with topics of their own. A scenario that hurts a
//! broker starts its own.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};
use std::{env, io, thread};

use anyhow::{Context as _, bail};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/kafka/kafka");

/// The variable that says whether Apache Kafka may be missing: `required` makes that a failure.
const REQUIRED: &str = "TAILCAST_TEST_KAFKA";

/// How long the script may take to end its nodes, which takes less than a second: beyond that it has a fault.
const END_WITHIN: Duration = Duration::from_secs(30);
/// How often the script is looked at until it has ended.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// A running cluster. Dropping it ends its nodes at once.
#[derive(Debug)]
pub struct ApacheKafka {
    bootstrap: String,
    control: Mutex<Control>,
}

#[derive(Debug)]
struct Control {
    /// `None` only while dropping: closing it is what ends the nodes.
    commands: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    script: Child,
}

/// What is done to one node.
#[derive(Debug, Clone, Copy)]
pub enum Verb {
    /// Ends it at once, as a crash does.
    Kill,
    /// Asks it to shut down and waits for that.
    Stop,
    /// Starts it again with the address and the data it had, and waits until it is up.
    Start,
    /// Stops it from running, as a machine that hangs.
    Pause,
    /// Lets it run again.
    Resume,
}

impl ApacheKafka {
    /// Returns the cluster that the scenarios of this process share, started by the first who asks. `None`, with a line on
    /// standard error, where what the script needs is missing.
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

    /// Starts a cluster of 1 or 3 nodes with clean data, and with options of the script, and waits until it is up. Blocks
    /// for seconds.
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
                bail!("Apache Kafka did not start:\n{}", complaint(&mut script));
            }
            match line.split_whitespace().collect::<Vec<_>>()[..] {
                ["node", ..] => {}
                ["bootstrap", servers] => servers.clone_into(&mut bootstrap),
                ["ready"] => break,
                _ => panic!("{SCRIPT} said {line:?}"),
            }
        }
        let control = Mutex::new(Control { commands, answers, script });
        Ok(Self { bootstrap, control })
    }

    /// Returns the addresses of all nodes, as `bootstrap.servers` has them.
    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// Does something to a node and waits until it is done. Blocks; from a task, for as long as a start takes.
    ///
    /// # Panics
    ///
    /// When the script cannot do it; with its reason.
    pub fn node(&self, verb: Verb, node: u32) {
        let verb = match verb {
            Verb::Kill => "kill",
            Verb::Stop => "stop-node",
            Verb::Start => "start-node",
            Verb::Pause => "pause",
            Verb::Resume => "resume",
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
            // Past the test runner's capture, and no panic: the scenario may be panicking, and its own fault matters more.
            let _seen = writeln!(
                io::stderr(),
                "{SCRIPT} did not end within {END_WITHIN:?} and was killed: its brokers at {} may still run",
                self.bootstrap
            );
        }
    }
}

/// Waits until the script has ended, and kills it if that takes longer. Returns whether it ended by itself.
fn ends_within(patience: Duration, script: &mut Child) -> bool {
    let deadline = Instant::now() + patience;
    // Whether it ended well makes no difference to a scenario that has ended.
    while let Ok(None) = script.try_wait() {
        if Instant::now() >= deadline {
            // What cannot be killed has ended just now.
            let _killed = script.kill();
            let _status = script.wait();
            return false;
        }
        thread::park_timeout(LOOK_EVERY);
    }
    true
}

/// Whether what the script needs is there. Missing is an error when `TAILCAST_TEST_KAFKA=required`.
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
    // Past the test runner's capture: a skipped half of the suite is to be seen.
    let _seen = writeln!(
        io::stderr(),
        "SKIPPED: every scenario against Apache Kafka, because {missing} cannot be found on the PATH"
    );
    Ok(false)
}

fn is_on_path(program: &str) -> bool {
    env::var_os("PATH").is_some_and(|path| env::split_paths(&path).any(|dir| dir.join(program).is_file()))
}

/// What the script said on standard error before it ended.
fn complaint(script: &mut Child) -> String {
    let mut complaint = String::new();
    if let Some(stderr) = &mut script.stderr {
        // What could be read is all there is to show.
        let _length = stderr.read_to_string(&mut complaint);
    }
    let status = script.wait();
    format!("{complaint}({SCRIPT}: {status:?})")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn started(script: &str) -> Child {
        Command::new("sh").args(["-c", script]).stdin(Stdio::piped()).spawn().expect("a shell")
    }

    #[test]
    fn a_script_that_does_not_end_is_killed() {
        // It was waited for without a deadline, and a fault of the script was a suite that hangs.
        let mut script = started("exec sleep 600");
        assert!(!ends_within(Duration::from_millis(20), &mut script));
        assert!(script.try_wait().expect("a child of ours").is_some_and(|status| !status.success()));
    }

    #[test]
    fn a_script_ends_when_its_standard_input_does() {
        let mut script = started("while read -r line; do :; done");
        drop(script.stdin.take());
        assert!(ends_within(END_WITHIN, &mut script));
    }
}
