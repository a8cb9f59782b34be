//! One run, from its first connection to its report.

mod reporting;

mod no_data;

mod drain_timeout;

mod preparation;

mod turn;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use tokio::runtime;

use self::drain_timeout::DrainTimeout;
use crate::{
    bare_consumer::{BareConsumer, Reading},
    cli::Cli,
    clock,
    connections::Connections,
    fleet::{Fleet, Workers},
    interrupts::Interrupts,
    interval::Distribution,
    invocation::Invocation,
    ledger::Ledger,
    monitor::Monitor,
    payload::Format,
    plan::Plan,
    progress::Progress,
    publish::{Lanes, Lateness, PublishPath, Publishing},
    reader::Shared,
    report::Report,
    tally::Tally,
    truth::Truth,
    worker,
};

/// After the last expected delivery: how long nothing may arrive before the run ends, so that
/// repetitions are detected.
const QUIET_PERIOD: Duration = Duration::from_secs(1);

/// From connected subscribers to the first event: time for publishers to connect, and for the start
/// command to reach workers.
const START_DELAY: Duration = Duration::from_millis(100);

/// Runs loadgen, and compares with the baseline, if there is one. Returns `None` in a worker, which
/// sends its results to the main process. Fails when there is nothing to report: a server is not
/// reachable at the start, or rejects the load.
pub(crate) fn run(invocation: &Invocation, baseline: Option<Report>) -> Result<Option<Report>> {
    let cli = &invocation.cli;
    let mut builder = runtime::Builder::new_multi_thread();
    if let Some(threads) = cli.readers.threads {
        builder.worker_threads(threads.into());
    }
    let runtime = builder.enable_all().build().context("no threads can be started")?;
    let outcome = runtime.block_on(async {
        match (cli.readers.worker, cli.readers.run) {
            (Some(_), Some(run)) => Box::pin(worker::run(cli, run)).await.map(|()| None),
            _ => Box::pin(Run::new(invocation, baseline)?.measure()).await.map(Some),
        }
    });
    // After an interrupt, tasks that are still blocked on Kafka are abandoned.
    runtime.shutdown_background();
    outcome
}

struct Run<'a> {
    cli: &'a Cli,
    plan: Arc<Plan>,
    ledger: Arc<Ledger>,
    shared: Arc<Shared>,
    fleet: Fleet,
    monitor: Monitor,
    bare_consumer: Option<Reading>,
    tally: Tally,
    lateness: Distribution,
    /// The report of an earlier run.
    baseline: Option<Report>,
    interrupts: Interrupts,
    interrupted: bool,
}

impl<'a> Run<'a> {
    fn new(invocation: &'a Invocation, baseline: Option<Report>) -> Result<Self> {
        let cli = &invocation.cli;
        let plan =
            Arc::new(Plan::new(cli.load.rate, cli.load.keys, cli.publisher_count(), cli.load.length()));
        let run = fastrand::u64(..);
        let format = Arc::new(Format::new(run, cli.load.payload));
        let shared = Arc::new(Shared::new(cli, &plan, &format));
        let ledger = Arc::new(Ledger::new(plan.events()));
        let processes = cli.readers.processes;
        let fleet = if processes > 1 {
            Fleet::Workers(Workers::new(&invocation.arguments, processes, run))
        } else {
            Fleet::Local(Box::new(Connections::new(cli, Arc::clone(&shared))))
        };
        Ok(Self {
            cli,
            monitor: Monitor::new(cli, &plan, &ledger, shared.storm)?,
            bare_consumer: None,
            tally: Tally::new(processes, cli.load.warmup, cli.load.duration),
            plan,
            ledger,
            shared,
            fleet,
            lateness: Distribution::new(),
            baseline,
            interrupts: Interrupts::catch()?,
            interrupted: false,
        })
    }

    async fn measure(mut self) -> Result<Report> {
        let (publish_path, bare_consumer) = self.prepare().await?;
        let start = Instant::now() + START_DELAY;
        self.fleet.start(start).await?;
        let (format, from) = (&self.shared.format, self.shared.measured_from_ns);
        let read = |consumer: BareConsumer| consumer.read(Arc::clone(format), start, from);
        self.bare_consumer = bare_consumer.map(read).transpose()?;
        let lateness = Arc::new(Lateness::new());
        let lanes = self.publish(&publish_path, start, &lateness)?;
        if let Err(error) = self.go(lanes, start).await {
            self.monitor.incidents.push(format!("{error:#}"));
        }
        self.lateness = lateness.so_far();
        self.finish().await
    }

    fn publish(&self, publish_path: &PublishPath, start: Instant, lateness: &Arc<Lateness>) -> Result<Lanes> {
        let due =
            clock::start(Arc::clone(&self.plan), start).context("the clock's thread cannot be started")?;
        let publishing = Publishing {
            plan: Arc::clone(&self.plan),
            format: Arc::clone(&self.shared.format),
            ledger: Arc::clone(&self.ledger),
            layout: self.shared.layout.clone(),
            topic: self.cli.targets.topic.to_string(),
            payload: self.cli.load.payload,
            lateness: Arc::clone(lateness),
        };
        Ok(publish_path.start(&Arc::new(publishing), &due, start))
    }

    /// Publishes the schedule, and waits for deliveries in flight.
    async fn go(&mut self, mut lanes: Lanes, start: Instant) -> Result<()> {
        let progress = Progress::new("publishing", self.plan.events());
        let timeout = self.cli.load.length() + self.cli.load.drain;
        // Ends early when all publishers have ended: there is nothing more to measure.
        while !lanes.is_empty() {
            self.turn(start, Some(&mut lanes)).await?;
            progress.at(self.ledger.acknowledged());
            progress.received(self.tally.count);
            let late = start.elapsed() > timeout;
            if late {
                let seconds = self.cli.load.drain.as_secs();
                let late =
                    format!("the publishers had not finished {seconds} s after the last event was due");
                self.monitor.incidents.push(late);
            }
            if late || self.interrupted {
                lanes.shutdown().await;
            }
        }
        drop(progress);
        self.drain(start).await
    }

    fn truth(&self) -> Truth<'_> {
        Truth::new(&self.plan, &self.ledger, self.cli.load.keys, self.shared.measured_from_ns)
    }

    /// Waits until all acknowledged events have arrived and then nothing more does, or until none
    /// arrives for too long.
    async fn drain(&mut self, start: Instant) -> Result<()> {
        let expected = self.truth().expected(&self.shared.layout);
        let progress = Progress::new("draining", expected);
        let mut accounted = self.tally.count.accounted();
        let mut timeout = DrainTimeout::new(self.cli.load.drain, accounted, Instant::now());
        while !timeout.is_expired(accounted, Instant::now()) {
            progress.at(accounted);
            if accounted >= expected && self.tally.quiet() >= QUIET_PERIOD {
                break;
            }
            self.turn(start, None).await?;
            accounted = self.tally.count.accounted();
        }
        Ok(())
    }
}
