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
    account::Account, cli::Cli, crew::Crew, interrupts::Interrupts, interval::Interval, payload::Format,
    plan::Plan, reader::Shared,
};

/// What the first process says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Order {
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
pub(crate) enum Word {
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
const OPENED_EVERY: u32 = 10;

/// Runs a worker until the first process says that the run is over, or ends.
///
/// # Errors
///
/// When nobody can be told any more. What else fails is said as a [`Word::Failed`].
pub(crate) async fn run(cli: &Cli, run: u64) -> Result<()> {
    let plan = Plan::new(cli.load.rate, cli.load.keys, cli.publisher_count(), cli.load.length());
    let format = Arc::new(Format::new(run, cli.load.payload));
    let shared = Arc::new(Shared::new(cli, &Arc::new(plan), &format));
    let mut orders = BufReader::new(stdin()).lines();
    match work(Crew::new(cli, shared), &mut orders).await {
        Ok(()) => Ok(()),
        Err(error) => say(&Word::Failed(format!("{error:#}"))),
    }
}

async fn work(mut crew: Crew, orders: &mut Lines<BufReader<Stdin>>) -> Result<()> {
    // A terminal interrupts all processes; the first one decides what follows, says so, and ends the others.
    let mut interrupts = Interrupts::catch()?;
    let mut told = Ok(());
    crew.open(&mut |opened| {
        if opened % OPENED_EVERY == 0 && told.is_ok() {
            told = say(&Word::Opened(opened));
        }
    })
    .await?;
    told?;
    say(&Word::Ready)?;
    loop {
        tokio::select! {
            () = interrupts.next() => {}
            interval = crew.next() => say(&Word::Interval(Box::new(interval)))?,
            order = orders.next_line() => {
                let line = order?.context("the first process is gone")?;
                match serde_json::from_str(&line).with_context(|| format!("no order: {line}"))? {
                    Order::Start(at) => crew.start(instant(at)),
                    Order::Reconnect(at_ns) => crew.reconnect(at_ns),
                    Order::Stop => break,
                }
            }
        }
    }
    for account in crew.end().await? {
        say(&Word::Account(Box::new(account)))?;
    }
    say(&Word::Done)
}

/// Says something to the first process.
fn say(word: &Word) -> Result<()> {
    let mut line = serde_json::to_vec(word)?;
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
        for order in [Order::Start(Duration::from_millis(1500)), Order::Reconnect(7), Order::Stop] {
            let line = serde_json::to_string(&order).expect("it is JSON");
            assert!(!line.contains('\n'));
            assert_eq!(serde_json::from_str::<Order>(&line).expect("it was written"), order);
        }
    }
}
