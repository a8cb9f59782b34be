//! Sessions without sockets, polled by the benchmarks and not by a runtime, so that measurements
//! repeat exactly.
//!
//! Each is a whole [`Session`] of a node without Kafka; its client sends nothing and accepts
//! everything at once.

use std::{
    future::Future,
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    time::{Duration, Instant},
};

use prometheus_client::registry::Registry;
use tailcast_proto::{delivery::Format, push::v1::Outcome};
use tailcast_services::{
    kafka::Settings, lifecycle::Lifecycle, principal::Principal, readiness::Readiness, topics::Epochs,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    runtime::Runtime,
};

use super::{
    Session, Sessions, Writer,
    rules::subscriptions::{Batch, Subscriptions},
    start::Started,
};
use crate::{
    benchmarks::{ENCODING, Watched, Watching, channels, defaults},
    cursor::{DeliveryMode, GatherRequest, StartAt},
    node::hub::Lease,
    partition::Partition,
    push::Push,
    record::channel::NodeChannel,
    wake::{doorbell::Doorbell, fan_out::FanOut},
};

/// The subscriptions of one session, without the session.
#[derive(Debug)]
pub struct Gatherer {
    subscriptions: Subscriptions,
    budget: usize,
}

/// The message that was gathered.
#[derive(Debug)]
pub struct Message(Batch);

/// Sessions that are polled by a benchmark.
pub struct Crowd {
    members: Vec<Member>,
    fan_out: Arc<FanOut>,
    /// Bytes that the sessions wrote.
    written: Arc<AtomicUsize>,
    runtime: Runtime,
}

/// A session and whether it was woken.
struct Member {
    serving: Pin<Box<dyn Future<Output = ()>>>,
    flag: Arc<Flag>,
    waker: Waker,
}

struct Flag(AtomicBool);

/// A client that sends nothing.
struct Silence;

/// A client that accepts everything.
struct Drain(Arc<AtomicUsize>);

impl Gatherer {
    /// Subscribes to channels of a partition, from its end on.
    #[must_use]
    pub fn new(watched: &Watched, watching: Watching) -> Self {
        let mut subscriptions = Subscriptions::new(Arc::new(Doorbell::default()));
        subscribe(&mut subscriptions, watched, watching);
        let mut gatherer = Self { subscriptions, budget: defaults().sessions.batch_bytes_max };
        let nothing = gatherer.gather();
        assert_eq!(nothing.deliveries(), 0, "a subscription begins at the end");
        gatherer
    }

    /// Takes the news, and gathers the next message.
    pub fn gather(&mut self) -> Message {
        let ended = self.subscriptions.take_news();
        assert!(ended.is_empty(), "the topic stays");
        let turn = GatherRequest { budget: self.budget, is_behind: false, now: Instant::now() };
        Message(self.subscriptions.gather(turn))
    }
}

impl Message {
    /// Returns the number of deliveries.
    #[must_use]
    pub fn deliveries(&self) -> u64 {
        self.0.deliveries
    }
}

impl Crowd {
    /// Starts sessions, each subscribed to each of some channels from the partition's end on.
    ///
    /// # Panics
    ///
    /// When the system has no port or no thread left.
    #[must_use]
    pub fn new(watched: &Watched, watching: Watching, sessions: usize) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime can be made");
        let sessions_of_node = runtime.block_on(sessions_of_node());
        let written = Arc::new(AtomicUsize::new(0));
        let members = (1..)
            .take(sessions)
            .map(|id| {
                let writer = Drain(Arc::clone(&written));
                let mut session = sessions_of_node.open((id, Principal::Anonymous), Format::Proto, writer);
                // Heartbeats are not measured.
                let connected = Instant::now() + Duration::from_hours(24);
                subscribe(session.rules.connect_for_benchmark(connected), watched, watching);
                Member::new(session, Arc::clone(&sessions_of_node))
            })
            .collect();
        let fan_out = Arc::clone(&watched.fan_out);
        let mut crowd = Self { members, fan_out, written, runtime };
        crowd.begin();
        crowd
    }

    /// Serves every session whose doorbell rang, and polls those that were woken until none is.
    /// Returns the number of bytes written.
    pub fn serve(&mut self) -> usize {
        self.fan_out.serve_here();
        while self.members.iter_mut().map(Member::serve).fold(false, |any, served| any | served) {}
        self.written.swap(0, Ordering::Relaxed)
    }

    fn begin(&mut self) {
        // The first poll registers with the runtime's clock, which never moves: nothing drives it
        // from here on.
        let _entered = self.runtime.enter();
        while self.members.iter_mut().map(Member::serve).fold(false, |any, served| any | served) {}
    }
}

impl Member {
    fn new(session: Session<Drain>, sessions: Arc<Sessions>) -> Self {
        let flag = Arc::new(Flag(AtomicBool::new(true)));
        let serving = Box::pin(async move {
            let (reason, _) = Box::new(session).run(Silence, &sessions).await;
            panic!("a session ended: {reason:?}");
        });
        Self { serving, waker: Waker::from(Arc::clone(&flag)), flag }
    }

    /// Returns whether there was something to do.
    fn serve(&mut self) -> bool {
        let is_woken = self.flag.0.swap(false, Ordering::SeqCst);
        if is_woken {
            let polled = self.serving.as_mut().poll(&mut Context::from_waker(&self.waker));
            assert!(polled.is_pending(), "a session goes on");
        }
        is_woken
    }
}

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

impl AsyncRead for Silence {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Poll::Pending
    }
}

impl AsyncWrite for Drain {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.0.fetch_add(bytes.len(), Ordering::Relaxed);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let bytes = parts.iter().map(|part| part.len()).sum();
        self.0.fetch_add(bytes, Ordering::Relaxed);
        Poll::Ready(Ok(bytes))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl Writer for Drain {
    fn buffered(&self) -> usize {
        0
    }
}

impl std::fmt::Debug for Crowd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Crowd").field("sessions", &self.members.len()).finish_non_exhaustive()
    }
}

/// Subscribes to channels from the partition's end on.
fn subscribe(subscriptions: &mut Subscriptions, watched: &Watched, watching: Watching) {
    for channel in channels(&watched.partition.topic, 1, watching) {
        subscriptions.add(started(&watched.partition, channel), ENCODING, DeliveryMode::Lossless);
    }
}

fn started(partition: &Arc<Partition>, channel: Arc<NodeChannel>) -> Started {
    Started {
        channel,
        epoch: partition.epoch,
        partition_count: 1,
        partitions: vec![(Lease::of(partition), StartAt::Offset(partition.head()))],
        outcome: Outcome::Live,
        lost: Vec::new(),
    }
}

/// The sessions of a node that looks for Kafka where there is none.
async fn sessions_of_node() -> Arc<Sessions> {
    let mut config = defaults();
    config.listen.set_port(0);
    let (lifecycle, readiness, mut registry) = (Lifecycle::new(), Readiness::new(), Registry::default());
    let nowhere = Settings::at("127.0.0.1:1");
    let push = Push::bind(config, nowhere, Epochs::Kafka, &lifecycle, &readiness, &mut registry);
    push.await.expect("loopback has a port and the system has threads").into_parts().1
}
