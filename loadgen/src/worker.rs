//! A worker process: holds a share of the connections, and communicates with the main process over
//! standard input and output, with one line of JSON per message.

use std::{
    io::{self, Write as _},
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines, Stdin, stdin};

use crate::{
    account::Account, cli::Cli, connections::Connections, interrupts::Interrupts, interval::Interval,
    payload::Format, plan::Plan, reader::Shared,
};

/// A command from the main process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum WorkerCommand {
    /// The schedule starts at this time since the Unix epoch. Processes share the wall clock; it is
    /// read once on each side, milliseconds apart.
    Start(Duration),
    /// Dropped connections reconnect at this time after the start, in nanoseconds.
    Reconnect(u64),
    /// The end of the run.
    Stop,
}

/// A message from a worker.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum WorkerMessage {
    /// This many connections have their subscriptions.
    Opened(u32),
    /// All connections have their subscriptions.
    Ready,
    /// The totals of an interval.
    Interval(Box<Interval>),
    /// What a connection received; after `Stop`.
    Account(Box<Account>),
    /// All accounts were sent.
    Done,
    /// The worker has failed.
    Failed(String),
}

/// Number of opened connections between two `Opened` messages.
const OPENED_STEP: u32 = 10;

/// Runs a worker until the main process ends the run, or ends itself. Fails when the main process
/// is gone. Other errors are sent as [`WorkerMessage::Failed`].
pub(crate) async fn run(cli: &Cli, run: u64) -> Result<()> {
    let plan = Plan::new(cli.load.rate, cli.load.keys, cli.publisher_count(), cli.load.length());
    let format = Arc::new(Format::new(run, cli.load.payload));
    let shared = Arc::new(Shared::new(cli, &Arc::new(plan), &format));
    let mut commands = BufReader::new(stdin()).lines();
    match work(Connections::new(cli, shared), &mut commands).await {
        Ok(()) => Ok(()),
        Err(error) => send(&WorkerMessage::Failed(format!("{error:#}"))),
    }
}

async fn work(mut connections: Connections, commands: &mut Lines<BufReader<Stdin>>) -> Result<()> {
    // Ctrl-C in a terminal interrupts all processes; the main process decides what to do, and ends
    // the others.
    let mut interrupts = Interrupts::catch()?;
    let mut sent = Ok(());
    connections
        .open(&mut |opened| {
            if opened % OPENED_STEP == 0 && sent.is_ok() {
                sent = send(&WorkerMessage::Opened(opened));
            }
        })
        .await?;
    sent?;
    send(&WorkerMessage::Ready)?;
    loop {
        tokio::select! {
            () = interrupts.next() => {}
            interval = connections.next() => send(&WorkerMessage::Interval(Box::new(interval)))?,
            command = commands.next_line() => {
                let line = command?.context("the main process is gone")?;
                match serde_json::from_str(&line).with_context(|| format!("unknown command: {line}"))? {
                    WorkerCommand::Start(at) => connections.start(instant(at)),
                    WorkerCommand::Reconnect(at_ns) => connections.reconnect(at_ns),
                    WorkerCommand::Stop => break,
                }
            }
        }
    }
    for account in connections.end().await? {
        send(&WorkerMessage::Account(Box::new(account)))?;
    }
    send(&WorkerMessage::Done)
}

/// Sends a message to the main process.
fn send(message: &WorkerMessage) -> Result<()> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    let mut out = io::stdout().lock();
    out.write_all(&line).and_then(|()| out.flush()).context("the main process is gone")
}

/// Converts a time since the Unix epoch to this process's clock.
fn instant(since_epoch: Duration) -> Instant {
    let (now, wall) = (Instant::now(), SystemTime::now());
    let at = UNIX_EPOCH + since_epoch;
    match at.duration_since(wall) {
        Ok(ahead) => now + ahead,
        Err(behind) => now.checked_sub(behind.duration()).unwrap_or(now),
    }
}

/// Converts a time of this process's clock to one since the Unix epoch.
pub(crate) fn since_epoch(at: Instant) -> Duration {
    let (now, wall) = (Instant::now(), SystemTime::now());
    let wall = wall.duration_since(UNIX_EPOCH).unwrap_or_default();
    wall.saturating_add(at.saturating_duration_since(now)).saturating_sub(now.saturating_duration_since(at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_survives_the_conversion_to_another_process() {
        let at = Instant::now() + Duration::from_millis(50);
        let back = instant(since_epoch(at));
        let off = if back > at { back - at } else { at - back };
        assert!(off < Duration::from_millis(20), "{off:?}");
    }

    #[test]
    fn commands_are_lines_of_json() {
        for command in [
            WorkerCommand::Start(Duration::from_millis(1500)),
            WorkerCommand::Reconnect(7),
            WorkerCommand::Stop,
        ] {
            let line = serde_json::to_string(&command).expect("it is JSON");
            assert!(!line.contains('\n'));
            assert_eq!(serde_json::from_str::<WorkerCommand>(&line).expect("it was written"), command);
        }
    }
}
