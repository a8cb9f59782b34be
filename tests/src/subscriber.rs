//! A client of a push node that shares no code with Tailcast's own client.
//!
//! Every subscriber checks order and repetition, in every scenario: a delivery whose offset is not
//! beyond the last one of its channel and partition fails the scenario at once, and so does a skip
//! or the end of a snapshot that contradicts the deliveries.

mod account;

mod expectations;

mod message;

use std::collections::VecDeque;
use std::net::SocketAddr;

use tailcast_proto::Position;
use tailcast_proto::push::v1::{
    ClientMessage, Connect, Connected, DeliveryMode, Error, Frame, Start, Subscribe, Subscribed, Unsubscribe,
    Unsubscribed, client_message::Command, frame, subscribe, unsubscribe,
};

use self::account::Account;
pub use self::account::Received;
pub use self::message::Brought;
use crate::deadline::within;
pub use crate::socket::Wire;
use crate::socket::{Closed, Socket};

/// An open session with its subscriptions.
pub struct Subscriber {
    socket: Socket,
    last_id: u32,
    account: Account,
    /// Frames that arrived before an awaited reply and were not returned yet.
    pending: VecDeque<Frame>,
    /// The rest of the last WebSocket message.
    arrived: VecDeque<Frame>,
    deliveries_per_message: Vec<usize>,
}

impl Subscriber {
    /// Opens a socket and a session without subscriptions.
    ///
    /// # Panics
    ///
    /// When the node refuses.
    pub async fn connect(node: SocketAddr, wire: Wire) -> Self {
        Self::connect_with(node, wire, Vec::new()).await.0
    }

    /// Opens a socket and a session, with subscriptions in `Connect`, whose answers are the next
    /// frames.
    ///
    /// # Panics
    ///
    /// When the node refuses.
    pub async fn connect_with(
        node: SocketAddr,
        wire: Wire,
        subscriptions: Vec<Subscribe>,
    ) -> (Self, Connected) {
        let mut subscriber = Self::unconnected(node, wire).await;
        let connect = Connect { client_name: "scenario".into(), subscriptions, ..Connect::default() };
        let id = subscriber.send(Command::Connect(connect)).await;
        match subscriber.reply(id).await {
            frame::Frame::Connected(connected) => (subscriber, connected),
            other => panic!("expected Connected, got {other:?}"),
        }
    }

    /// Opens a socket without a session.
    ///
    /// # Panics
    ///
    /// When the node does not upgrade.
    pub async fn unconnected(node: SocketAddr, wire: Wire) -> Self {
        Self::on(Socket::open(node, wire).await.expect("the node upgrades to WebSocket"))
    }

    /// Opens a session over a socket with a small receive buffer, so that data for this client is
    /// buffered at the node.
    ///
    /// # Panics
    ///
    /// When the node refuses.
    pub async fn connect_narrow(node: SocketAddr, wire: Wire) -> Self {
        let mut subscriber = Self::on(Socket::open_narrow(node, wire).await.expect("the node upgrades"));
        let id = subscriber.send(Command::Connect(Connect::default())).await;
        match subscriber.reply(id).await {
            frame::Frame::Connected(_) => subscriber,
            other => panic!("expected Connected, got {other:?}"),
        }
    }

    fn on(socket: Socket) -> Self {
        Self {
            socket,
            last_id: 0,
            account: Account::default(),
            pending: VecDeque::new(),
            arrived: VecDeque::new(),
            deliveries_per_message: Vec::new(),
        }
    }

    /// Subscribes to a channel from `start`, and returns the node's answer.
    ///
    /// # Panics
    ///
    /// When the answer is an error.
    pub async fn subscribe(&mut self, channel: &str, start: Start) -> Subscribed {
        match self.try_subscribe(request(channel, start)).await {
            Ok(subscribed) => subscribed,
            Err(error) => panic!("subscribing to {channel}: {error:?}"),
        }
    }

    /// Subscribes, and returns the node's answer.
    ///
    /// # Errors
    ///
    /// The error of the node.
    pub async fn try_subscribe(&mut self, request: Subscribe) -> Result<Subscribed, Error> {
        let id = self.send(Command::Subscribe(request)).await;
        match self.reply(id).await {
            frame::Frame::Subscribed(subscribed) => Ok(subscribed),
            frame::Frame::Error(error) => Err(error),
            other => panic!("expected Subscribed or Error, got {other:?}"),
        }
    }

