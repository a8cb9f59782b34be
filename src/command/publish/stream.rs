//! Publishes lines over one `PublishStream`.
//!
//! Sequence numbers are line numbers. At most `UNSETTLED_MAX` lines are without an outcome at any
//! time; ingest throttles the stream earlier if its own limit is lower. A request has at most
//! `BATCH_MAX` lines, and at most `lines::BATCH_BYTES_MAX` bytes unless it is a single line.

mod ledger;

use std::{future, io::Write, time::Duration};

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
    outcome::failed_stream,
};
use crate::{
    command::signal,
    exit::{Exit, Failure},
    output::Output,
    publisher::Publisher,
};

/// Maximum number of lines in a request: the limit of ingest.
const BATCH_MAX: usize = 500;

/// Maximum number of lines without an outcome: enough to keep Kafka's batches full at a round trip
/// of 50 ms.
const UNSETTLED_MAX: u64 = 5_000;

/// Maximum time to wait for outcomes after an interruption.
const OUTCOMES_WITHIN: Duration = Duration::from_secs(2);

/// One step of the stream.
enum Event {
    Answer(Result<Option<PublishStreamResponse>, Status>),
    Lines(Vec<Result<Message, LineError>>),
    Sent,
    Interrupted,
    Late,
}

/// Publishes all lines to `topic`, and prints the outcome of each.
pub(super) async fn publish(
    publisher: &Publisher,
    topic: &str,
    mut lines: Lines,
    output: &mut Output<impl Write>,
) -> Result<Exit, Failure> {
    let (requests, queued) = mpsc::channel(1);
    let mut requests = Some(requests);
    let mut ledger = Ledger::new(topic, output);
    let queued = stream::unfold(queued, |mut queued: mpsc::Receiver<_>| async {
        queued.recv().await.map(|request| (request, queued))
    });
    let opened = publisher.publish_stream(queued).await;
    let mut answers = opened.map_err(|status| failed_stream(&status, false))?;
    let interrupted = signal::interrupted();
    tokio::pin!(interrupted);
    let mut deadline = None;
    loop {
        let not_before = ledger.not_before();
        let event = tokio::select! {
            // The interruption first, so that a flood cannot delay it. Then outcomes, so that
            // unsettled lines become fewer.
            biased;
            () = &mut interrupted, if deadline.is_none() => Event::Interrupted,
            () = until(deadline) => Event::Late,
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
            Event::Answer(Err(status)) => return ledger.finish(Err(status)),
            Event::Lines(lines) => ledger.read(lines),
            Event::Sent => {}
            Event::Interrupted => {
                ledger.interrupt();
                deadline = Some(Instant::now() + OUTCOMES_WITHIN);
            }
            Event::Late => return ledger.finish(Ok(())),
        }
        if ledger.has_sent_all() {
            // Half-closes the stream: ingest ends it after the last outcome.
            requests = None;
        }
    }
}

/// Waits for room in the stream; for ever once it is half-closed. Cancel safe.
async fn room(
    requests: Option<&Sender<PublishStreamRequest>>,
) -> Result<Permit<'_, PublishStreamRequest>, mpsc::error::SendError<()>> {
    match requests {
        Some(requests) => requests.reserve().await,
        None => future::pending().await,
    }
}

/// Waits for a deadline, if there is one. Cancel safe.
async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => future::pending().await,
    }
}

/// Waits until ingest accepts more lines, and then for lines. Cancel safe.
async fn read(lines: &mut Lines, not_before: Instant) -> Vec<Result<Message, LineError>> {
    sleep_until(not_before).await;
    lines.next(BATCH_MAX).await
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use tailcast_ingest::Ingest;
    use tailcast_proto::TopicName;
    use tailcast_services::{
        in_process::InProcess, lifecycle::Lifecycle, metrics::Metrics, readiness::Readiness,
    };

    use super::*;
    use crate::config::defaults;

    #[tokio::test(flavor = "multi_thread")]
    async fn many_long_lines_are_published_over_one_stream() {
        // Requests were limited by lines alone: 500 of 20 kB are 10 MB, at which ingest ended the
        // stream.
        let broker = InProcess::start(1).expect("the broker starts");
        let topic = TopicName::parse("logs").expect("it is a name");
        broker.create_topic(&topic, 1).expect("the broker creates a topic");
        let (lifecycle, readiness) = (Lifecycle::new(), Readiness::new());
        let Metrics { mut registry } = Metrics::new();
        let mut config = defaults().ingest;
        config.listen.set_port(0);
        let (kafka, epochs) = (broker.settings(), broker.epochs());
        let ingest = Ingest::bind(config, kafka, epochs, &lifecycle, &readiness, &mut registry).await;
        let ingest = ingest.expect("a port is free");
        let address = ingest.local_addr().expect("it listens").to_string();
        ingest.serve(&lifecycle);
        let publisher = Publisher::connect(&address, Duration::from_secs(10)).await.expect("it listens");

        let message = Message {
            topic: topic.to_string(),
            key: Some("k".into()),
            value: Some(Bytes::from(vec![b'x'; 20_000])),
            ..Message::default()
        };
        let mut printed = Vec::new();
        let mut output = Output::new(&mut printed);
        let lines = Lines::of(vec![message; 700]);
        let ended = publish(&publisher, topic.as_str(), lines, &mut output).await;

        assert_eq!(ended.map_err(|failure| failure.to_string()), Ok(Exit::Done));
        drop(output);
        let positions = String::from_utf8(printed).expect("positions are text");
        assert_eq!(positions.lines().count(), 700);
        lifecycle.drain();
    }
}
