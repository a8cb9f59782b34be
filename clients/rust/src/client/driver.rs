//! The task of a client: it owns the connection, and calls the plain code that knows the rules.
//!
//! It is always in one of three places: in a session, waiting before the next attempt, or attempting. In all three it takes
//! commands and hands over events, so that neither a dead node nor an idle application can block the other side. A session
//! whose node asks to be left makes the next connection itself, and ends with it in its hands.
//!
//! Invariant: nothing is read from a connection while events wait for room in the queue, so what waits here is at most one
//! message of a node.

mod meanwhile;

mod leave;

mod session;

mod next;

mod departing;

use std::{collections::VecDeque, future::Future, pin::Pin, sync::Arc, time::Duration};

use tailcast_proto::{Channel, push::v1::UnsubscribeReason};
use tokio::{
    sync::{mpsc, oneshot},
    time::sleep,
};

use self::{
    leave::{Leave, Left},
    next::{Next, Opening},
    session::{FAREWELL, Session},
};
use super::establish::{Established, establish};
use crate::{
    AlreadySubscribed, Backoff, Cause, Connection, Ended, Endpoint, Event, Moved, Options, Reconnected,
    Reconnecting, Resume, Subscription, Unsubscribed,
};

/// A command of the application.
#[derive(Debug)]
pub(crate) enum Command {
    /// Begin a subscription.
    Subscribe(Box<Subscription>, oneshot::Sender<Result<(), AlreadySubscribed>>),
    /// End one.
    Unsubscribe(Arc<Channel>),
    /// Close. The sender is dropped when that is done.
    Close(oneshot::Sender<()>),
}

/// The task of a client.
pub(crate) struct Driver {
    endpoints: Vec<Endpoint>,
    /// Which endpoint is next.
    turn: usize,
    options: Options,
    resume: Resume,
    backoff: Backoff,
    commands: mpsc::Receiver<Command>,
    events: mpsc::Sender<Event>,
    /// Events that found no room in the queue.
    outbox: VecDeque<Event>,
    /// The largest message that the last node took, in bytes.
    message_bytes_max: usize,
    /// The end of the connection before this one: its node's answer to the close frame is waited for beside everything else.
    farewell: Option<Farewell>,
    /// Dropped when the task ends, which answers `Close`.
    closing: Option<oneshot::Sender<()>>,
}

/// The closing of a connection that is not read any more.
type Farewell = Pin<Box<dyn Future<Output = ()> + Send>>;

/// How a client came to a node.
#[derive(Debug, Clone, Copy)]
enum Arrival {
    /// For the first time.
    First,
    /// After a while without a connection.
    Again,
    /// From another one, which it has left for this.
    Moved,
}

/// The application asked to close, or is gone.
#[derive(Debug)]
struct Asked;

impl Driver {
    pub(crate) fn new(
        endpoint: Endpoint,
        options: Options,
        resume: Resume,
        commands: mpsc::Receiver<Command>,
        events: mpsc::Sender<Event>,
    ) -> Self {
        let endpoints = [endpoint].into_iter().chain(options.other_endpoints.iter().cloned()).collect();
        let backoff = options.backoff();
        Self {
            endpoints,
            turn: 0,
            options,
            resume,
            backoff,
            commands,
            events,
            outbox: VecDeque::new(),
            message_bytes_max: usize::MAX,
            farewell: None,
            closing: None,
        }
    }

    /// Runs until the application closes the client, or a node says not to come back.
    pub(crate) async fn run(mut self, first: Established) {
        let mut at = Some((Arrival::First, first));
        let ended = loop {
            let left = match at.take() {
                Some((arrival, established)) => Box::pin(self.session(arrival, established)).await,
                None => match Box::pin(self.attempt()).await {
                    Ok(established) => {
                        at = Some((Arrival::Again, established));
                        continue;
                    }
                    Err(leave) => Left { leave, next: Next::None, wait: None },
                },
            };
            match Box::pin(self.go_on(left)).await {
                Ok(next) => at = next,
                Err(ended) => break ended,
            }
        };
        if let Some(farewell) = self.farewell.take() {
            farewell.await;
        }
        self.outbox.push_back(Event::Ended(ended));
        let _ = self.hand_over().await;
    }