    /// Ends a subscription, and returns the node's answer.
    ///
    /// # Errors
    ///
    /// The error of the node.
    pub async fn unsubscribe(&mut self, channel: &str) -> Result<Unsubscribed, Error> {
        let target = Some(unsubscribe::Target::Name(channel.to_owned()));
        let id = self.send(Command::Unsubscribe(Unsubscribe { target })).await;
        match self.reply(id).await {
            frame::Frame::Unsubscribed(unsubscribed) => Ok(unsubscribed),
            frame::Frame::Error(error) => Err(error),
            other => panic!("expected Unsubscribed or Error, got {other:?}"),
        }
    }

    /// Sends a command and returns its id.
    pub async fn send(&mut self, command: Command) -> u32 {
        self.last_id += 1;
        self.socket.send(&ClientMessage { id: self.last_id, command: Some(command) }).await;
        self.last_id
    }

    /// Waits for the next frame that is neither a reply nor a heartbeat.
    ///
    /// # Panics
    ///
    /// When none arrives, or the socket is closed.
    pub async fn event(&mut self) -> frame::Frame {
        let waiting = format!("{:?}", self.account);
        within(format_args!("something to {waiting}"), async {
            loop {
                match self.next().await {
                    frame::Frame::Heartbeat(heartbeat) => self.account.progress(&heartbeat),
                    other => return other,
                }
            }
        })
        .await
    }

    /// Waits until the node closes the socket, and returns its close frame. Frames before it are
    /// dropped.
    ///
    /// # Panics
    ///
    /// When the node does not close it.
    pub async fn closed(&mut self) -> Closed {
        within("the node closes the socket", async {
            loop {
                if let Err(closed) = self.socket.receive().await {
                    return closed;
                }
            }
        })
        .await
    }

    /// Returns the position of a subscription, from which another node can continue.
    ///
    /// # Panics
    ///
    /// When there is no such subscription.
    pub fn position(&self, channel: &str) -> Position {
        self.account.position(channel).expect("the channel is subscribed").clone()
    }

    /// Returns the number of deliveries in each WebSocket message with any.
    pub fn deliveries_per_message(&self) -> &[usize] {
        &self.deliveries_per_message
    }

    /// Closes the session.
    pub async fn leave(mut self) -> Closed {
        self.socket.close().await;
        self.closed().await
    }

    /// Waits for the reply to a command; frames before it are kept.
    async fn reply(&mut self, id: u32) -> frame::Frame {
        let reply = within(format_args!("the reply to command {id}"), async {
            loop {
                let frame = self.arrive().await;
                if frame.id == id {
                    return frame.frame.expect("a reply is a known frame");
                }
                self.pending.push_back(frame);
            }
        })
        .await;
        self.account.note(&reply);
        reply
    }

    async fn next(&mut self) -> frame::Frame {
        let frame = match self.pending.pop_front() {
            Some(frame) => frame,
            None => self.arrive().await,
        };
        let frame = frame.frame.expect("a frame is a known one");
        self.account.note(&frame);
        frame
    }

    async fn arrive(&mut self) -> Frame {
        loop {
            if let Some(frame) = self.arrived.pop_front() {
                return frame;
            }
            match self.socket.receive().await {
                Ok(frames) => {
                    let deliveries = frames.iter().filter(|frame| is_delivery(frame)).count();
                    self.deliveries_per_message.extend((deliveries > 0).then_some(deliveries));
                    self.arrived.extend(frames);
                }
                Err(closed) => panic!("the node closed the socket: {closed:?}"),
            }
        }
    }
}

/// Returns the request for a channel in text form from a start.
pub fn request(channel: &str, start: Start) -> Subscribe {
    Subscribe {
        target: Some(subscribe::Target::Name(channel.to_owned())),
        start: Some(start),
        ..Subscribe::default()
    }
}

/// Returns the request for a conflated subscription to a channel.
pub fn conflated(channel: &str, start: Start) -> Subscribe {
    Subscribe { mode: DeliveryMode::Conflated.into(), ..request(channel, start) }
}

fn is_delivery(frame: &Frame) -> bool {
    matches!(frame.frame, Some(frame::Frame::Delivery(_)))
}
