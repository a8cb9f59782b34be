//! The connections of this process: opened at a fixed rate, one task each, sampled every interval,
//! and counted at the end.

use std::{sync::Arc, time::Duration};

use anyhow::{Context as _, Result};
use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval, sleep_until},
};

use crate::{
    account::Account,
    cli::Cli,
    interval::{Count, Interval},
    lag::Lag,
    process,
    reader::{Reader, Shared},
};

const SECOND_NS: u64 = 1_000_000_000;

/// The connections of this process.
pub(crate) struct Connections {
    shared: Arc<Shared>,
    /// Their numbers are `first`, `first + step`, and so on.
    first: u32,
    step: u32,
    rate: u32,
    accounts: JoinSet<Option<Account>>,
    lag: Lag,
    /// Intervals end at whole seconds and at these marks: the start and the end of the measured
    /// period.
    marks_ns: [u64; 2],
    /// The end of the last interval, and the counters at that time.
    cut_ns: u64,
    count: Count,
    cpu: Duration,
}

impl Connections {
    /// Prepares all connections of the run, or a worker's share.
    pub(crate) fn new(cli: &Cli, shared: Arc<Shared>) -> Self {
        let processes = u32::from(cli.readers.processes);
        let (first, step) = cli.readers.worker.map_or((0, 1), |worker| (u32::from(worker), processes));
        let ns = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        Self {
            shared,
            first,
            step,
            rate: (cli.readers.connect_rate / step).max(1),
            accounts: JoinSet::new(),
            lag: Lag::start(),
            marks_ns: [ns(cli.load.warmup), ns(cli.load.length())],
            cut_ns: 0,
            count: Count::default(),
            cpu: Duration::ZERO,
        }
    }

    /// Opens all connections at the configured rate, and waits until each has its subscriptions.
    /// Calls `opened` with the number of open connections.
    pub(crate) async fn open(&mut self, opened: &mut (dyn FnMut(u32) + Send)) -> Result<()> {
        let (sender, mut openings) = mpsc::channel(64);
        let mut turns = interval(Duration::from_secs(1) / self.rate);
        turns.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let step = usize::try_from(self.step).unwrap_or(1);
        let mut numbers = (self.first..self.shared.layout.connections()).step_by(step).peekable();
        let (all, mut done) = (numbers.len(), 0);
        while done < all {
            tokio::select! {
                opening = openings.recv() => {
                    opening.context("a connection's task ended unexpectedly")??;
                    done += 1;
                    opened(u32::try_from(done).unwrap_or(u32::MAX));
                }
                _ = turns.tick(), if numbers.peek().is_some() => {
                    if let Some(number) = numbers.next() {
                        self.accounts.spawn(reader(number, Arc::clone(&self.shared), sender.clone()));
                    }
                }
            }
        }
        Ok(())
    }

    /// Starts the schedule.
    pub(crate) fn start(&mut self, start: std::time::Instant) {
        // This is the only place that sets it.
        let _ = self.shared.signals.start.set(start);
        self.shared.signals.started.cancel();
        self.cpu = process::own_cpu().unwrap_or_default();
        self.lag.take();
    }

    /// Lets connections that a storm dropped reconnect, at a time after the start.
    pub(crate) fn reconnect(&self, at_ns: u64) {
        self.shared.signals.reconnect.send_replace(Some(at_ns));
    }

    /// Waits for the end of the next interval, which is at most a second long. Cancel safe.
    pub(crate) async fn next(&mut self) -> Interval {
        let to_ns = next_cut(self.cut_ns, self.marks_ns);
        self.shared.signals.started.cancelled().await;
        sleep_until(self.shared.moment(Duration::from_nanos(to_ns))).await;
        let (count, cpu) = (self.shared.traffic.count(), process::own_cpu().unwrap_or(self.cpu));
        let used = cpu.saturating_sub(self.cpu);
        let interval = Interval {
            from_ns: self.cut_ns,
            to_ns,
            count: count - self.count,
            latencies: self.shared.traffic.take_latencies(),
            storm: std::mem::take(&mut *self.shared.traffic.storm()),
            cpu_us: u64::try_from(used.as_micros()).unwrap_or(u64::MAX),
            lag: self.lag.take(),
        };
        (self.cut_ns, self.count, self.cpu) = (to_ns, count, cpu);
        interval
    }

    /// Ends all connections, and returns what they received.
    pub(crate) async fn end(&mut self) -> Result<Vec<Account>> {
        self.shared.signals.stop.cancel();
        let mut accounts = Vec::with_capacity(self.accounts.len());
        while let Some(account) = self.accounts.join_next().await {
            accounts.extend(account.context("a connection's task failed")?);
        }
        Ok(accounts)
    }
}

/// Opens a connection, reports it, and receives until the end of the run.
async fn reader(number: u32, shared: Arc<Shared>, opened: mpsc::Sender<Result<()>>) -> Option<Account> {
    match Reader::open(number, shared).await {
        Ok((reader, link)) => {
            // The receiver is gone when another connection failed, which ends the run.
            let _ = opened.send(Ok(())).await;
            drop(opened);
            Some(reader.run(link).await)
        }
        Err(error) => {
            let _ = opened.send(Err(error)).await;
            None
        }
    }
}

/// Returns the end of the interval that starts at `from_ns`.
fn next_cut(from_ns: u64, marks_ns: [u64; 2]) -> u64 {
    let second = (from_ns / SECOND_NS + 1) * SECOND_NS;
    marks_ns.into_iter().filter(|mark| *mark > from_ns).fold(second, u64::min)
}

/// How long a node may take to learn of a new topic.
const TOPIC_TIMEOUT: Duration = Duration::from_secs(15);

/// Waits until every node accepts subscriptions to the topic.
pub(crate) async fn await_topic(shared: &Arc<Shared>) -> Result<()> {
    let deadline = Instant::now() + TOPIC_TIMEOUT;
    // Time between two attempts.
    let mut turns = interval(Duration::from_millis(200));
    for node in 0..shared.endpoints() {
        let node = u32::try_from(node).unwrap_or_default();
        while let Err(error) = Reader::open(node, Arc::clone(shared)).await {
            if Instant::now() > deadline {
                return Err(error).context("the topic was created, but a node does not serve it");
            }
            turns.tick().await;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_end_at_whole_seconds_and_at_the_marks() {
        let marks = [1_500_000_000, 3_000_000_000];
        let mut cuts = vec![0];
        while cuts.len() < 6 {
            cuts.push(next_cut(*cuts.last().expect("there is one"), marks));
        }
        assert_eq!(cuts, [0, 1_000_000_000, 1_500_000_000, 2_000_000_000, 3_000_000_000, 4_000_000_000]);
    }
}
