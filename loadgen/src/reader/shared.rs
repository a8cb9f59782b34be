//! State shared by all connections of a process.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use tailcast_client::{Endpoint, Subprotocol};
use tailcast_proto::push::v1::DeliveryMode;
use tokio::{sync::watch, time::Instant as Moment};
use tokio_util::sync::CancellationToken;

use crate::{
    cli::{Cli, Mode},
    layout::Layout,
    link::LinkOptions,
    payload::Format,
    plan::Plan,
    slow::Slow,
    storm::Storm,
    traffic::Traffic,
};

/// Connections per source address: fewer than the 28,232 ephemeral ports of Linux's default range.
const PORTS: u32 = 25_000;

#[derive(Debug)]
pub(crate) struct Shared {
    endpoints: Vec<Endpoint>,
    subprotocol: Subprotocol,
    /// The number of 127.0.0.0/8 source addresses; 0: the kernel chooses.
    sources: u16,
    pub(crate) layout: Layout,
    pub(crate) plan: Arc<Plan>,
    pub(crate) mode: DeliveryMode,
    pub(crate) max_rate: f64,
    pub(crate) format: Arc<Format>,
    pub(crate) traffic: Arc<Traffic>,
    pub(crate) slow: Option<Slow>,
    pub(crate) storm: Option<Storm>,
    /// Events due earlier are verified but not measured.
    pub(crate) measured_from_ns: u64,
    pub(crate) signals: Signals,
}

/// Signals from the run to its connections.
#[derive(Debug)]
pub(crate) struct Signals {
    /// When the schedule starts; set before the first event.
    pub(crate) start: OnceLock<Instant>,
    /// Signals that `start` is set.
    pub(crate) started: CancellationToken,
    /// When connections that the storm dropped reconnect, in nanoseconds after the start.
    pub(crate) reconnect: watch::Sender<Option<u64>>,
    /// Signals the end of the run.
    pub(crate) stop: CancellationToken,
}

impl Shared {
    pub(crate) fn new(cli: &Cli, plan: &Arc<Plan>, format: &Arc<Format>) -> Self {
        let readers = &cli.readers;
        let layout = Layout::new(cli);
        let sources = readers.source_addresses.unwrap_or_else(|| match readers.connections / PORTS {
            0 => 0,
            more => u16::try_from(more + 1).unwrap_or(u16::MAX),
        });
        Self {
            endpoints: cli.targets.urls.clone(),
            subprotocol: readers.subprotocol.into(),
            sources,
            mode: match readers.mode {
                Mode::Lossless => DeliveryMode::Lossless,
                Mode::Conflated => DeliveryMode::Conflated,
            },
            max_rate: readers.max_rate.unwrap_or_default(),
            format: Arc::clone(format),
            traffic: Arc::new(Traffic::new()),
            slow: Slow::new(cli),
            storm: Storm::new(cli, plan, &layout),
            layout,
            plan: Arc::clone(plan),
            measured_from_ns: u64::try_from(cli.load.warmup.as_nanos()).unwrap_or(u64::MAX),
            signals: Signals {
                start: OnceLock::new(),
                started: CancellationToken::new(),
                reconnect: watch::Sender::new(None),
                stop: CancellationToken::new(),
            },
        }
    }

    pub(crate) fn endpoints(&self) -> usize {
        self.endpoints.len()
    }

    pub(super) fn endpoint(&self, node: usize) -> &Endpoint {
        &self.endpoints[node % self.endpoints.len()]
    }

    pub(super) fn options(&self, connection: u32, node: usize) -> LinkOptions {
        let slow = self.slow.as_ref().filter(|slow| slow.has(connection));
        LinkOptions {
            subprotocol: self.subprotocol,
            source: source(connection, self.sources, self.endpoint(node).host()),
            receive_buffer: slow.map(|slow| slow.receive_buffer),
        }
    }

    /// Returns whether subscriptions are conflated.
    pub(super) fn is_conflated(&self) -> bool {
        self.mode == DeliveryMode::Conflated
    }

    /// Returns the time since the schedule's start, in nanoseconds; 0 before.
    pub(crate) fn now_ns(&self) -> u64 {
        let elapsed = self.signals.start.get().map_or(Duration::ZERO, Instant::elapsed);
        u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX)
    }

    /// Returns a time after the schedule's start as a tokio instant; before the start, the current
    /// time.
    pub(crate) fn moment(&self, after_start: Duration) -> Moment {
        self.signals.start.get().map_or_else(Moment::now, |start| Moment::from_std(*start + after_start))
    }

    /// Returns how many events of a connection's keys are due by a time.
    pub(super) fn due_by(&self, connection: u32, at_ns: u64) -> u64 {
        let events = self.plan.due_by(Duration::from_nanos(at_ns));
        let keys = self.layout.channels_of(connection).into_iter().flatten();
        keys.map(|key| self.plan.count_among(key, events)).sum()
    }
}

/// Returns the source address; only loopback has several.
fn source(connection: u32, sources: u16, host: &str) -> Option<IpAddr> {
    let host: Ipv4Addr = host.parse().ok()?;
    if sources == 0 || !host.is_loopback() {
        return None;
    }
    let [high, low] = u16::try_from(connection % u32::from(sources)).ok()?.to_be_bytes();
    // Starts at 127.0.0.2, to tell this run's connections from others; 127.0.n.255 is an ordinary
    // address.
    Some(Ipv4Addr::from_bits(u32::from_be_bytes([127, 0, high, low]) + 2).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(connection: u32, sources: u16, host: &str, expected: Option<&str>) {
        let expected = expected.map(|text| text.parse::<IpAddr>().expect("an address"));
        assert_eq!(source(connection, sources, host), expected);
    }

    #[test]
    fn connections_to_loopback_come_from_as_many_addresses_as_asked() {
        check(0, 0, "127.0.0.1", None);
        check(0, 3, "127.0.0.1", Some("127.0.0.2"));
        check(2, 3, "127.0.0.1", Some("127.0.0.4"));
        check(3, 3, "127.0.0.1", Some("127.0.0.2"));
        check(999, 1000, "127.0.0.1", Some("127.0.3.233"));
        check(0, 3, "10.0.0.1", None);
        check(0, 3, "push.example", None);
    }
}
