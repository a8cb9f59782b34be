//! One connection: subscribes to its channels, receives, verifies, and resumes where it left off,
//! as a well-behaved client does, or as a slow one if configured.
//!
//! Invariant: only verified records move the position. So whatever ends a session, the next one
//! asks for exactly the missing records, and a repetition is the node's fault.

mod agenda;

mod channel;

mod frames;

mod opening;

mod reconnecting;

mod shared;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Result;
use tailcast_client::Liveness;
use tokio::time::{Instant as Moment, sleep, sleep_until, timeout_at};

pub(crate) use self::shared::Shared;
use self::{
    agenda::{Action, Agenda},
    channel::Channel,
};
use crate::{
    account::{Account, Findings},
    link::{Link, LinkError},
};

/// How long a node may take to open a session with its subscriptions.
const TIMEOUT: Duration = Duration::from_secs(30);

/// One connection of the run, over all its sessions.
pub(crate) struct Reader {
    number: u32,
    shared: Arc<Shared>,
    slow: bool,
    agenda: Agenda,
    channels: Vec<Channel>,
    /// The channels of this session's aliases, sorted by alias.
    aliases: Vec<(u32, usize)>,
    /// The index of the endpoint of the current or last session.
    node: usize,
    /// Whether the node of this session is still alive.
    liveness: Liveness,
    findings: Findings,
    /// Records delivered or reported as skipped.
    accounted: u64,
    storm: Stage,
}

/// The progress of a connection in the reconnect storm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// It has not been dropped.
    Before,
    /// It is away, and reconnects at an announced time.
    Away,
    /// It reconnects; it has caught up once this many records are accounted for.
    Back(u64),
    /// It has caught up, at this time after the start, in nanoseconds.
    Over(u64),
}

/// Why a session ended, or could not be opened.
#[derive(Debug, thiserror::Error)]
enum SessionEnd {
    /// The link failed.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The node asks to reconnect after this time.
    #[error("the node asked to reconnect elsewhere")]
    Goaway(Duration),
    /// The storm dropped it.
    #[error("dropped")]
    Dropped,
    /// The node cannot serve a subscription at the moment.
    #[error("{detail}")]
    Unavailable {
        detail: String,
        /// When to retry.
        after: Duration,
    },
    /// The node rejects a subscription.
    #[error("{0}")]
    Refused(String),
    /// The node did not open the session in time.
    #[error("the session was not open after {} s", TIMEOUT.as_secs())]
    Unanswered,
    /// The node has been silent for two and a half heartbeat intervals.
    #[error("the node was silent for two and a half heartbeat intervals")]
    Silent,
}

impl Reader {
    fn new(number: u32, shared: Arc<Shared>) -> Result<Self> {
        let keys = shared.layout.channels_of(number).into_iter();
        let channels = keys.map(|keys| Channel::new(&shared, keys)).collect::<Result<_>>()?;
        let slow = shared.slow.as_ref().is_some_and(|slow| slow.has(number));
        Ok(Self {
            number,
            slow,
            agenda: Agenda::new(&shared, slow),
            channels,
            aliases: Vec::new(),
            node: number as usize,
            liveness: Liveness::new(TIMEOUT, Instant::now()),
            findings: Findings::default(),
            accounted: 0,
            storm: Stage::Before,
            shared,
        })
    }

    /// Receives until the end of the run, or until the connection cannot continue.
    pub(crate) async fn run(mut self, link: Link) -> Account {
        let stop = self.shared.signals.stop.clone();
        let ended = stop.run_until_cancelled(Box::pin(self.live(link))).await;
        Account {
            slow: self.slow,
            channels: self.channels.into_iter().map(|channel| channel.received).collect(),
            findings: self.findings,
            ended,
        }
    }

    /// Runs one session after the other. Returns why there can be no more.
    async fn live(&mut self, mut link: Link) -> String {
        loop {
            let end = self.session(&mut link).await;
            let next = match end {
                SessionEnd::Goaway(after) => self.move_to_next_node(link, after).await,
                end => {
                    drop(link);
                    Err(end)
                }
            };
            link = match next {
                Ok(link) => link,
                Err(end) => match self.reconnect(end).await {
                    Ok(link) => link,
                    Err(ended) => return ended,
                },
            };
            self.findings.resumes += 1;
        }
    }

    /// Receives until the session ends, and performs scheduled faults.
    async fn session(&mut self, link: &mut Link) -> SessionEnd {
        loop {
            let due = self.agenda.due(Arc::clone(&self.shared));
            let deadline = Moment::from_std(self.liveness.deadline());
            let step = tokio::select! {
                biased;
                step = due => Some(step),
                // Not moved by every message: when it passes, `is_dead` decides.
                () = sleep_until(deadline) => None,
                end = self.receive(link) => return end,
            };
            match step {
                Some(Action::StopReading(until)) => {
                    if let Err(end) = self.stop_reading(link, until).await {
                        return end;
                    }
                }
                Some(Action::Drop) => {
                    self.agenda.take(Action::Drop);
                    return SessionEnd::Dropped;
                }
                None if self.liveness.is_dead(Instant::now()) => {
                    self.findings.silences += 1;
                    return SessionEnd::Silent;
                }
                None => {}
            }
        }
    }

    /// Does not read until then, or reads slowly. A session that ends meanwhile is followed by one
    /// that does the same.
    async fn stop_reading(&mut self, link: &mut Link, until: Duration) -> Result<(), SessionEnd> {
        let moment = self.shared.moment(until);
        if let Some(pause) = self.shared.slow.as_ref().and_then(|slow| slow.pause) {
            while Moment::now() < moment {
                if let Ok(received) = timeout_at(moment, self.receive_one(link)).await {
                    received?;
                }
                sleep(pause).await;
            }
        }
        sleep_until(moment).await;
        self.liveness.heard(Instant::now());
        self.agenda.take(Action::StopReading(until));
        Ok(())
    }

    async fn receive(&mut self, link: &mut Link) -> SessionEnd {
        loop {
            if let Err(end) = self.receive_one(link).await {
                return end;
            }
        }
    }

    async fn receive_one(&mut self, link: &mut Link) -> Result<(), SessionEnd> {
        let (message, bytes) = link.receive().await?;
        self.liveness.heard(Instant::now());
        let again = self.observe(&message, bytes)?;
        for at in again {
            link.send(&self.channels[at].resubscribe(at)).await?;
        }
        Ok(())
    }

    fn count(&mut self, error: &LinkError) {
        if let Some(code) = error.code() {
            *self.findings.closes.entry(code).or_default() += 1;
        }
    }

    /// Records that the connection has caught up.
    fn caught_up(&mut self) {
        if matches!(self.storm, Stage::Back(target) if self.accounted >= target) {
            let now_ns = self.shared.now_ns();
            self.storm = Stage::Over(now_ns);
            self.shared.traffic.storm().catch_up(now_ns);
        }
    }
}

#[cfg(test)]
mod tests;
