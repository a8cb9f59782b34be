//! A client of a push node that shares no code with Tailcast's own client.
//!
//! Every subscriber watches over order and repetition whatever its scenario is about: a delivery whose offset is not beyond
//! the last one of its channel and partition fails the scenario at once.

mod account;

use std::collections::VecDeque;
use std::net::SocketAddr;

use tailcast_proto::push::v1::{
    ClientMessage, Connect, Connected, Error, Frame, Heartbeat, Start, Subscribe, Subscribed, Unsubscribe,
    Unsubscribed, client_message::Command, frame, subscribe, unsubscribe,
};
use tailcast_proto::{Offset, PartitionId, Position};

use self::account::Account;
pub use self::account::Received;
use crate::deadline::within;
pub use crate::socket::Wire;
use crate::socket::{Closed, Socket};

/// An open session with its subscriptions.
pub struct Subscriber {
    socket: Socket,
    last_id: u32,
    account: Account,
    /// What came before a reply that was waited for, and was not asked for yet.
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
    /// When the node does not take it.
    pub async fn connect(node: SocketAddr, wire: Wire) -> Self {
        Self::connect_with(node, wire, Vec::new()).await.0
    }

    /// Opens a socket and a session, with subscriptions inside `Connect`; their answers are the next frames.
    ///
    /// # Panics
    ///
    /// When the node does not take it.
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

    /// Opens a socket and says nothing yet.
    ///
    /// # Panics
    ///
    /// When the node does not upgrade.
    pub async fn unconnected(node: SocketAddr, wire: Wire) -> Self {
        Self {
            socket: Socket::open(node, wire).await.expect("the node upgrades to WebSocket"),
            last_id: 0,
            account: Account::default(),
            pending: VecDeque::new(),
            arrived: VecDeque::new(),
            deliveries_per_message: Vec::new(),
        }
    }

    /// Subscribes to a channel from `start` and returns what the node answered.
    ///
    /// # Panics
    ///
    /// When it answered with an error.
    pub async fn subscribe(&mut self, channel: &str, start: Start) -> Subscribed {
        match self.try_subscribe(request(channel, start)).await {
            Ok(subscribed) => subscribed,
            Err(error) => panic!("subscribing to {channel}: {error:?}"),
        }
    }

    /// Subscribes and returns what the node answered.
    ///
    /// # Errors
    ///
    /// The node's own.
    pub async fn try_subscribe(&mut self, request: Subscribe) -> Result<Subscribed, Error> {
        let id = self.send(Command::Subscribe(request)).await;
        match self.reply(id).await {
            frame::Frame::Subscribed(subscribed) => Ok(subscribed),
            frame::Frame::Error(error) => Err(error),
            other => panic!("expected Subscribed or Error, got {other:?}"),
        }
    }

    /// Ends a subscription and returns what the node answered.
    ///
    /// # Errors
    ///
    /// The node's own.
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

    /// Waits for the next delivery.
    ///
    /// # Panics
    ///
    /// When it repeats or goes back, when something else comes, or nothing.
    pub async fn receive(&mut self) -> Received {
        match self.event().await {
            frame::Frame::Delivery(delivery) => self.account.received(delivery),
            other => panic!("expected a delivery, got {other:?}"),
        }
    }

    /// Waits for the end of a subscription and returns it with what was delivered before.
    ///
    /// # Panics
    ///
    /// When something else comes, or nothing.
    pub async fn until_unsubscribed(&mut self) -> (Vec<Received>, Unsubscribed) {
        let mut received = Vec::new();
        loop {
            match self.event().await {
                frame::Frame::Delivery(delivery) => received.push(self.account.received(delivery)),
                frame::Frame::Unsubscribed(unsubscribed) => return (received, unsubscribed),
                other => panic!("expected Unsubscribed, got {other:?}"),
            }
        }
    }

    /// Waits for deliveries with these values, in this order, and nothing between them.
    ///
    /// # Panics
    ///
    /// When others come, or none.
    pub async fn expect<V: ToString>(&mut self, values: impl IntoIterator<Item = V>) {
        for expected in values {
            let received = self.receive().await;
            assert_eq!(received.text(), expected.to_string(), "{received:?}");
        }
    }

    /// Waits for the next thing that the node says of its own accord, other than that it is alive.
    ///
    /// # Panics
    ///
    /// When nothing comes, or the socket is closed.
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

    /// Waits for the next heartbeat. What comes before it must be nothing.
    ///
    /// # Panics
    ///
    /// When something else comes, or nothing.
    pub async fn heartbeat(&mut self) -> Heartbeat {
        match within("a heartbeat", self.next()).await {
            frame::Frame::Heartbeat(heartbeat) => heartbeat,
            other => panic!("expected a heartbeat, got {other:?}"),
        }
    }

    /// Waits until a heartbeat says that `channel` is at least at `offset` in `partition`. What comes before it must be
    /// heartbeats.
    ///
    /// # Panics
    ///
    /// When something else comes, or no such heartbeat.
    pub async fn expect_progress(&mut self, channel: &str, partition: PartitionId, offset: i64) {
        let offset = Offset::new(offset).expect("an offset is 0 or more");
        within(format_args!("progress of {channel} to {partition}:{offset}"), async {
            while self.position(channel).offsets.get(&partition).is_none_or(|at| *at < offset) {
                match self.next().await {
                    frame::Frame::Heartbeat(heartbeat) => self.account.progress(&heartbeat),
                    other => panic!("expected a heartbeat, got {other:?}"),
                }
            }
        })
        .await;
    }

    /// Waits for the end of the socket and returns how the node closed it. What comes before it is dropped.
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

    /// Returns where a subscription is: what to hand to another node to go on there.
    ///
    /// # Panics
    ///
    /// When there is no such subscription.
    pub fn position(&self, channel: &str) -> Position {
        self.account.position(channel).expect("the channel is subscribed").clone()
    }

    /// Returns how many deliveries each WebSocket message had that had any.
    pub fn deliveries_per_message(&self) -> &[usize] {
        &self.deliveries_per_message
    }

    /// Ends the session as a client does that leaves.
    pub async fn leave(mut self) -> Closed {
        self.socket.close().await;
        self.closed().await
    }

    /// Waits for the reply to a command; what comes before it waits to be asked for.
    async fn reply(&mut self, id: u32) -> frame::Frame {
        let reply = within(format_args!("the reply to command {id}"), async {
            loop {
                let frame = self.arrive().await;
                if frame.id == id {
                    return frame.frame.expect("a reply says something");
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
        let frame = frame.frame.expect("a frame says something");
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

/// Makes the request for a channel in text form from a start.
pub fn request(channel: &str, start: Start) -> Subscribe {
    Subscribe {
        target: Some(subscribe::Target::Name(channel.to_owned())),
        start: Some(start),
        ..Subscribe::default()
    }
}

fn is_delivery(frame: &Frame) -> bool {
    matches!(frame.frame, Some(frame::Frame::Delivery(_)))
}
