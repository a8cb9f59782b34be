//! One connection: subscribes to its channels, receives, judges what it received, and resumes where it left off, as a good
//! client does; or as a bad one, when it is asked to stop reading.
//!
//! Invariant: what was judged has moved the position, and nothing else has. So whatever ends a session, the next one asks for
//! what is missing and for nothing twice, and a repetition is the node's.

mod agenda;

mod channel;

mod frames;

mod shared;

use std::{future::pending, sync::Arc, time::Duration};

use anyhow::{Context as _, Result};
use tailcast_client::{Backoff, Verdict};
use tailcast_proto::push::v1::{ClientMessage, Connect, client_message::Command};
use tokio::time::{sleep, sleep_until, timeout};

pub(crate) use self::shared::Shared;
use self::{
    agenda::{Agenda, Step},
    channel::Channel,
};
use crate::{
    account::{Account, Findings},
    link::{Link, LinkError},
};

/// How long a node may take to open a session with its subscriptions.
const PATIENCE: Duration = Duration::from_secs(30);

/// The waits of a client that comes back: those of the Rust client.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(20));

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
    turn: usize,
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
    /// It has what it missed.
    Over,
}

/// Why a session ended, or did not come about.
#[derive(Debug, thiserror::Error)]
enum Leave {
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
    NotNow {
        /// Why.
        detail: String,
        /// When it may.
        after: Duration,
    },
    /// The node will not serve a subscription.
    #[error("{0}")]
    Refused(String),
    /// The node did not answer.
    #[error("the session was not open after {} s", PATIENCE.as_secs())]
    Silent,
}

