//! A lane that publishes through one PublishStream.
//!
//! Credits are ignored: ingest stops reading at its limits, HTTP/2 applies backpressure, and the
//! events' latency counts from when they were due.

use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use tailcast_proto::ingest::v1::{
    PublishStreamRequest, PublishStreamResponse, ingest_service_client::IngestServiceClient,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;

use super::{Lane, Publishing};

/// Capacity of the queue towards HTTP/2, in requests.
const QUEUE: usize = 4;

pub(super) async fn run(mut lane: Lane, channel: Channel) -> Result<()> {
    let mut client = IngestServiceClient::new(channel);
    let (requests, queue) = mpsc::channel(QUEUE);
    let (publishing, number) = (Arc::clone(&lane.publishing), lane.number);
    let sending = async {
        while let Some(batch) = lane.take().await {
            let request = PublishStreamRequest {
                first_sequence: batch.start,
                messages: lane.messages(batch),
                want_positions: false,
            };
            // A full queue means that ingest has stopped reading, and the following events are late
            // because of it.
            if requests.capacity() == 0 {
                lane.note_backpressure();
            }
            // The stream has ended; `receiving` returns the reason.
            if requests.send(request).await.is_err() {
                break;
            }
        }
        drop(requests);
        lane
    };
    let receiving = async {
        let mut responses = client.publish_stream(ReceiverStream::new(queue)).await?.into_inner();
        let mut answered = 0;
        while let Some(response) = responses.message().await? {
            answered += note(&publishing, number, response);
        }
        Ok::<_, tonic::Status>(answered)
    };
    let (lane, answered) = tokio::join!(sending, receiving);
    let answered = answered.context("a publish stream failed")?;
    if answered != lane.next {
        bail!("a publish stream ended after answering {answered} of {} events", lane.next);
    }
    Ok(())
}

/// Records a response, and returns the number of events it answers.
fn note(publishing: &Publishing, lane: u64, response: PublishStreamResponse) -> u64 {
    let mut answered = 0;
    for range in response.acks {
        for index in range.first_sequence..=range.last_sequence {
            publishing.ledger.acknowledge(publishing.plan.number(lane, index));
            answered += 1;
        }
    }
    for failure in response.failures {
        publishing.note(publishing.plan.number(lane, failure.sequence), failure.outcome);
        answered += 1;
    }
    answered
}
