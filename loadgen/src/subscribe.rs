//! One connection: subscribes to its channels, receives, and judges what it received.
//!
//! Low-level on purpose: it never reconnects, because a connection that ends during a run is a finding.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use tailcast_client::{Connection, ConnectionOptions, Endpoint, ReceiveError, Received, Subprotocol};
use tailcast_proto::{
    Channel, Key, Keys, TopicName,
    push::v1::{
        self, ClientMessage, Connect, Delivery, Frame, Subscribe, client_message::Command,
        delivery::ValueForm, frame, subscribe::Target,
    },
};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::{
    payload::{Format, NotOurs},
    publish::key,
    traffic::{Count, Traffic},
    verify::{Arrival, Sequence},
};

/// How long a node may take to open a session with its subscriptions.
const PATIENCE: Duration = Duration::from_secs(30);

/// How many bytes one read takes. A connection keeps as much, so it is small; a larger message takes several reads.
const READ_BYTES: usize = 8 * 1024;

/// How many connections one source address opens: fewer than the 28,232 ports that Linux gives out by default.
const PORTS: usize = 25_000;

/// What all connections share.
#[derive(Debug)]
pub(crate) struct Subscribing {
    pub(crate) endpoints: Vec<Endpoint>,
    pub(crate) connections: usize,
    pub(crate) topic: TopicName,
    pub(crate) keys: u32,
    pub(crate) channels: u32,
    pub(crate) subprotocol: Subprotocol,
    pub(crate) format: Arc<Format>,
    pub(crate) traffic: Arc<Traffic>,
    /// Events that were due earlier are verified and not measured.
    pub(crate) measured_from_ns: u64,
    /// When the schedule starts; set before the first event.
    pub(crate) start: OnceLock<Instant>,
    /// Says that the run is over.
    pub(crate) stop: CancellationToken,
}

/// One connection with its subscriptions.
pub(crate) struct Subscriber {
    number: usize,
    subscribing: Arc<Subscribing>,
    connection: Connection,
    /// In order of their aliases.
    channels: Vec<Subscribed>,
    findings: Findings,
}

struct Subscribed {
    alias: u32,
    key: u32,
    sequence: Sequence,
}

/// What a connection found, beside what each channel received.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Findings {
    pub(crate) repeated: u64,
    pub(crate) out_of_order: u64,
    /// Wrong checksums, and events of a channel that this is not.
    pub(crate) corrupt: u64,
    /// Events of other runs.
    pub(crate) other_runs: u64,
}

/// What a connection received, at the end.
pub(crate) struct Account {
    /// What arrived of each key.
    pub(crate) keys: Vec<(u32, Sequence)>,
    pub(crate) findings: Findings,
    /// Why the connection ended before the run was over.
    pub(crate) ended: Option<String>,
}

impl Subscriber {
    /// Opens a connection, and waits until each of its subscriptions has started.
    pub(crate) async fn open(number: usize, subscribing: Arc<Subscribing>) -> Result<Self> {
        let opening = Box::pin(Self::subscribe(number, subscribing));
        timeout(PATIENCE, opening)
            .await
            .unwrap_or_else(|_| bail!("the session was not open after {} s", PATIENCE.as_secs()))
            .with_context(|| format!("connection {number}"))
    }

    async fn subscribe(number: usize, subscribing: Arc<Subscribing>) -> Result<Self> {
        let endpoint = &subscribing.endpoints[number % subscribing.endpoints.len()];
        let options = ConnectionOptions {
            subprotocol: subscribing.subprotocol,
            source: source(number, subscribing.connections, endpoint),
            read_buffer_bytes: READ_BYTES,
            timeout: PATIENCE,
            ..ConnectionOptions::default()
        };
        let mut connection = Connection::open(endpoint, &options).await?;
        let keys = subscribing.keys_of(number);
        connection.send(&connect(&subscribing.topic, &keys)?).await?;
        let mut channels = Vec::with_capacity(keys.len());
        while channels.len() < keys.len() {
            for frame in connection.receive().await?.message.frames {
                if let Some((index, alias)) = subscribed(frame)? {
                    let key = *keys
                        .get(index as usize)
                        .context("a subscription was answered that was not asked for")?;
                    channels.push(Subscribed { alias, key, sequence: Sequence::default() });
                }
            }
        }
        channels.sort_unstable_by_key(|channel| channel.alias);
        Ok(Self { number, subscribing, connection, channels, findings: Findings::default() })
    }

    /// Receives until the run is over, or the connection ends.
    pub(crate) async fn run(mut self) -> Account {
        let stop = self.subscribing.stop.clone();
        let ended = stop.run_until_cancelled(self.receive()).await;
        Account {
            keys: self.channels.into_iter().map(|channel| (channel.key, channel.sequence)).collect(),
            findings: self.findings,
            ended: ended.map(|error| error.to_string()),
        }
    }

