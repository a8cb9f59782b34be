//! The Rust client of Tailcast: subscribes to channels over one WebSocket and resumes by itself.
//!
//! [`Client`] is for applications: it reconnects with back-off, resumes every subscription from its
//! position at the next node, and returns a stream of [`Event`]s. [`Connection`] is one WebSocket,
//! for tests and load generators.
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
//! A node that drains asks its clients to reconnect elsewhere. The client then opens its next
//! connection while it still reads the current one, and closes that when all subscriptions are
//! resumed ([`Event::Moved`]): each record is delivered once and in order across both.
//!
//! The rules (positions, close codes, waits, departures, dead nodes) are plain code without IO,
//! tasks or clocks, in [`Tracker`], [`Resume`], [`Verdict`], [`Backoff`], [`Departure`] and
//! [`Liveness`]; one task per client calls it. This crate depends on the contract and on no
//! service.

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