    /// Stays with a node for as long as that lasts.
    async fn session(&mut self, arrival: Arrival, established: Established) -> Left {
        let (node, session) = (established.connected.node.clone(), established.connected.session.clone());
        match arrival {
            Arrival::First => {}
            Arrival::Again => self.emit(Event::Reconnected(Reconnected { node, session })),
            Arrival::Moved => self.emit(Event::Moved(Moved { node, session })),
        }
        for event in self.resume.take_over() {
            self.emit(event);
        }
        let limits = established.connected.limits.unwrap_or_default();
        self.message_bytes_max = match limits.message_bytes_max {
            0 => usize::MAX,
            bytes => usize::try_from(bytes).unwrap_or(usize::MAX),
        };
        Session::new(self, established).run().await
    }

    /// Goes on after a stay: with the connection that takes over, with one that is being opened, or after a wait with an
    /// attempt, for which there is `None`.
    async fn go_on(&mut self, left: Left) -> Result<Option<(Arrival, Established)>, Ended> {
        let Left { leave, next, mut wait } = left;
        let (cause, hint) = match (leave.decide(), next) {
            (Ok(_), Next::Joined(joined)) => return Ok(Some((Arrival::Moved, joined.established))),
            (Err(ended), Next::Joined(joined)) => {
                joined.established.connection.close(1000, "", FAREWELL).await;
                return Err(ended);
            }
            (Err(ended), _) => return Err(ended),
            (Ok((cause, _)), Next::Opening(opening)) => {
                let attempt = self.backoff.attempt();
                self.emit(Event::Reconnecting(Reconnecting { cause, attempt, after: Duration::ZERO }));
                match self.meanwhile(opening).await {
                    Ok(Ok(established)) => return Ok(Some((Arrival::Again, established))),
                    Ok(Err(error)) => {
                        // The wait before this attempt is over.
                        wait = None;
                        Leave::Failed(error).decide()?
                    }
                    Err(Asked) => return Err(Ended::Asked),
                }
            }
            (Ok(again), Next::None) => again,
        };
        // Whatever was wrong with this node, another one may not have it.
        self.turn = self.turn.wrapping_add(1);
        let after = wait.unwrap_or_else(|| self.draw(hint));
        self.pause(cause, after).await.map_err(|Asked| Ended::Asked)?;
        Ok(None)
    }

    /// Waits before the next attempt, and until the application has taken what there is: attempts that nobody looks at
    /// must not pile up.
    async fn pause(&mut self, cause: Cause, after: Duration) -> Result<(), Asked> {
        let attempt = self.backoff.attempt();
        tracing::debug!(%cause, attempt, ?after, "reconnecting");
        self.emit(Event::Reconnecting(Reconnecting { cause, attempt, after }));
        self.meanwhile(sleep(after)).await?;
        self.hand_over().await
    }

    /// Draws how long to wait before the next attempt, and counts it.
    fn draw(&mut self, hint: Option<Duration>) -> Duration {
        self.backoff.next(hint, fastrand::f64())
    }

    /// Begins to open the connection that is to take over from the one in use, with the endpoint after that.
    fn open_next(&mut self) -> Opening {
        self.turn = self.turn.wrapping_add(1);
        let messages = self.resume.prepare(self.options.connect(), self.message_bytes_max);
        let (endpoint, options) = (self.endpoint(), self.options.connection.clone());
        Box::pin(async move { establish(&endpoint, &options, messages).await })
    }

    /// Closes a connection that is not read any more, beside everything else.
    fn part(&mut self, connection: Connection, code: u16, reason: &'static str) {
        self.farewell = Some(Box::pin(async move { connection.close(code, reason, FAREWELL).await }));
    }

    fn endpoint(&self) -> Endpoint {
        self.endpoints[self.turn % self.endpoints.len()].clone()
    }

    /// Tries to open a session with the endpoint whose turn it is.
    async fn attempt(&mut self) -> Result<Established, Leave> {
        for (channel, position) in self.resume.take_leaving() {
            let reason = UnsubscribeReason::Requested;
            self.emit(Event::Unsubscribed(Unsubscribed { channel, reason, position }));
        }
        let endpoint = self.endpoint();
        let messages = self.resume.connect(self.options.connect(), self.message_bytes_max);
        let options = self.options.connection.clone();
        let opened = self.meanwhile(establish(&endpoint, &options, messages)).await;
        match opened {
            Ok(Ok(established)) => Ok(established),
            Ok(Err(error)) => Err(Leave::Failed(error)),
            Err(Asked) => Err(Leave::Asked),
        }
    }
}
