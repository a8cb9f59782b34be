//! One of several processes: holds a part of the connections, and talks with the first process over its standard input and
//! output, a line of JSON for each thing said.

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

/// What the first process says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum WorkerCommand {
    /// The schedule starts at this time since the Unix epoch. The wall clock is what processes share; it is read once on each
    /// side, milliseconds apart.
    Start(Duration),
    /// Those that the storm dropped come back, so many nanoseconds after the start.
    Reconnect(u64),
    /// The run is over.
    Stop,
}

/// What a worker says.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum WorkerMessage {
    /// So many connections have their subscriptions.
    Opened(u32),
    /// All have.
    Ready,
    /// Another interval is over.
    Interval(Box<Interval>),
    /// What a connection received; after `Stop`.
    Account(Box<Account>),
    /// That was all.
    Done,
    /// It cannot go on.
    Failed(String),
}

/// Between two words about how many connections are open.
const OPENED_STEP: u32 = 10;

/// Runs a worker until the first process says that the run is over, or ends.
///
/// # Errors
///
/// When nobody can be told any more. What else fails is said as a [`WorkerMessage::Failed`].
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
    // A terminal interrupts all processes; the first one decides what follows, says so, and ends the others.
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
                let line = command?.context("the first process is gone")?;
                match serde_json::from_str(&line).with_context(|| format!("no order: {line}"))? {
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

/// Says something to the first process.
fn send(message: &WorkerMessage) -> Result<()> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    let mut out = io::stdout().lock();
    out.write_all(&line).and_then(|()| out.flush()).context("the first process is gone")
}

/// Turns a time since the Unix epoch into one of this process's clock.
fn instant(since_epoch: Duration) -> Instant {
    let (now, wall) = (Instant::now(), SystemTime::now());
    let at = UNIX_EPOCH + since_epoch;
    match at.duration_since(wall) {
        Ok(ahead) => now + ahead,
        Err(behind) => now.checked_sub(behind.duration()).unwrap_or(now),
    }
}

/// Turns a time of this process's clock into one since the Unix epoch.
pub(crate) fn since_epoch(at: Instant) -> Duration {
    let (now, wall) = (Instant::now(), SystemTime::now());
    let wall = wall.duration_since(UNIX_EPOCH).unwrap_or_default();
    wall.saturating_add(at.saturating_duration_since(now)).saturating_sub(now.saturating_duration_since(at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_survives_the_way_to_another_process() {
        let at = Instant::now() + Duration::from_millis(50);
        let back = instant(since_epoch(at));
        let off = if back > at { back - at } else { at - back };
        assert!(off < Duration::from_millis(20), "{off:?}");
    }

    #[test]
    fn orders_are_lines_of_json() {
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
