//! One connection: subscribes to its channels, receives, judges what it received, and resumes where it left off, as a good
//! client does; or as a bad one, when it is asked to stop reading.
//!
//! Invariant: what was judged has moved the position, and nothing else has. So whatever ends a session, the next one asks for
//! what is missing and for nothing twice, and a repetition is the node's.

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
    /// Which channel an alias of this session means, in order of the aliases.
    aliases: Vec<(u32, usize)>,
    /// Which endpoint this session is, or was, at.
    node: usize,
    /// Whether the node of this session is still there.
    liveness: Liveness,
    findings: Findings,
    /// Records that came or were said to be skipped.
    accounted: u64,
    storm: Stage,
}

/// How far a connection is with the reconnect storm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// It has not been dropped.
    Before,
    /// It is away, and comes back when this moment (in nanoseconds after the start) is known.
    Away,
    /// It comes back, and has all that was due by then at so many records.
    Back(u64),
    /// It has what it missed, since this time after the start, in nanoseconds.
    Over(u64),
}

/// Why a session ended, or did not come about.
#[derive(Debug, thiserror::Error)]
enum SessionEnd {
    /// The link did not last.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The node says to come back, and when.
    #[error("the node asked to reconnect elsewhere")]
    Goaway(Duration),
    /// The storm drops it.
    #[error("dropped")]
    Dropped,
    /// The node cannot serve a subscription for now.
    #[error("{detail}")]
    Unavailable {
        /// Why.
        detail: String,
        /// When it may.
        after: Duration,
    },
    /// The node will not serve a subscription.
    #[error("{0}")]
    Refused(String),
    /// The node did not open the session in time.
    #[error("the session was not open after {} s", TIMEOUT.as_secs())]
    Unanswered,
    /// The node has been silent for longer than two heartbeats.
    #[error("the node was silent for longer than two heartbeats")]
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

    /// Receives until the run is over, or the connection cannot go on.
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

    /// Goes from session to session. Returns why there can be no other.
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

    /// Receives until the session ends, and does not where the agenda says so.
    async fn session(&mut self, link: &mut Link) -> SessionEnd {
        loop {
            let due = self.agenda.due(Arc::clone(&self.shared));
            let deadline = Moment::from_std(self.liveness.deadline());
            let step = tokio::select! {
                biased;
                step = due => Some(step),
                // Not moved by every message: when it passes, it is looked at what was heard meanwhile.
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

    /// Does not read until then, or reads slowly. A session that ends meanwhile is followed by one that does the same.
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

    /// Notes when the connection has what it missed.
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
