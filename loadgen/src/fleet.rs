//! All connections of the run, wherever they are: in this process, or in workers that it started.

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
    crew::Crew,
    interval::Interval,
    progress::Progress,
    worker::{Order, Word, since_epoch},
};

/// How many words of workers wait to be heard. At the bound a worker waits in its pipe.
const WORDS_MAX: usize = 64;

/// All connections of the run.
pub(crate) enum Fleet {
    /// In this process.
    Here(Box<Crew>),
    /// In others.
    Workers(Workers),
}

/// The processes that hold the connections.
pub(crate) struct Workers {
    command: Vec<String>,
    count: usize,
    workers: Vec<Worker>,
    words: mpsc::Receiver<(usize, Result<Word>)>,
    tell: mpsc::Sender<(usize, Result<Word>)>,
    listening: JoinSet<()>,
}

struct Worker {
    /// Killed when this is dropped.
    _child: Child,
    orders: ChildStdin,
}

impl Fleet {
    /// Opens all connections, and waits until each has its subscriptions.
    pub(crate) async fn open(&mut self, progress: &Progress) -> Result<()> {
        match self {
            Self::Here(crew) => crew.open(&mut |opened| progress.at(opened.into())).await,
            Self::Workers(workers) => workers.open(progress).await,
        }
    }

    /// Starts the schedule.
    pub(crate) async fn start(&mut self, start: Instant) -> Result<()> {
        match self {
            Self::Here(crew) => {
                crew.start(start);
                Ok(())
            }
            Self::Workers(workers) => workers.order(Order::Start(since_epoch(start))).await,
        }
    }

    /// Lets those come back that a storm dropped.
    pub(crate) async fn reconnect(&mut self, at_ns: u64) -> Result<()> {
        match self {
            Self::Here(crew) => {
                crew.reconnect(at_ns);
                Ok(())
            }
            Self::Workers(workers) => workers.order(Order::Reconnect(at_ns)).await,
        }
    }

    /// Waits for the next interval of any process. Cancel safe.
    pub(crate) async fn next(&mut self) -> Result<Interval> {
        match self {
            Self::Here(crew) => Ok(crew.next().await),
            Self::Workers(workers) => loop {
                if let (_, Word::Interval(interval)) = workers.hear().await? {
                    return Ok(*interval);
                }
            },
        }
    }

    /// Ends all connections, and returns what they received.
    pub(crate) async fn end(&mut self) -> Result<Vec<Account>> {
        match self {
            Self::Here(crew) => crew.end().await,
            Self::Workers(workers) => workers.end().await,
        }
    }
}

impl Workers {
    /// Prepares `count` processes of the command line `arguments`.
    pub(crate) fn new(arguments: &[String], count: u16, run: u64) -> Self {
        let (tell, words) = mpsc::channel(WORDS_MAX);
        let command = arguments.iter().cloned().chain(["--run".into(), run.to_string()]).collect();
        let count = count.into();
        Self { command, count, workers: Vec::new(), words, tell, listening: JoinSet::new() }
    }

    async fn open(&mut self, progress: &Progress) -> Result<()> {
        for index in 0..self.count {
            self.start_worker(index)?;
        }
        let mut opened = vec![0; self.workers.len()];
        let mut ready = 0;
        while ready < self.workers.len() {
            match self.hear().await? {
                (worker, Word::Opened(connections)) => opened[worker] = u64::from(connections),
                (_, Word::Ready) => ready += 1,
                _ => {}
            }
            progress.at(opened.iter().sum());
        }
        Ok(())
    }

    fn start_worker(&mut self, index: usize) -> Result<()> {
        let program = std::env::current_exe().context("this program cannot be found again")?;
        let mut child = Command::new(program)
            .args(&self.command)
            .args(["--worker", &index.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("a worker cannot be started")?;
        let (orders, words) = child.stdin.take().zip(child.stdout.take()).context("a worker has no pipes")?;
        self.listening.spawn(listen(index, words, self.tell.clone()));
        self.workers.push(Worker { _child: child, orders });
        Ok(())
    }

    async fn order(&mut self, order: Order) -> Result<()> {
        let line = serde_json::to_string(&order)? + "\n";
        for (index, worker) in self.workers.iter_mut().enumerate() {
            worker
                .orders
                .write_all(line.as_bytes())
                .await
                .with_context(|| format!("worker {index} is gone"))?;
        }
        Ok(())
    }

    /// Waits for the next word of any worker. Cancel safe.
    async fn hear(&mut self) -> Result<(usize, Word)> {
        let (worker, word) = self.words.recv().await.context("the workers are gone")?;
        match word.with_context(|| format!("worker {worker}"))? {
            Word::Failed(error) => bail!("worker {worker}: {error}"),
            word => Ok((worker, word)),
        }
    }

    async fn end(&mut self) -> Result<Vec<Account>> {
        self.order(Order::Stop).await?;
        let (mut accounts, mut done) = (Vec::new(), 0);
        while done < self.workers.len() {
            match self.hear().await? {
                (_, Word::Account(account)) => accounts.push(*account),
                (_, Word::Done) => done += 1,
                _ => {}
            }
        }
        Ok(accounts)
    }
}

/// Hands on what a worker says, up to its last word.
async fn listen(index: usize, words: ChildStdout, tell: mpsc::Sender<(usize, Result<Word>)>) {
    let mut lines = BufReader::new(words).lines();
    loop {
        let word = match lines.next_line().await {
            Ok(Some(line)) => serde_json::from_str(&line).context("it said what cannot be understood"),
            Ok(None) => Err(anyhow::anyhow!("it ended before the run did")),
            Err(error) => Err(error.into()),
        };
        let last = matches!(word, Err(_) | Ok(Word::Done | Word::Failed(_)));
        if tell.send((index, word)).await.is_err() || last {
            return;
        }
    }
}
