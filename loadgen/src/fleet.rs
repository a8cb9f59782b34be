//! All connections of the run: in this process, or in the workers that it started.

use std::{process::Stdio, time::Instant};

use anyhow::{Context as _, Result, bail};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    process::{Child, ChildStdin, ChildStdout, Command},
    sync::mpsc,
    task::JoinSet,
};

use crate::{
    account::Account,
    connections::Connections,
    interval::Interval,
    progress::Progress,
    worker::{WorkerCommand, WorkerMessage, since_epoch},
};

/// Capacity of the queue of workers' messages. When it is full, workers block on their pipes.
const MESSAGES_MAX: usize = 64;

/// All connections of the run.
pub(crate) enum Fleet {
    /// In this process.
    Local(Box<Connections>),
    /// In worker processes.
    Workers(Workers),
}

/// The processes that hold the connections.
pub(crate) struct Workers {
    command: Vec<String>,
    count: usize,
    workers: Vec<Worker>,
    messages: mpsc::Receiver<(usize, Result<WorkerMessage>)>,
    sender: mpsc::Sender<(usize, Result<WorkerMessage>)>,
    reading: JoinSet<()>,
}

struct Worker {
    /// Killed when this is dropped.
    _child: Child,
    stdin: ChildStdin,
}

impl Fleet {
    /// Opens all connections, and waits until each has its subscriptions.
    pub(crate) async fn open(&mut self, progress: &Progress) -> Result<()> {
        match self {
            Self::Local(connections) => connections.open(&mut |opened| progress.at(opened.into())).await,
            Self::Workers(workers) => workers.open(progress).await,
        }
    }

    /// Starts the schedule.
    pub(crate) async fn start(&mut self, start: Instant) -> Result<()> {
        match self {
            Self::Local(connections) => {
                connections.start(start);
                Ok(())
            }
            Self::Workers(workers) => workers.send_all(WorkerCommand::Start(since_epoch(start))).await,
        }
    }

    /// Lets connections that a storm dropped reconnect.
    pub(crate) async fn reconnect(&mut self, at_ns: u64) -> Result<()> {
        match self {
            Self::Local(connections) => {
                connections.reconnect(at_ns);
                Ok(())
            }
            Self::Workers(workers) => workers.send_all(WorkerCommand::Reconnect(at_ns)).await,
        }
    }

    /// Waits for the next interval of any process. Cancel safe.
    pub(crate) async fn next(&mut self) -> Result<Interval> {
        match self {
            Self::Local(connections) => Ok(connections.next().await),
            Self::Workers(workers) => loop {
                if let (_, WorkerMessage::Interval(interval)) = workers.receive().await? {
                    return Ok(*interval);
                }
            },
        }
    }

    /// Ends all connections, and returns what they received.
    pub(crate) async fn end(&mut self) -> Result<Vec<Account>> {
        match self {
            Self::Local(connections) => connections.end().await,
            Self::Workers(workers) => workers.end().await,
        }
    }
}

impl Workers {
    /// Prepares `count` processes with the command line `arguments`.
    pub(crate) fn new(arguments: &[String], count: u16, run: u64) -> Self {
        let (sender, messages) = mpsc::channel(MESSAGES_MAX);
        let command = arguments.iter().cloned().chain(["--run".into(), run.to_string()]).collect();
        let count = count.into();
        Self { command, count, workers: Vec::new(), messages, sender, reading: JoinSet::new() }
    }

    async fn open(&mut self, progress: &Progress) -> Result<()> {
        for index in 0..self.count {
            self.start_worker(index)?;
        }
        let mut opened = vec![0; self.workers.len()];
        let mut ready = 0;
        while ready < self.workers.len() {
            match self.receive().await? {
                (worker, WorkerMessage::Opened(connections)) => opened[worker] = u64::from(connections),
                (_, WorkerMessage::Ready) => ready += 1,
                _ => {}
            }
            progress.at(opened.iter().sum());
        }
        Ok(())
    }

    fn start_worker(&mut self, index: usize) -> Result<()> {
        let program = std::env::current_exe().context("the path of this program is unknown")?;
        let mut child = Command::new(program)
            .args(&self.command)
            .args(["--worker", &index.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("a worker cannot be started")?;
        let (stdin, messages) =
            child.stdin.take().zip(child.stdout.take()).context("a worker has no pipes")?;
        self.reading.spawn(read_messages(index, messages, self.sender.clone()));
        self.workers.push(Worker { _child: child, stdin });
        Ok(())
    }

    async fn send_all(&mut self, command: WorkerCommand) -> Result<()> {
        let line = serde_json::to_string(&command)? + "\n";
        for (index, worker) in self.workers.iter_mut().enumerate() {
            worker
                .stdin
                .write_all(line.as_bytes())
                .await
                .with_context(|| format!("worker {index} is gone"))?;
        }
        Ok(())
    }

    /// Waits for the next message of any worker. Cancel safe.
    async fn receive(&mut self) -> Result<(usize, WorkerMessage)> {
        let (worker, message) = self.messages.recv().await.context("the workers are gone")?;
        match message.with_context(|| format!("worker {worker}"))? {
            WorkerMessage::Failed(error) => bail!("worker {worker}: {error}"),
            message => Ok((worker, message)),
        }
    }

    async fn end(&mut self) -> Result<Vec<Account>> {
        self.send_all(WorkerCommand::Stop).await?;
        let (mut accounts, mut done) = (Vec::new(), 0);
        while done < self.workers.len() {
            match self.receive().await? {
                (_, WorkerMessage::Account(account)) => accounts.push(*account),
                (_, WorkerMessage::Done) => done += 1,
                _ => {}
            }
        }
        Ok(accounts)
    }
}

/// Forwards a worker's messages until its last one.
async fn read_messages(
    index: usize,
    messages: ChildStdout,
    sender: mpsc::Sender<(usize, Result<WorkerMessage>)>,
) {
    let mut lines = BufReader::new(messages).lines();
    loop {
        let message = match lines.next_line().await {
            Ok(Some(line)) => serde_json::from_str(&line).context("its message cannot be decoded"),
            Ok(None) => Err(anyhow::anyhow!("it ended before the end of the run")),
            Err(error) => Err(error.into()),
        };
        let last = matches!(message, Err(_) | Ok(WorkerMessage::Done | WorkerMessage::Failed(_)));
        if sender.send((index, message)).await.is_err() || last {
            return;
        }
    }
}
