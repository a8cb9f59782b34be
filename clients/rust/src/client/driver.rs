//! The task of a client: it owns the connection, and calls the plain code that knows the rules.
//!
//! It is always in one of three places: in a session, waiting before the next attempt, or attempting. In all three it takes
//! commands and hands over events, so that neither a dead node nor an idle application can block the other side.
//!
//! Invariant: nothing is read from the connection while events wait for room in the queue, so what waits here is at most one
//! message of the node.

mod session;

use std::{collections::VecDeque, future::Future, sync::Arc, time::Duration};

use tailcast_proto::{Channel, push::v1::UnsubscribeReason};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep},
};

use self::session::{Leave, Session};
use super::establish::{ConnectError, Established, establish};
use crate::{
    AlreadySubscribed, Backoff, Cause, Ended, Endpoint, Event, Options, Reconnected, Reconnecting, Resume,
    Subscription, Unsubscribed, Verdict,
};

/// What an application asks of its client.
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
    /// Dropped when the task ends, which answers `Close`.
    closing: Option<oneshot::Sender<()>>,
}

/// The application asked to close, or is gone.
#[derive(Debug)]
struct Asked;

/// What came first while something was awaited.
enum Turn<T> {
    Command(Option<Command>),
    /// An event was handed over.
    Given,
    Done(T),
}

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
        }
    }

    /// Runs until the application closes the client, or a node says not to come back.
    pub(crate) async fn run(mut self, first: Established) {
        let mut established = Some(first);
        let ended = loop {
            let leave = match established.take() {
                Some(established) => Box::pin(self.session(established)).await,
                None => match Box::pin(self.attempt()).await {
                    Ok(next) => {
                        established = Some(next);
                        continue;
                    }
                    Err(leave) => leave,
                },
            };
            let (cause, after) = match self.decide(leave) {
                Ok(again) => again,
                Err(ended) => break ended,
            };
            // Whatever was wrong with this node, another one may not have it.
            self.turn = self.turn.wrapping_add(1);
            let waited = self.pause(cause, after);
            if let Err(Asked) = Box::pin(waited).await {
                break Ended::Asked;
            }
        };
        self.outbox.push_back(Event::Ended(ended));
        let _ = self.hand_over().await;
    }

    /// Stays with a node for as long as that lasts.
    async fn session(&mut self, established: Established) -> Leave {
        let begun = Instant::now();
        if self.backoff.attempt() > 0 {
            let connected = &established.connected;
            self.emit(Event::Reconnected(Reconnected {
                node: connected.node.clone(),
                session: connected.session.clone(),
            }));
        }
        let limits = established.connected.limits.unwrap_or_default();
        self.message_bytes_max = match limits.message_bytes_max {
            0 => usize::MAX,
            bytes => usize::try_from(bytes).unwrap_or(usize::MAX),
        };
        let leave = Session::new(self, established).run().await;
        self.backoff.lasted(begun.elapsed());
        leave
    }

    /// Decides between another attempt (why, and when if the node said) and the end.
    fn decide(&self, leave: Leave) -> Result<(Cause, Option<Duration>), Ended> {
        match leave {
            Leave::Asked => Err(Ended::Asked),
            Leave::Closed(close, after) => match close.verdict() {
                Verdict::Resume => Ok((Cause::Closed(close), after)),
                Verdict::End => Err(Ended::Closed(close)),
            },
            Leave::Lost(error, after) => Ok((Cause::Lost(error), after)),
            Leave::Silent => Ok((Cause::Silent, None)),
            Leave::Goaway { detail, after } => Ok((Cause::Goaway(detail), Some(after))),
            Leave::Fault(fault) => Ok((Cause::Fault(fault), None)),
            Leave::Failed(ConnectError::Closed { close, .. }) if close.verdict() == Verdict::End => {
                Err(Ended::Closed(close))
            }
            Leave::Failed(error) if !error.is_temporary() => Err(Ended::Refused(error.to_string())),
            Leave::Failed(error) => {
                let after = if let ConnectError::Open(error) = &error { error.retry_after() } else { None };
                Ok((Cause::Lost(error.to_string()), after))
            }
        }
    }

    /// Waits before the next attempt, and until the application has taken what there is: attempts that nobody looks at
    /// must not pile up.
    async fn pause(&mut self, cause: Cause, after: Option<Duration>) -> Result<(), Asked> {
        let after = self.backoff.next(after, fastrand::f64());
        let attempt = self.backoff.attempt();
        tracing::debug!(%cause, attempt, ?after, "reconnecting");
        self.emit(Event::Reconnecting(Reconnecting { cause, attempt, after }));
        self.meanwhile(sleep(after)).await?;
        self.hand_over().await
    }

    /// Tries to open a session with the endpoint whose turn it is.
    async fn attempt(&mut self) -> Result<Established, Leave> {
        for (channel, position) in self.resume.take_leaving() {
            let reason = UnsubscribeReason::Requested;
            self.emit(Event::Unsubscribed(Unsubscribed { channel, reason, position }));
        }
        let endpoint = self.endpoints[self.turn % self.endpoints.len()].clone();
        let messages = self.resume.connect(self.options.connect(), self.message_bytes_max);
        let options = self.options.connection.clone();
        let opened = self.meanwhile(establish(&endpoint, &options, messages)).await;
        match opened {
            Ok(Ok(established)) => Ok(established),
            Ok(Err(error)) => Err(Leave::Failed(error)),
            Err(Asked) => Err(Leave::Asked),
        }
    }

    /// Runs a future to its end, taking commands and handing over events the while.
    async fn meanwhile<T>(&mut self, future: impl Future<Output = T>) -> Result<T, Asked> {
        let mut future = Box::pin(future);
        loop {
            let turn = tokio::select! {
                biased;
                command = self.commands.recv() => Turn::Command(command),
                permit = self.events.reserve(), if !self.outbox.is_empty() => {
                    give(permit, &mut self.outbox)?;
                    Turn::Given
                }
                output = &mut future => Turn::Done(output),
            };
            match turn {
                Turn::Command(command) => self.take(command)?,
                Turn::Given => {}
                Turn::Done(output) => return Ok(output),
            }
        }
    }

    /// Hands over all that waits, taking commands the while.
    async fn hand_over(&mut self) -> Result<(), Asked> {
        while !self.outbox.is_empty() {
            let command = tokio::select! {
                biased;
                permit = self.events.reserve() => {
                    give(permit, &mut self.outbox)?;
                    continue;
                }
                command = self.commands.recv() => command,
            };
            self.take(command)?;
        }
        Ok(())
    }

    /// Takes a command. What it means for a node is left to [`Resume`], which is asked when there is a connection.
    fn take(&mut self, command: Option<Command>) -> Result<(), Asked> {
        match command {
            Some(Command::Subscribe(subscription, answer)) => {
                // An application that no longer waits for the answer subscribed all the same.
                let _ = answer.send(self.resume.add(*subscription));
                Ok(())
            }
            Some(Command::Unsubscribe(channel)) => {
                self.resume.unsubscribe(&channel);
                Ok(())
            }
            Some(Command::Close(answer)) => {
                self.closing = Some(answer);
                Err(Asked)
            }
            None => Err(Asked),
        }
    }

    /// Gives an event to the application, or keeps it until there is room.
    fn emit(&mut self, event: Event) {
        if self.outbox.is_empty() {
            match self.events.try_send(event) {
                Ok(()) => {}
                Err(mpsc::error::TrySendError::Full(event)) => self.outbox.push_back(event),
                // The application is gone; the command queue says so too.
                Err(mpsc::error::TrySendError::Closed(_)) => {}
            }
        } else {
            self.outbox.push_back(event);
        }
    }
}

/// Gives the oldest event that waits to the application.
fn give(
    room: Result<mpsc::Permit<'_, Event>, mpsc::error::SendError<()>>,
    outbox: &mut VecDeque<Event>,
) -> Result<(), Asked> {
    let room = room.map_err(|_| Asked)?;
    if let Some(event) = outbox.pop_front() {
        room.send(event);
    }
    Ok(())
}