    async fn receive(&mut self) -> ReceiveError {
        loop {
            match self.connection.receive().await {
                Ok(received) => self.observe(&received),
                Err(error) => return error,
            }
        }
    }

    fn observe(&mut self, received: &Received) {
        let subscribing = Arc::clone(&self.subscribing);
        let now = subscribing.now_ns();
        let mut count = Count { messages: 1, bytes: received.bytes as u64, ..Count::default() };
        let mut latencies = subscribing.traffic.latencies(self.number);
        for frame in &received.message.frames {
            let Some(frame::Frame::Delivery(delivery)) = &frame.frame else { continue };
            let Some((at_ns, arrival)) = self.judge(delivery) else { continue };
            count.deliveries += 1;
            count.distinct += u64::from(arrival != Arrival::Repeated);
            if at_ns >= subscribing.measured_from_ns {
                latencies.saturating_record(now.saturating_sub(at_ns) / 1000);
            }
        }
        drop(latencies);
        if count.deliveries > 0 {
            subscribing.traffic.add(count);
        }
    }

    /// Judges a delivery. Returns when it was due, and how it arrived; `None`: it is no event of this run.
    fn judge(&mut self, delivery: &Delivery) -> Option<(u64, Arrival)> {
        let value: &[u8] = match &delivery.value_form {
            Some(ValueForm::Value(value)) => value,
            Some(ValueForm::Text(text)) => text.as_bytes(),
            None => &[],
        };
        let event = match self.subscribing.format.read(value) {
            Ok(event) => event,
            Err(NotOurs::OtherRun) => {
                self.findings.other_runs += 1;
                return None;
            }
            Err(NotOurs::Corrupt) => {
                self.findings.corrupt += 1;
                return None;
            }
        };
        let channel = self.channels.binary_search_by_key(&delivery.alias, |channel| channel.alias);
        let channel =
            channel.ok().map(|at| &mut self.channels[at]).filter(|channel| channel.key == event.key);
        let Some(channel) = channel else {
            self.findings.corrupt += 1;
            return None;
        };
        let arrival = channel.sequence.observe(event.sequence);
        match arrival {
            Arrival::InOrder => {}
            Arrival::OutOfOrder => self.findings.out_of_order += 1,
            Arrival::Repeated => self.findings.repeated += 1,
        }
        Some((event.at_ns, arrival))
    }
}

impl Subscribing {
    /// Returns the keys of a connection.
    pub(crate) fn keys_of(&self, connection: usize) -> Vec<u32> {
        let first = connection as u64 * u64::from(self.channels);
        let keys = (first..first + u64::from(self.channels)).map(|key| key % u64::from(self.keys));
        keys.filter_map(|key| u32::try_from(key).ok()).collect()
    }

    /// Returns the time since the schedule's start, in nanoseconds; 0 before.
    fn now_ns(&self) -> u64 {
        let elapsed = self.start.get().map_or(Duration::ZERO, Instant::elapsed);
        u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX)
    }
}

/// Returns the address to connect from, where one does not have ports enough.
fn source(number: usize, connections: usize, endpoint: &Endpoint) -> Option<IpAddr> {
    let host: Ipv4Addr = endpoint.host().parse().ok()?;
    let last = u8::try_from(1 + number / PORTS).ok()?;
    (connections > PORTS && host.is_loopback()).then(|| Ipv4Addr::new(127, 0, 0, last).into())
}

fn connect(topic: &TopicName, keys: &[u32]) -> Result<ClientMessage> {
    let subscribe = |number: &u32| {
        let channel = Channel { topic: topic.clone(), keys: Keys::Exact(Key::new(key(*number))?) };
        Ok(Subscribe { target: Some(Target::Name(channel.to_string())), ..Subscribe::default() })
    };
    let connect = Connect {
        client_name: env!("CARGO_PKG_NAME").into(),
        client_version: env!("CARGO_PKG_VERSION").into(),
        subscriptions: keys.iter().map(subscribe).collect::<Result<_>>()?,
        ..Connect::default()
    };
    Ok(ClientMessage { id: 1, command: Some(Command::Connect(connect)) })
}

/// Returns which subscription has started under which alias, if one has.
fn subscribed(frame: Frame) -> Result<Option<(u32, u32)>> {
    match frame.frame {
        Some(frame::Frame::Subscribed(v1::Subscribed { index, alias, .. })) => Ok(Some((index, alias))),
        Some(frame::Frame::Error(error)) => {
            bail!("subscription {} was refused: {:?}, {}", error.index, error.code(), error.detail)
        }
        _ => Ok(None),
    }
}
