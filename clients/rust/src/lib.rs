//! The Rust client of Tailcast: subscribes to channels over one WebSocket and resumes by itself.
//!
//! [`Client`] is for applications: it reconnects with back-off, carries every subscription's position to whichever node
//! answers, and hands out what happens as a stream of [`Event`]s. [`Connection`] is one WebSocket and nothing else, for
//! tests and for load.
//!
//! ```no_run
//! use tailcast_client::{Client, Event, Options, Subscription};
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let mut client = Client::connect("ws://127.0.0.1:8080/v1/connect", Options::default()).await?;
//! client.subscribe(Subscription::to("quotes/AAPL".parse()?)).await?;
//! while let Some(event) = client.next().await {
//!     if let Event::Delivery(delivery) = event {
//!         println!("{} {}: {:?}", delivery.channel, delivery.offset, delivery.value);
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! A node that drains asks to be left. The client then opens its next connection while it goes on reading the one in use, and
//! leaves when all subscriptions are resumed there ([`Event::Moved`]): records come once and in order across both.
//!
//! What a client decides (where a subscription is, what a close code means, how long to wait, when to leave, when a node
//! is dead) is plain code without IO, tasks or clocks, in [`Tracker`], [`Resume`], [`Verdict`], [`Backoff`],
//! [`Departure`] and [`Liveness`]; one task per client calls it. This crate knows the contract and no service.

mod subscription;

mod event;

mod tracker;

mod positions;

mod resume;

mod close;

mod backoff;

mod departure;

mod liveness;

mod endpoint;

mod connection;

mod options;

mod client;

pub use self::{
    backoff::Backoff,
    client::{Client, ConnectError, SubscribeError},
    close::{Close, Verdict},
    connection::{
        Connection, ConnectionOptions, OpenError, Payload, ReceiveError, Received, SendError, Subprotocol,
    },
    departure::{Departure, Duty},
    endpoint::{Endpoint, EndpointError},
    event::{
        Cause, Delivery, Ended, Event, Header, Heartbeat, Moved, Progress, Reconnected, Reconnecting,
        Refused, Skipped, SnapshotEnd, Subscribed, Unsubscribed,
    },
    liveness::Liveness,
    options::Options,
    positions::Positions,
    resume::{AlreadySubscribed, Fault, Resume, TakeoverError},
    subscription::{MaxRate, MaxRateError, Mode, Start, Subscription},
    tracker::{OrderError, Tracker},
};
