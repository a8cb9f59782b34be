//! A client that stays subscribed: it reconnects by itself and resumes every subscription at its
//! position.
//!
//! One task per client owns the connection. The application sends it commands and receives events;
//! both queues are bounded. If the application receives no events, the task stops reading and the
//! node stops sending: only the lag grows.

mod establish;

mod driver;

use std::sync::Arc;

use tailcast_proto::{Channel, Position};
use tokio::sync::{mpsc, oneshot};

pub use self::establish::ConnectError;
use self::{
    driver::{Command, Driver},
    establish::establish,
};
use crate::{AlreadySubscribed, Endpoint, Event, Options, Positions, Resume, Subscription};

/// Capacity of the command queue: more than an application sends at once, as each command is
/// awaited.
const COMMANDS_MAX: usize = 64;

/// A client that stays subscribed. Dropping it closes the connection in the background;
/// [`Client::close`] waits for that.
#[derive(Debug)]
pub struct Client {
    commands: mpsc::Sender<Command>,
    events: mpsc::Receiver<Event>,
    positions: Positions,
}

/// Why a subscription was not added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SubscribeError {
    /// The client is already subscribed to this channel.
    #[error(transparent)]
    AlreadySubscribed(#[from] AlreadySubscribed),
    /// The client has ended; its last event has the reason.
    #[error("the client has ended")]
    Ended,
}

impl Client {
    /// Connects to a node, and then stays connected to it or to one of the other endpoints of the
    /// options.
    ///
    /// Must be called within a tokio runtime. Cancel safe: a dropped attempt leaves nothing behind.
    ///
    /// # Errors
    ///
    /// When this first attempt fails, even if a later one could succeed, so that an application
    /// learns at its start that no node answers.
    pub async fn connect(url: &str, options: Options) -> Result<Self, ConnectError> {
        let endpoint: Endpoint = url.parse()?;
        let mut resume = Resume::new();
        let messages = resume.connect(options.connect(), usize::MAX);
        let session = establish(&endpoint, &options.connection, messages).await?;

        let (commands, taken) = mpsc::channel(COMMANDS_MAX);
        let (given, events) = mpsc::channel(options.events_max.max(1));
        let driver = Driver::new(endpoint, options, resume, taken, given);
        #[expect(
            clippy::disallowed_methods,
            reason = "a client library has no Lifecycle; the task ends with its client"
        )]
        tokio::spawn(driver.run(session));
        Ok(Self { commands, events, positions: Positions::default() })
    }

    /// Adds a subscription, which is kept across reconnects.
    ///
    /// The node's answer comes as [`Event::Subscribed`] or [`Event::Error`]. Not cancel safe: the
    /// subscription may be added even if this call is cancelled.
    ///
    /// # Errors
    ///
    /// When the client is already subscribed to this channel, or has ended.
    pub async fn subscribe(&self, subscription: Subscription) -> Result<(), SubscribeError> {
        let (answer, answered) = oneshot::channel();
        let command = Command::Subscribe(Box::new(subscription), answer);
        self.commands.send(command).await.map_err(|_| SubscribeError::Ended)?;
        Ok(answered.await.map_err(|_| SubscribeError::Ended)??)
    }

    /// Ends the subscription to a channel, if there is one. [`Event::Unsubscribed`] reports the
    /// end.
    ///
    /// Cancel safe. Does nothing when the client has ended.
    pub async fn unsubscribe(&self, channel: &Channel) {
        // A client that has ended has no subscriptions.
        let _ = self.commands.send(Command::Unsubscribe(Arc::new(channel.clone()))).await;
    }

    /// Waits for the next event. `None` after [`Event::Ended`].
    ///
    /// Cancel safe: no event is lost.
    pub async fn next(&mut self) -> Option<Event> {
        let event = self.events.recv().await?;
        self.positions.apply(&event);
        Some(event)
    }

    /// Returns the position of a subscription after the events that [`Client::next`] has returned.
    /// A later subscription that starts there ([`Start::Position`](crate::Start::Position))
    /// continues without a gap or a repetition.
    #[must_use]
    pub fn position(&self, channel: &Channel) -> Option<&Position> {
        self.positions.of(channel)
    }

    /// Closes the connection, and waits for at most a few seconds until it is closed. Events that
    /// were not received are lost.
    pub async fn close(mut self) {
        let (answer, answered) = oneshot::channel();
        // The event queue is closed first, so that a task that waits for room in it continues.
        self.events.close();
        if self.commands.send(Command::Close(answer)).await.is_ok() {
            // The sender is dropped when the task ends.
            let _ = answered.await;
        }
    }
}
