//! Publishing with Publish calls: a fixed number at a time, the next one as soon as one is
//! answered.

use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use anyhow::{Context as _, Result, ensure};
use tailcast_proto::ingest::v1::{
    Outcome, PublishRequest, ingest_service_client::IngestServiceClient, outcome,
};
use tokio::task::JoinSet;
use tonic::transport::Channel;

use super::Job;

/// Publishes requests, and returns the number of acknowledged events: all of them.
pub(crate) async fn run(
    job: Arc<Job>,
    client: IngestServiceClient<Channel>,
    requests: Range<u64>,
) -> Result<u64> {
    let next = Arc::new(AtomicU64::new(requests.start));
    let mut callers = JoinSet::new();
    for _ in 0..job.method.in_flight_of_connection() / job.method.per_request() {
        callers.spawn(call(Arc::clone(&job), client.clone(), Arc::clone(&next), requests.end));
    }
    let mut acknowledged = 0;
    while let Some(caller) = callers.join_next().await {
        acknowledged += caller.context("a caller's task failed")??;
    }
    Ok(acknowledged)
}

/// One caller: one request after the other, until none are left.
async fn call(
    job: Arc<Job>,
    mut client: IngestServiceClient<Channel>,
    next: Arc<AtomicU64>,
    end: u64,
) -> Result<u64> {
    let mut acknowledged = 0;
    loop {
        let request = next.fetch_add(1, Relaxed);
        if request >= end {
            return Ok(acknowledged);
        }
        let response = client.publish(PublishRequest { messages: job.messages(request) }).await;
        let outcomes = response.context("ingest rejected a request")?.into_inner().outcomes;
        let (answered, asked) = (outcomes.len() as u64, job.method.per_request());
        ensure!(answered == asked, "a request of {asked} events was answered with {answered} outcomes");
        for outcome in &outcomes {
            ensure!(is_acknowledged(outcome), "an event was not acknowledged: {outcome:?}");
        }
        acknowledged += answered;
    }
}

fn is_acknowledged(outcome: &Outcome) -> bool {
    matches!(outcome.result, Some(outcome::Result::Acknowledged(_)))
}
