//! One run from its first connection to its report.

use std::{
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use hdrhistogram::Histogram;
use tokio::{
    runtime,
    sync::mpsc,
    task::JoinSet,
    time::{Instant as Moment, MissedTickBehavior, interval, sleep, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{
    cli::Cli,
    clock,
    ledger::Ledger,
    payload::Format,
    plan::Plan,
    progress::Progress,
    publish::{self, Lanes, Publishing, WayIn},
    report::{Asked, Events, Measured, Memory, Report, Violations},
    server_process,
    subscribe::{Account, Subscriber, Subscribing},
    traffic::{self, Count, Traffic},
};

/// How many files this process needs beside its connections.
const FILES: u64 = 100;

/// How often to look at what came.
const LOOK: Duration = Duration::from_millis(100);

/// After the last expected delivery: how long nothing may come before the run is over, so that repetitions are seen.
const QUIET: Duration = Duration::from_secs(1);

/// From connected publishers to the first event.
const LEAD: Duration = Duration::from_millis(50);

/// Does what the command line asks for.
pub(crate) fn run(cli: &Cli) -> Result<Report> {
    if let Some(files) = server_process::files_max() {
        let needed = u64::from(cli.connections) + FILES;
        ensure!(files >= needed, "{needed} files are needed and {files} allowed: ulimit -n {needed}");
    }
    for pid in &cli.server_pids {
        server_process::cpu(&pid.to_string())?;
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
    format: Arc<Format>,
    ledger: Arc<Ledger>,
    traffic: Arc<Traffic>,
    subscribing: Arc<Subscribing>,
    accounts: JoinSet<Option<Account>>,
}

/// The counters at one moment.
struct Mark {
    at: Instant,
    count: Count,
    servers: Duration,
    own: Duration,
}

impl<'a> Run<'a> {
    fn new(cli: &'a Cli) -> Self {
        let plan = Plan::new(cli.rate, cli.keys, cli.publisher_count(), cli.warmup + cli.duration);
        let format = Arc::new(Format::new(fastrand::u64(..), cli.payload));
        let traffic = Arc::new(Traffic::new());
        let subscribing = Subscribing {
            endpoints: cli.urls.clone(),
            connections: cli.connections as usize,
            topic: cli.topic.clone(),
            keys: cli.keys,
            channels: cli.channels_per_connection,
            subprotocol: cli.subprotocol.into(),
            format: Arc::clone(&format),
            traffic: Arc::clone(&traffic),
            measured_from_ns: u64::try_from(cli.warmup.as_nanos()).unwrap_or(u64::MAX),
            start: OnceLock::new(),
            stop: CancellationToken::new(),
        };
        Self {
            cli,
            ledger: Arc::new(Ledger::new(plan.events())),
            plan: Arc::new(plan),
            format,
            traffic,
            subscribing: Arc::new(subscribing),
            accounts: JoinSet::new(),
        }
    }

    async fn measure(mut self) -> Result<Report> {
        let cli = self.cli;
        if let (Some(broker), Some(partitions)) = (&cli.kafka, cli.create_topic) {
            publish::create_topic(broker, cli.topic.as_str(), partitions).await?;
        }
        let way_in = WayIn::open(cli, &self.ledger).await?;
        let before = self.servers_memory()?;
        self.connect().await?;
        sleep(cli.idle).await;
        let idle = self.servers_memory()?;

        let start = Instant::now() + LEAD;
        // The only place that sets it.
        let _ = self.subscribing.start.set(start);
        let due =
            clock::start(Arc::clone(&self.plan), start).context("the clock's thread cannot be started")?;
        let publishing = Publishing {
            plan: Arc::clone(&self.plan),
            format: Arc::clone(&self.format),
            ledger: Arc::clone(&self.ledger),
            topic: cli.topic.to_string(),
            payload: cli.payload,
        };
        let lanes = way_in.start(&Arc::new(publishing), &due, start);
        let progress = Progress::new("publishing", self.plan.events());
        self.watch(&progress, start + cli.warmup).await;
        let first = self.mark()?;
        self.watch(&progress, start + cli.warmup + cli.duration).await;
        let last = self.mark()?;
        let lateness = finish(lanes, cli.drain).await?;
        drop(progress);
        self.drain().await;
        let end = self.servers_memory()?;
        let memory = before
            .zip(idle)
            .zip(end)
            .map(|((before, idle), end)| Memory::new(before, idle, end, cli.connections));
        self.report(&first, &last, &lateness, memory).await
    }

    /// Opens all connections, at the rate asked for, and waits until each has its subscriptions.
    async fn connect(&mut self) -> Result<()> {
        let (opened, mut openings) = mpsc::channel(64);
        let progress = Progress::new("connecting", self.cli.connections.into());
        let mut turns = interval(Duration::from_secs(1) / self.cli.connect_rate);
        turns.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let (mut begun, mut done) = (0, 0);
        while done < self.subscribing.connections {
            tokio::select! {
                opening = openings.recv() => {
                    opening.context("a connection ended without a word")??;
                    done += 1;
                    progress.at(done as u64);
                }
                _ = turns.tick(), if begun < self.subscribing.connections => {
                    self.accounts.spawn(subscriber(begun, Arc::clone(&self.subscribing), opened.clone()));
                    begun += 1;
                }
            }
        }
        Ok(())
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
        let expected = self.expected();
        let progress = Progress::new("draining", expected);
        let deadline = Instant::now() + self.cli.drain;
        let mut quiet = (Instant::now(), self.traffic.count().deliveries);
        while Instant::now() < deadline && !self.accounts.is_empty() {
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

    /// Returns how many deliveries there should be.
    fn expected(&self) -> u64 {
        let mut acknowledged = vec![0_u64; self.cli.keys as usize];
        for number in (0..self.plan.events()).filter(|number| self.ledger.is_acknowledged(*number)) {
            acknowledged[self.plan.event(number).key as usize] += 1;
        }
        let keys = (0..self.subscribing.connections).flat_map(|number| self.subscribing.keys_of(number));
        keys.map(|key| acknowledged[key as usize]).sum()
    }

    async fn report(
        mut self,
        first: &Mark,
        last: &Mark,
        lateness: &Histogram<u64>,
        memory: Option<Memory>,
    ) -> Result<Report> {
        let cli = self.cli;
        self.subscribing.stop.cancel();
        let mut violations = Violations::default();
        let mut other_runs = 0;
        while let Some(account) = self.accounts.join_next().await {
            let account =
                account.context("a connection's task failed")?.context("a connection was not opened")?;
            other_runs += account.findings.other_runs;
            self.judge(account, &mut violations);
        }
        ensure!(self.ledger.acknowledged() > 0, "no event was acknowledged: {:?}", self.ledger.reasons());
        let servers = (!cli.server_pids.is_empty()).then(|| last.servers.saturating_sub(first.servers));
        let lateness_us = lateness.into();
        Ok(Report {
            asked: asked(cli),
            clean: violations.is_empty(),
            events: Events {
                published: self.ledger.published(),
                acknowledged: self.ledger.acknowledged(),
                refused: self.ledger.refused(),
                reasons: self.ledger.reasons(),
            },
            deliveries: self.traffic.count().deliveries,
            violations,
            other_runs,
            measured: Measured::new(
                last.at - first.at,
                last.count - first.count,
                servers,
                last.own.saturating_sub(first.own),
            ),
            latency_us: (&self.traffic.all_latencies()).into(),
            saturated: crate::report::Percentiles::is_saturated(&lateness_us),
            lateness_us,
            memory,
        })
    }

    /// Adds what one connection found.
    fn judge(&self, account: Account, violations: &mut Violations) {
        violations.repeated += account.findings.repeated;
        violations.out_of_order += account.findings.out_of_order;
        violations.corrupt += account.findings.corrupt;
        for (key, sequence) in account.keys {
            let count = self.plan.count(key);
            let missing = sequence.missing(count).map(|number| self.plan.number_of(key, number));
            violations.lost += missing.filter(|number| self.ledger.is_acknowledged(*number)).count() as u64;
            if self.ledger.refused() > 0 {
                let phantoms = (0..count).filter(|number| sequence.has(*number));
                let phantoms = phantoms.map(|number| self.plan.number_of(key, number));
                violations.refused_but_delivered +=
                    phantoms.filter(|number| self.ledger.is_refused(*number)).count() as u64;
            }
        }
        if let Some(ending) = account.ended {
            violations.connections_ended += 1;
            *violations.endings.entry(ending).or_default() += 1;
        }
    }

    fn mark(&self) -> Result<Mark> {
        let servers = self.cli.server_pids.iter().map(|pid| server_process::cpu(&pid.to_string()));
        Ok(Mark {
            servers: servers.sum::<Result<_>>()?,
            own: server_process::cpu("self")?,
            count: self.traffic.count(),
            at: Instant::now(),
        })
    }

    /// Returns the memory of all servers, if there are any to measure.
    fn servers_memory(&self) -> Result<Option<u64>> {
        let pids = self.cli.server_pids.iter();
        let memory = pids.map(|pid| server_process::memory(&pid.to_string())).sum::<Result<u64>>()?;
        Ok((!self.cli.server_pids.is_empty()).then_some(memory))
    }
}

/// Opens a connection, says so, and receives until the run is over.
async fn subscriber(
    number: usize,
    subscribing: Arc<Subscribing>,
    opened: mpsc::Sender<Result<()>>,
) -> Option<Account> {
    match Subscriber::open(number, subscribing).await {
        Ok(subscriber) => {
            // Nobody listens any more when another connection failed, which ends the run.
            let _ = opened.send(Ok(())).await;
            drop(opened);
            Some(subscriber.run().await)
        }
        Err(error) => {
            let _ = opened.send(Err(error)).await;
            None
        }
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

fn asked(cli: &Cli) -> Asked {
    let way_in = match &cli.ingest {
        Some(_) => format!("{} {:?} publishers through ingest", cli.publisher_count(), cli.publishers),
        None => "straight to Kafka".to_owned(),
    };
    Asked {
        connections: cli.connections,
        channels_per_connection: cli.channels_per_connection,
        keys: cli.keys,
        rate: cli.rate,
        payload_bytes: cli.payload,
        way_in: way_in.to_lowercase(),
    }
}
