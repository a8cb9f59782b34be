//! One run from its first connection to its report.

use std::{
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use hdrhistogram::Histogram;
use tokio::{
    runtime,
    time::{Instant as Moment, sleep, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{
    cli::{Cli, Publishers},
    clock,
    fleet::Fleet,
    ledger::Ledger,
    payload::Format,
    plan::Plan,
    progress::Progress,
    publish::{self, Lanes, Publishing, WayIn},
    report::{Asked, Events, Measured, Memory, Percentiles, Report},
    server_process,
    stretch::{Mark, Servers},
    subscribe::{Account, Subscribing},
    traffic::{self, Traffic},
    verdict,
};

/// How many files this process needs beside its connections.
const FILES: u64 = 100;

/// How often to look at what came.
const LOOK: Duration = Duration::from_millis(100);

/// After the last expected delivery: how long nothing may come before the run is over, so that repetitions are seen.
const QUIET: Duration = Duration::from_secs(1);

/// From connected subscribers to the first event: time for publishers to connect as well.
const LEAD: Duration = Duration::from_millis(50);

/// Does what the command line asks for.
///
/// # Errors
///
/// When there is nothing to report: a server is not there, refuses what loadgen needs, or goes away.
pub(crate) fn run(cli: &Cli) -> Result<Report> {
    if let Some(files) = server_process::files_max() {
        let needed = u64::from(cli.connections) + FILES;
        ensure!(files >= needed, "{needed} open files are needed and {files} allowed: ulimit -n {needed}");
    }
    let mut builder = runtime::Builder::new_multi_thread();
    if let Some(threads) = cli.threads {
        builder.worker_threads(threads.into());
    }
    let runtime = builder.enable_all().build().context("no threads can be started")?;
    runtime.block_on(Box::pin(Run::new(cli).measure()))
}

/// One run.
struct Run<'a> {
    cli: &'a Cli,
    plan: Arc<Plan>,
    ledger: Arc<Ledger>,
    traffic: Arc<Traffic>,
    subscribing: Arc<Subscribing>,
    servers: Servers,
}

/// What was measured, before it is judged.
struct Found {
    measured: Measured,
    lateness: Histogram<u64>,
    memory: Option<Memory>,
    accounts: Vec<Account>,
}

impl<'a> Run<'a> {
    fn new(cli: &'a Cli) -> Self {
        let plan = Plan::new(cli.rate, cli.keys, cli.publisher_count(), cli.warmup + cli.duration);
        let traffic = Arc::new(Traffic::new());
        let subscribing = Subscribing {
            endpoints: cli.urls.clone(),
            connections: cli.connections as usize,
            topic: cli.topic.clone(),
            keys: cli.keys,
            channels: cli.channels_per_connection,
            subprotocol: cli.subprotocol.into(),
            format: Arc::new(Format::new(fastrand::u64(..), cli.payload)),
            traffic: Arc::clone(&traffic),
            measured_from_ns: u64::try_from(cli.warmup.as_nanos()).unwrap_or(u64::MAX),
            start: OnceLock::new(),
            stop: CancellationToken::new(),
        };
        Self {
            cli,
            ledger: Arc::new(Ledger::new(plan.events())),
            plan: Arc::new(plan),
            traffic,
            subscribing: Arc::new(subscribing),
            servers: Servers::new(&cli.server_pids),
        }
    }

    async fn measure(self) -> Result<Report> {
        let cli = self.cli;
        let mut fleet = Fleet::new(Arc::clone(&self.subscribing));
        if let (Some(broker), Some(partitions)) = (&cli.kafka, cli.create_topic) {
            publish::create_topic(broker, cli.topic.as_str(), partitions).await?;
            fleet.await_topic().await?;
        }
        let way_in = WayIn::open(cli, &self.ledger).await?;
        let before = self.servers.memory()?;
        fleet.open(cli.connect_rate).await?;
        sleep(cli.idle).await;
        let idle = self.servers.memory()?;

        let start = Instant::now() + LEAD;
        let lanes = self.start(&way_in, start)?;
        let progress = Progress::new("publishing", self.plan.events());
        self.watch(&progress, start + cli.warmup).await;
        let first = Mark::take(&self.servers, &self.traffic)?;
        self.watch(&progress, start + cli.warmup + cli.duration).await;
        let last = Mark::take(&self.servers, &self.traffic)?;
        let lateness = finish(lanes, cli.drain).await?;
        drop(progress);

        self.drain().await;
        let memory = before.zip(idle).zip(self.servers.memory()?);
        let memory = memory.map(|((before, idle), end)| Memory::new(before, idle, end, cli.connections));
        let accounts = fleet.end().await?;
        self.report(&Found { measured: last.since(&first), lateness, memory, accounts })
    }

    fn start(&self, way_in: &WayIn, start: Instant) -> Result<Lanes> {
        // The only place that sets it.
        let _ = self.subscribing.start.set(start);
        let due =
            clock::start(Arc::clone(&self.plan), start).context("the clock's thread cannot be started")?;
        let publishing = Publishing {
            plan: Arc::clone(&self.plan),
            format: Arc::clone(&self.subscribing.format),
            ledger: Arc::clone(&self.ledger),
            topic: self.cli.topic.to_string(),
            payload: self.cli.payload,
        };
        Ok(way_in.start(&Arc::new(publishing), &due, start))
    }

    async fn watch(&self, progress: &Progress, until: Instant) {
        while Instant::now() < until {
            sleep_until(Moment::from_std(until).min(Moment::now() + LOOK)).await;
            progress.at(self.ledger.acknowledged());
            progress.received(&self.traffic);
        }
    }

    /// Waits until everything has come that was acknowledged, and then nothing for a while.
    async fn drain(&self) {
        let keys = (0..self.subscribing.connections).flat_map(|number| self.subscribing.keys_of(number));
        let expected = verdict::expected(&self.plan, &self.ledger, keys);
        let progress = Progress::new("draining", expected);
        let deadline = Instant::now() + self.cli.drain;
        let mut quiet = (Instant::now(), self.traffic.count().deliveries);
        while Instant::now() < deadline {
            let count = self.traffic.count();
            progress.at(count.distinct);
            if count.deliveries != quiet.1 {
                quiet = (Instant::now(), count.deliveries);
            } else if count.distinct >= expected && quiet.0.elapsed() >= QUIET {
                return;
            }
            sleep(LOOK).await;
        }
    }

    fn report(&self, found: &Found) -> Result<Report> {
        ensure!(self.ledger.acknowledged() > 0, "no event was acknowledged: {:?}", self.ledger.reasons());
        let violations = verdict::judge(&self.plan, &self.ledger, &found.accounts);
        let lateness_us = Percentiles::from(&found.lateness);
        Ok(Report {
            asked: asked(self.cli, self.plan.lanes()),
            clean: violations.is_empty(),
            events: Events {
                published: self.ledger.published(),
                acknowledged: self.ledger.acknowledged(),
                refused: self.ledger.refused(),
                reasons: self.ledger.reasons(),
            },
            deliveries: self.traffic.count().deliveries,
            violations,
            other_runs: found.accounts.iter().map(|account| account.findings.other_runs).sum(),
            measured: found.measured,
            latency_us: (&self.traffic.all_latencies()).into(),
            saturated: lateness_us.is_saturated(),
            lateness_us,
            memory: found.memory,
        })
    }
}

/// Waits until all events are published and answered, and returns how late the lanes took them.
async fn finish(mut lanes: Lanes, patience: Duration) -> Result<Histogram<u64>> {
    let mut all = traffic::histogram();
    let finished = timeout(patience, async {
        while let Some(lane) = lanes.join_next().await {
            all.add(lane.context("a publisher's task failed")??)?;
        }
        anyhow::Ok(())
    });
    match finished.await {
        Ok(finished) => finished.map(|()| all),
        Err(_) => bail!("the publishers were not done {} s after the last event was due", patience.as_secs()),
    }
}

fn asked(cli: &Cli, publishers: u64) -> Asked {
    Asked {
        connections: cli.connections,
        channels_per_connection: cli.channels_per_connection,
        keys: cli.keys,
        rate: cli.rate,
        payload_bytes: cli.payload,
        way_in: match (&cli.ingest, cli.publishers) {
            (Some(_), Publishers::Stream) => format!("{publishers} publish streams through ingest"),
            (Some(_), Publishers::Unary) => format!("{publishers} unary publishers through ingest"),
            (None, _) => format!("{publishers} publishers straight to Kafka"),
        },
    }
}
