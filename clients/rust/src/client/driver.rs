//! The task of a client: it owns the connection, and calls the plain code that has the rules.
//!
//! It is always in one of three states: in a session, waiting before the next attempt, or
//! connecting. In all three it receives commands and delivers events, so that neither a dead node
//! nor an idle application can block the other side. A session whose node drains opens the next
//! connection itself, and hands it over when it ends.
//!
//! Invariant: nothing is read from a connection while events wait for room in the queue, so the
//! outbox has at most the events of one message.

mod application;

mod end;

mod session;

mod next;

mod depart;

use std::{collections::VecDeque, future::Future, pin::Pin, sync::Arc, time::Duration};

use tailcast_proto::{Channel, push::v1::UnsubscribeReason};
use tokio::{
    sync::{mpsc, oneshot},
    time::sleep,
};

use self::{
    end::{EndReason, SessionEnd},
    next::{Next, Opening},
    session::{CLOSE_TIMEOUT, Session},
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
    /// Close. The sender is dropped when the connection is closed.
    Close(oneshot::Sender<()>),
}

/// The task of a client.
pub(crate) struct Driver {
    endpoints: Vec<Endpoint>,
    /// The index of the next endpoint.
    turn: usize,
    options: Options,
    resume: Resume,
    backoff: Backoff,
    commands: mpsc::Receiver<Command>,
    events: mpsc::Sender<Event>,
    /// Events that did not fit into the queue.
    outbox: VecDeque<Event>,
    /// The message size limit of the last node, in bytes.
    message_bytes_max: usize,
    /// The closing handshake of the previous connection, which runs beside everything else.
    closing: Option<Closing>,
    /// Answers `Close` when it is dropped, at the end of the task.
    close_answer: Option<oneshot::Sender<()>>,
}

/// The closing handshake of a connection.
type Closing = Pin<Box<dyn Future<Output = ()> + Send>>;

/// How a session began.
#[derive(Debug, Clone, Copy)]
enum Via {
    /// As the first one.
    First,
    /// After a time without a connection.
    Reconnect,
    /// While the previous connection was still open.
    Move,
}

/// The application closed or dropped the client.
#[derive(Debug)]
struct CloseRequested;

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
            closing: None,
            close_answer: None,
        }
    }

    /// Runs until the application closes the client, or a node rejects it for good.
    pub(crate) async fn run(mut self, first: Established) {
        let mut at = Some((Via::First, first));
        let ended = loop {
            let end = match at.take() {
                Some((via, established)) => Box::pin(self.session(via, established)).await,
                None => match Box::pin(self.attempt()).await {
                    Ok(established) => {
                        at = Some((Via::Reconnect, established));
                        continue;
                    }
                    Err(reason) => SessionEnd { reason, next: Next::None, wait: None },
                },
            };
            match Box::pin(self.after_session(end)).await {
                Ok(next) => at = next,
                Err(ended) => break ended,
            }
        };
        if let Some(closing) = self.closing.take() {
            closing.await;
        }
        self.outbox.push_back(Event::Ended(ended));
        let _ = self.flush_events().await;
    }

    /// Runs a session to its end.
    async fn session(&mut self, via: Via, established: Established) -> SessionEnd {
        let (node, session) = (established.connected.node.clone(), established.connected.session.clone());
        match via {
            Via::First => {}
            Via::Reconnect => self.emit(Event::Reconnected(Reconnected { node, session })),
            Via::Move => self.emit(Event::Moved(Moved { node, session })),
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

    /// Continues after a session: with the connection that takes over, with the one that is being
    /// opened, or after a wait, for which it returns `None`.
    async fn after_session(&mut self, end: SessionEnd) -> Result<Option<(Via, Established)>, Ended> {
        let SessionEnd { reason, next, mut wait } = end;
        let (cause, hint) = match (reason.decide(), next) {
            (Ok(_), Next::Live(live)) => return Ok(Some((Via::Move, live.established))),
            (Err(ended), Next::Live(live)) => {
                live.established.connection.close(1000, "", CLOSE_TIMEOUT).await;
                return Err(ended);
            }
            (Err(ended), _) => return Err(ended),
            (Ok((cause, _)), Next::Opening(opening)) => {
                let attempt = self.backoff.attempt();
                self.emit(Event::Reconnecting(Reconnecting { cause, attempt, after: Duration::ZERO }));
                match self.serve_until(opening).await {
                    Ok(Ok(established)) => return Ok(Some((Via::Reconnect, established))),
                    Ok(Err(error)) => {
                        // The wait before this attempt is over.
                        wait = None;
                        EndReason::Failed(error).decide()?
                    }
                    Err(CloseRequested) => return Err(Ended::Requested),
                }
            }
            (Ok(again), Next::None) => again,
        };
        // Another node may not have the problem of this one.
        self.turn = self.turn.wrapping_add(1);
        let after = wait.unwrap_or_else(|| self.next_wait(hint));
        self.pause(cause, after).await.map_err(|CloseRequested| Ended::Requested)?;
        Ok(None)
    }

    /// Waits before the next attempt, and until the application has taken all events, so that
    /// events about attempts cannot accumulate.
    async fn pause(&mut self, cause: Cause, after: Duration) -> Result<(), CloseRequested> {
        let attempt = self.backoff.attempt();
        tracing::debug!(%cause, attempt, ?after, "reconnecting");
        self.emit(Event::Reconnecting(Reconnecting { cause, attempt, after }));
        self.serve_until(sleep(after)).await?;
        self.flush_events().await
    }

    /// Returns a random wait before the next attempt, and counts the attempt.
    fn next_wait(&mut self, hint: Option<Duration>) -> Duration {
        self.backoff.next(hint, fastrand::f64())
    }

    /// Starts to open the connection that takes over from the current one, at the next endpoint.
    fn open_next(&mut self) -> Opening {
        self.turn = self.turn.wrapping_add(1);
        let messages = self.resume.prepare(self.options.connect(), self.message_bytes_max);
        let (endpoint, options) = (self.endpoint(), self.options.connection.clone());
        Box::pin(async move { establish(&endpoint, &options, messages).await })
    }

    /// Closes a connection in the background.
    fn close_in_background(&mut self, connection: Connection, code: u16, reason: &'static str) {
        self.closing = Some(Box::pin(async move { connection.close(code, reason, CLOSE_TIMEOUT).await }));
    }

    fn endpoint(&self) -> Endpoint {
        self.endpoints[self.turn % self.endpoints.len()].clone()
    }

    /// Tries to open a session at the current endpoint.
    async fn attempt(&mut self) -> Result<Established, EndReason> {
        for (channel, position) in self.resume.take_unsubscribing() {
            let reason = UnsubscribeReason::Requested;
            self.emit(Event::Unsubscribed(Unsubscribed { channel, reason, position }));
        }
        let endpoint = self.endpoint();
        let messages = self.resume.connect(self.options.connect(), self.message_bytes_max);
        let options = self.options.connection.clone();
        let opened = self.serve_until(establish(&endpoint, &options, messages)).await;
        match opened {
            Ok(Ok(established)) => Ok(established),
            Ok(Err(error)) => Err(EndReason::Failed(error)),
            Err(CloseRequested) => Err(EndReason::CloseRequested),
        }
    }
}
