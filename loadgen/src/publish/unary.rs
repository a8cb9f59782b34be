//! A lane that publishes with Publish calls, one at a time, because concurrent calls could be
//! reordered.

use anyhow::{Result, bail};
use tailcast_proto::ingest::v1::{PublishRequest, ingest_service_client::IngestServiceClient};
use tonic::{Code, transport::Channel};

use super::Lane;

pub(super) async fn run(mut lane: Lane, mut client: IngestServiceClient<Channel>) -> Result<()> {
    while let Some(batch) = lane.take().await {
        // Events that become due during a call wait for its response.
        lane.note_backpressure();
        let numbers = batch.clone().map(|index| lane.number(index));
        match client.publish(PublishRequest { messages: lane.messages(batch.clone()) }).await {
            Ok(response) => {
                let outcomes = response.into_inner().outcomes;
                if outcomes.len() as u64 != batch.end - batch.start {
                    bail!(
                        "{} events were published, but {} were answered",
                        batch.end - batch.start,
                        outcomes.len()
                    );
                }
                for (number, outcome) in numbers.zip(outcomes) {
                    lane.publishing.note(number, Some(outcome));
                }
            }
            // The protocol guarantees that none of its messages was published.
            Err(status) if status.code() == Code::ResourceExhausted => {
                numbers.for_each(|number| lane.publishing.ledger.refuse(number, "RESOURCE_EXHAUSTED"));
            }
            Err(status) if matches!(status.code(), Code::InvalidArgument | Code::Unimplemented) => {
                bail!("ingest rejected the events: {status}");
            }
            Err(status) => {
                let reason = format!("{:?}", status.code());
                numbers.for_each(|_| lane.publishing.ledger.unknown(&reason));
            }
        }
    }
    Ok(())
}
