//! Publishing with one PublishStream, with as many unacknowledged events as it has credits.

use std::ops::Range;

use anyhow::{Context as _, Result, bail, ensure};
use tailcast_proto::ingest::v1::{
    PublishStreamRequest, PublishStreamResponse, ingest_service_client::IngestServiceClient,
};
use tokio::sync::{Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, transport::Channel};

use super::Job;

/// Capacity of the queue towards HTTP/2, in requests.
const QUEUE: usize = 4;

/// The acknowledged events: all up to one.
#[derive(Debug)]
struct Acknowledged {
    next: u64,
}

/// Publishes requests, and returns the number of acknowledged events: all of them.
pub(crate) async fn run(
    job: &Job,
    mut client: IngestServiceClient<Channel>,
    requests: Range<u64>,
) -> Result<u64> {
    let per_request = u32::try_from(job.method.per_request()).context("a request is small")?;
    let room = Semaphore::new(usize::try_from(job.method.in_flight_of_connection()).context("it is small")?);
    let (sender, queue) = mpsc::channel(QUEUE);
    let first = requests.start * job.method.per_request();
    let all = (requests.end - requests.start) * job.method.per_request();
    let sending = async {
        for request in requests {
            // Both fail only when the stream has ended, and `receiving` returns the reason.
            let Ok(permit) = room.acquire_many(per_request).await else { break };
            permit.forget();
            let request = PublishStreamRequest {
                first_sequence: request * job.method.per_request(),
                messages: job.messages(request),
                want_positions: false,
            };
            if sender.send(request).await.is_err() {
                break;
            }
        }
        drop(sender);
    };
    let receiving = async {
        let answered = receive(&mut client, queue, first, &room).await;
        room.close();
        answered
    };
    let ((), answered) = tokio::join!(sending, receiving);
    let answered = answered?;
    ensure!(answered == all, "a stream ended with {answered} of {all} events acknowledged");
    Ok(answered)
}

/// Receives responses until the stream ends, and releases a permit for every acknowledged event.
async fn receive(
    client: &mut IngestServiceClient<Channel>,
    queue: mpsc::Receiver<PublishStreamRequest>,
    first: u64,
    room: &Semaphore,
) -> Result<u64> {
    let failed = |status: Status| anyhow::anyhow!("ingest ended a stream: {status}");
    let stream = client.publish_stream(ReceiverStream::new(queue)).await;
    let mut responses = stream.map_err(failed)?.into_inner();
    let mut acknowledged = Acknowledged { next: first };
    while let Some(response) = responses.message().await.map_err(failed)? {
        let count = acknowledged.take(&response)?;
        room.add_permits(usize::try_from(count).context("a response is about events in flight")?);
    }
    Ok(acknowledged.next - first)
}

impl Acknowledged {
    /// Records a response, which must continue where the previous one ended. Returns the number of
    /// events it acknowledges.
    fn take(&mut self, response: &PublishStreamResponse) -> Result<u64> {
        if let Some(failure) = response.failures.first() {
            bail!("event {} was not acknowledged: {:?}", failure.sequence, failure.outcome);
        }
        let before = self.next;
        for range in &response.acks {
            let is_next = range.first_sequence == self.next && range.last_sequence >= range.first_sequence;
            ensure!(is_next, "expected an answer for event {}, received {range:?}", self.next);
            self.next = range.last_sequence + 1;
        }
        Ok(self.next - before)
    }
}

#[cfg(test)]
mod tests {
    use tailcast_proto::ingest::v1::{AckRange, Failure};

    use super::*;

    fn response(ranges: &[(u64, u64)]) -> PublishStreamResponse {
        let range = |(first, last): &(u64, u64)| AckRange {
            first_sequence: *first,
            last_sequence: *last,
            ..AckRange::default()
        };
        PublishStreamResponse { acks: ranges.iter().map(range).collect(), ..PublishStreamResponse::default() }
    }

    #[test]
    fn acknowledgements_are_contiguous() {
        let mut acknowledged = Acknowledged { next: 100 };
        assert_eq!(acknowledged.take(&response(&[(100, 100), (101, 299)])).expect("they follow"), 200);
        assert_eq!(acknowledged.take(&response(&[])).expect("it is empty"), 0);
        acknowledged.take(&response(&[(300, 301), (303, 304)])).expect_err("302 is missing");
    }

    #[test]
    fn an_event_that_was_answered_twice_or_failed_is_an_error() {
        let mut acknowledged = Acknowledged { next: 10 };
        acknowledged.take(&response(&[(9, 11)])).expect_err("9 was answered before");
        let failure = Failure { sequence: 10, outcome: None };
        let failed = PublishStreamResponse { failures: vec![failure], ..response(&[]) };
        let error = acknowledged.take(&failed).expect_err("it is not in Kafka");
        assert!(error.to_string().contains("event 10"), "{error}");
    }
}
