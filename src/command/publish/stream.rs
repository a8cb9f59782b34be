//! Publishes lines over one `PublishStream`.
//!
//! Sequence numbers are line numbers, so an outcome names its line. At most `UNSETTLED_MAX` lines are without an outcome
//! at any time; ingest holds the stream back before that where its own bound is lower.

mod ledger;

use std::future;

use futures_util::stream;
use tailcast_proto::ingest::v1::{Message, PublishStreamRequest, PublishStreamResponse};
use tokio::{
    sync::mpsc::{self, Permit, Sender},
    time::{Instant, sleep_until},
};
use tonic::Status;

use self::ledger::Ledger;
use super::{
    lines::{LineError, Lines},
    outcome::failed_call,
};
use crate::{
    command::{
        exit::{Exit, Failure},
        output::Output,
    },
    publisher::Publisher,
};

/// The most lines in one request, which is what ingest takes.
const BATCH_MAX: usize = 500;

/// The most lines that were sent and have no outcome yet: enough to keep Kafka's batches full at a 50 ms round trip.
const UNSETTLED_MAX: u64 = 5_000;

/// What happened.
enum Event {
    Answer(Result<Option<PublishStreamResponse>, Status>),
    Lines(Vec<Result<Message, LineError>>),
    Sent,
}

/// Publishes all lines to `topic`, and prints what became of each.
pub(super) async fn publish(
    publisher: &Publisher,
    topic: &str,
    mut lines: Lines,
    output: &mut Output,
) -> Result<Exit, Failure> {
    let (requests, queued) = mpsc::channel(1);
    let mut requests = Some(requests);
    let mut ledger = Ledger::new(topic, output);
    let queued = stream::unfold(queued, |mut queued: mpsc::Receiver<_>| async {
        queued.recv().await.map(|request| (request, queued))
    });
    let mut answers = publisher.publish_stream(queued).await.map_err(|status| failed_call(&status))?;
    loop {
        let not_before = ledger.not_before();
        let event = tokio::select! {
            // Outcomes first, so that they are printed as they come and what is unsettled goes down.
            biased;
            answer = answers.message() => Event::Answer(answer),
            Ok(permit) = room(requests.as_ref()), if ledger.has_waiting() => {
                if let Some(request) = ledger.take_waiting() {
                    permit.send(request);
                }
                Event::Sent
            }
            lines = read(&mut lines, not_before), if ledger.may_read() => Event::Lines(lines),
        };
        match event {
            Event::Answer(Ok(Some(answer))) => ledger.settle(answer)?,
            Event::Answer(Ok(None)) => return ledger.finish(Ok(())),
            Event::Answer(Err(status)) => return ledger.finish(Err(failed_call(&status))),
            Event::Lines(lines) => ledger.read(lines),
            Event::Sent => {}
        }
        if ledger.has_sent_all() {
            // Half-closes the stream: ingest ends it after the last outcome.
            requests = None;
        }
    }
}

/// Waits for room in the stream. Cancel safe. Without a stream there never is.
async fn room(
    requests: Option<&Sender<PublishStreamRequest>>,
) -> Result<Permit<'_, PublishStreamRequest>, mpsc::error::SendError<()>> {
    match requests {
        Some(requests) => requests.reserve().await,
        None => future::pending().await,
    }
}

/// Waits for lines, and before that until ingest wants more. Cancel safe.
async fn read(lines: &mut Lines, not_before: Instant) -> Vec<Result<Message, LineError>> {
    sleep_until(not_before).await;
    lines.next(BATCH_MAX).await
}
