//! The publishing process: events through ingest, as fast as it takes them. Says at the end how many were acknowledged; one that
//! was not is an error.

mod calls;

mod stream;

use std::{
    io::{self, Write as _},
    ops::Range,
    sync::Arc,
};

use anyhow::{Context as _, Result};
use tailcast_proto::ingest::v1::{Message, ingest_service_client::IngestServiceClient};
use tokio::{runtime, task::JoinSet};
use tonic::transport::{Channel, Endpoint};

use super::{cli::Publish, events::Written, way::Way};

/// What all connections share.
#[derive(Debug)]
struct Job {
    way: Way,
    topic: String,
    events: Written,
}

/// Publishes on all connections, each its part of the events.
pub(super) fn run(publish: &Publish) -> Result<()> {
    // One thread, to leave the rest of the machine to who is measured.
    let runtime =
        runtime::Builder::new_current_thread().enable_all().build().context("there is no runtime")?;
    let acknowledged = runtime.block_on(all(publish))?;
    writeln!(io::stdout(), "{acknowledged}").context("nobody listens")
}

async fn all(publish: &Publish) -> Result<u64> {
    let (way, count) = (publish.by, publish.count);
    let job = Arc::new(Job { way, topic: publish.topic.clone(), events: publish.shape.write()? });
    let mut parts = JoinSet::new();
    for connection in 0..way.connections() {
        let endpoint = Endpoint::from_shared(format!("http://{}", publish.to)).context("no HOST:PORT")?;
        let channel = endpoint.tcp_nodelay(true).connect().await;
        let channel = channel.with_context(|| format!("no ingest service answers at {}", publish.to))?;
        parts.spawn(part(Arc::clone(&job), channel, requests_of(way, count, connection)));
    }
    let mut acknowledged = 0;
    while let Some(part) = parts.join_next().await {
        acknowledged += part.context("a connection's task failed")??;
    }
    Ok(acknowledged)
}

/// Publishes the requests with these numbers.
async fn part(job: Arc<Job>, channel: Channel, requests: Range<u64>) -> Result<u64> {
    let client = IngestServiceClient::new(channel);
    match job.way {
        Way::Unary | Way::Batch => calls::run(job, client, requests).await,
        Way::Stream => stream::run(&job, client, requests).await,
    }
}

/// Returns which of the requests for `count` events are a connection's.
fn requests_of(way: Way, count: u64, connection: u64) -> Range<u64> {
    let requests = count / way.per_request();
    let up_to = |connection: u64| requests * connection / way.connections();
    up_to(connection)..up_to(connection + 1)
}

impl Job {
    /// Returns the messages of a request.
    fn messages(&self, request: u64) -> Vec<Message> {
        let first = request * self.way.per_request();
        let message = |number| Message {
            topic: self.topic.clone(),
            key: Some(self.events.key(number).clone()),
            value: Some(self.events.value().clone()),
            ..Message::default()
        };
        (first..first + self.way.per_request()).map(message).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_together_publish_every_event_once() {
        for (way, count) in [(Way::Unary, 7), (Way::Batch, 1_300), (Way::Stream, 500_000)] {
            let parts: Vec<_> =
                (0..way.connections()).map(|connection| requests_of(way, count, connection)).collect();
            assert_eq!(parts[0].start, 0);
            assert!(parts.windows(2).all(|pair| pair[0].end == pair[1].start), "{parts:?}");
            let last = parts.last().map(|part| part.end * way.per_request());
            assert_eq!(last, Some(count), "{way}");
        }
    }
}