impl Reader {
    /// Opens a connection, and waits until each of its subscriptions has started.
    ///
    /// # Errors
    ///
    /// When that fails: at the beginning of a run nothing is tried twice.
    pub(crate) async fn open(number: u32, shared: Arc<Shared>) -> Result<(Self, Link)> {
        let mut reader = Self::new(number, shared)?;
        let link = Box::pin(reader.connect()).await.with_context(|| format!("connection {number}"))?;
        Ok((reader, link))
    }

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
            turn: number as usize,
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
            channels: self.channels.into_iter().map(|channel| channel.arrived).collect(),
            findings: self.findings,
            ended,
        }
    }

    /// Goes from session to session. Returns why there can be no other.
    async fn live(&mut self, mut link: Link) -> String {
        loop {
            let leave = self.session(&mut link).await;
            let next = match leave {
                Leave::Goaway(after) => self.move_on(link, after).await,
                leave => {
                    drop(link);
                    Err(leave)
                }
            };
            link = match next {
                Ok(link) => link,
                Err(leave) => match self.come_back(leave).await {
                    Ok(link) => link,
                    Err(ended) => return ended,
                },
            };
            self.findings.resumes += 1;
        }
    }

    /// Receives until the session ends, and does not where the agenda says so.
    async fn session(&mut self, link: &mut Link) -> Leave {
        loop {
            let due = self.agenda.due(Arc::clone(&self.shared));
            let step = tokio::select! {
                biased;
                step = due => step,
                leave = self.receive(link) => return leave,
            };
            self.agenda.take(step);
            match step {
                Step::FallSilent(until) => sleep_until(self.shared.moment(until)).await,
                Step::Drop => return Leave::Dropped,
            }
        }
    }

    async fn receive(&mut self, link: &mut Link) -> Leave {
        loop {
            if let Err(leave) = self.receive_one(link).await {
                return leave;
            }
        }
    }

    async fn receive_one(&mut self, link: &mut Link) -> Result<(), Leave> {
        let (message, bytes) = link.receive().await?;
        let again = self.observe(&message, bytes)?;
        for at in again {
            link.send(&self.channels[at].again(at)).await?;
        }
        Ok(())
    }

    /// Goes to the next node, still receiving from this one until the other is open.
    async fn move_on(&mut self, link: Link, after: Duration) -> Result<Link, Leave> {
        let (shared, number, turn) = (Arc::clone(&self.shared), self.number, self.turn + 1);
        let mut opening = Box::pin(async move {
            sleep(after).await;
            Link::open(shared.endpoint(turn), shared.options(number, turn)).await
        });
        let mut old = Some(link);
        loop {
            tokio::select! {
                opened = &mut opening => {
                    self.turn = turn;
                    self.findings.moves += u64::from(old.is_some());
                    if let Some(old) = old {
                        old.leave().await;
                    }
                    return self.begin(opened?).await;
                }
                leave = self.receive_from(&mut old), if old.is_some() => {
                    // A second Goaway says nothing new; anything else is the end of the old session.
                    if let Leave::Link(error) = leave {
                        self.count(&error);
                        old = None;
                    }
                }
            }
        }
    }

    async fn receive_from(&mut self, link: &mut Option<Link>) -> Leave {
        match link {
            Some(link) => self.receive(link).await,
            None => pending().await,
        }
    }

    /// Opens the next session, however often that has to be tried. Returns why it makes no sense to try.
    async fn come_back(&mut self, mut leave: Leave) -> Result<Link, String> {
        let mut backoff = Backoff::new(BACKOFF.0, BACKOFF.1);
        loop {
            match &leave {
                Leave::Dropped => self.await_storm_end().await,
                Leave::Refused(_) => return Err(leave.to_string()),
                Leave::Link(LinkError::Closed(close)) if close.verdict() == Verdict::End => {
                    self.count(&LinkError::Closed(close.clone()));
                    return Err(leave.to_string());
                }
                Leave::Link(LinkError::Malformed(_)) => return Err(leave.to_string()),
                Leave::Link(error) => {
                    self.count(error);
                    self.turn += 1;
                    sleep(backoff.next(error.retry_after(), fastrand::f64())).await;
                }
                Leave::Goaway(_) | Leave::NotNow { .. } | Leave::Silent => {
                    self.turn += 1;
                    let hint = if let Leave::NotNow { after, .. } = leave { Some(after) } else { None };
                    sleep(backoff.next(hint, fastrand::f64())).await;
                }
            }
            leave = match Box::pin(self.connect()).await {
                Ok(link) => return Ok(link),
                Err(leave) => leave,
            };
            self.findings.failed_attempts += 1;
        }
    }

    async fn connect(&mut self) -> Result<Link, Leave> {
        let (shared, turn) = (Arc::clone(&self.shared), self.turn);
        let opening = Link::open(shared.endpoint(turn), shared.options(self.number, turn));
        let link = timeout(PATIENCE, Box::pin(opening)).await.map_err(|_| Leave::Silent)??;
        self.begin(link).await
    }

    /// Opens the session on a link, and waits until each subscription has started.
    async fn begin(&mut self, mut link: Link) -> Result<Link, Leave> {
        let beginning = async {
            self.aliases.clear();
            for channel in &mut self.channels {
                channel.alias = None;
            }
            let connect = Connect {
                client_name: env!("CARGO_PKG_NAME").into(),
                client_version: env!("CARGO_PKG_VERSION").into(),
                subscriptions: self.channels.iter().map(Channel::subscribe).collect(),
                ..Connect::default()
            };
            link.send(&ClientMessage { id: 1, command: Some(Command::Connect(connect)) }).await?;
            while self.aliases.len() < self.channels.len() {
                self.receive_one(&mut link).await?;
            }
            Ok::<_, Leave>(link)
        };
        let link = timeout(PATIENCE, Box::pin(beginning)).await.map_err(|_| Leave::Silent)??;
        self.resumed();
        Ok(link)
    }

    fn count(&mut self, error: &LinkError) {
        if let Some(code) = error.code() {
            *self.findings.closes.entry(code).or_default() += 1;
        }
    }

    /// Waits until all may come back.
    async fn await_storm_end(&mut self) {
        self.storm = Stage::Away;
        let mut end = self.shared.signals.reconnect.subscribe();
        let Ok(Some(at_ns)) = end.wait_for(Option::is_some).await.map(|at_ns| *at_ns) else { return };
        sleep_until(self.shared.moment(Duration::from_nanos(at_ns))).await;
        self.storm = Stage::Back(self.shared.due_by(self.number, at_ns));
    }

    /// Takes that the subscriptions are there again.
    fn resumed(&mut self) {
        if let Stage::Back(target) = self.storm {
            let behind = target.saturating_sub(self.accounted);
            self.shared.traffic.storm().resume(self.shared.now_ns(), behind);
            self.caught_up();
        }
    }

    /// Notes when the connection has what it missed.
    fn caught_up(&mut self) {
        if matches!(self.storm, Stage::Back(target) if self.accounted >= target) {
            self.storm = Stage::Over;
            self.shared.traffic.storm().catch_up(self.shared.now_ns());
        }
    }
}

#[cfg(test)]
mod tests;
