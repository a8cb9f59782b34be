//! The publishing process: sends events through ingest as fast as it accepts them. Returns the
//! number of acknowledged events; an event that was not acknowledged is an error.

mod calls;

mod stream;

use std::{ops::Range, sync::Arc};

use anyhow::{Context as _, Result};
use tailcast_proto::ingest::v1::{Message, ingest_service_client::IngestServiceClient};
use tokio::{runtime::Runtime, task::JoinSet};
use tonic::transport::{Channel, Endpoint};

use super::{events::Written, flags::Publish, method::Method};

/// Shared by all connections.
#[derive(Debug)]
struct Job {
    method: Method,
    topic: String,
    events: Written,
}

/// Publishes on all connections, each its share of the events. Returns the number of acknowledged
/// events: all of them.
pub(crate) fn publish(runtime: &Runtime, flags: &Publish) -> Result<u64> {
    runtime.block_on(all(flags))
}

async fn all(flags: &Publish) -> Result<u64> {
    let (method, count) = (flags.by, flags.count);
    let job = Arc::new(Job { method, topic: flags.topic.clone(), events: flags.shape.write()? });
    let mut parts = JoinSet::new();
    for connection in 0..method.connections() {
        let endpoint =
            Endpoint::from_shared(format!("http://{}", flags.to)).context("--to is not HOST:PORT")?;
        let channel = endpoint.tcp_nodelay(true).connect().await;
        let channel = channel.with_context(|| format!("no ingest service answers at {}", flags.to))?;
        parts.spawn(part(Arc::clone(&job), channel, requests_of(method, count, connection)));
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
    match job.method {
        Method::Unary | Method::Batch => calls::run(job, client, requests).await,
        Method::Stream => stream::run(&job, client, requests).await,
    }
}

/// Returns a connection's share of the requests for `count` events.
fn requests_of(method: Method, count: u64, connection: u64) -> Range<u64> {
    let requests = count / method.per_request();
    let up_to = |connection: u64| requests * connection / method.connections();
    up_to(connection)..up_to(connection + 1)
}

impl Job {
    fn messages(&self, request: u64) -> Vec<Message> {
        let first = request * self.method.per_request();
        let message = |number| Message {
            topic: self.topic.clone(),
            key: Some(self.events.key(number).clone()),
            value: Some(self.events.value().clone()),
            ..Message::default()
        };
        (first..first + self.method.per_request()).map(message).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_together_publish_every_event_once() {
        for (method, count) in [(Method::Unary, 7), (Method::Batch, 1_300), (Method::Stream, 500_000)] {
            let parts: Vec<_> =
                (0..method.connections()).map(|connection| requests_of(method, count, connection)).collect();
            assert_eq!(parts[0].start, 0);
            assert!(parts.windows(2).all(|pair| pair[0].end == pair[1].start), "{parts:?}");
            let last = parts.last().map(|part| part.end * method.per_request());
            assert_eq!(last, Some(count), "{method}");
        }
    }
}
