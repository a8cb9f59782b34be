//! All connections of a run: opened at a rate, one task each, and counted at the end.

use std::{sync::Arc, time::Duration};

use anyhow::{Context as _, Result};
use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval, sleep},
};

use crate::{
    progress::Progress,
    subscribe::{Account, Subscriber, Subscribing},
};

/// How long nodes may take to know a topic that was just created.
const KNOWN_WITHIN: Duration = Duration::from_secs(15);

/// Between two questions whether they do.
const ASK_AGAIN: Duration = Duration::from_millis(200);

/// All connections of a run.
pub(crate) struct Fleet {
    subscribing: Arc<Subscribing>,
    accounts: JoinSet<Option<Account>>,
}

impl Fleet {
    pub(crate) fn new(subscribing: Arc<Subscribing>) -> Self {
        Self { subscribing, accounts: JoinSet::new() }
    }

    /// Waits until every node takes subscriptions to the topic.
    pub(crate) async fn await_topic(&self) -> Result<()> {
        let deadline = Instant::now() + KNOWN_WITHIN;
        for node in 0..self.subscribing.endpoints.len() {
            while let Err(error) = Subscriber::open(node, Arc::clone(&self.subscribing)).await {
                if Instant::now() > deadline {
                    return Err(error).context("the topic was created and is not served");
                }
                sleep(ASK_AGAIN).await;
            }
        }
        Ok(())
    }

    /// Opens all connections, so many per second, and waits until each has its subscriptions.
    pub(crate) async fn open(&mut self, rate: u32) -> Result<()> {
        let (opened, mut openings) = mpsc::channel(64);
        let progress = Progress::new("connecting", self.subscribing.connections as u64);
        let mut turns = interval(Duration::from_secs(1) / rate);
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

    /// Ends all connections, and returns what they received.
    pub(crate) async fn end(mut self) -> Result<Vec<Account>> {
        self.subscribing.stop.cancel();
        let mut accounts = Vec::with_capacity(self.accounts.len());
        while let Some(account) = self.accounts.join_next().await {
            accounts.extend(account.context("a connection's task failed")?);
        }
        Ok(accounts)
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
