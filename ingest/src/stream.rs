//! `PublishStream`: one task per stream, between the caller, the budget and the producer.
//!
//! The loop has no rules: what is owed and when the stream ends is `conversation`'s. A request waits here, and holds up the
//! reading of the next one, until it has credits, its topics are known, and the budget has room. So a stream has at
//! most one request in memory beyond what it has in flight, and HTTP/2 holds back a caller that ignores its credits.

mod conversation;
mod ending;
mod throttle;

use std::{pin::Pin, sync::Arc};

use tailcast_proto::ingest::v1::{PublishStreamRequest, PublishStreamResponse};
use tailcast_services::{lifecycle::Lifecycle, principal::Principal};
use tokio::sync::{
    OwnedSemaphorePermit,
    mpsc::{self, OwnedPermit},
};
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};

pub(crate) use self::ending::StreamError;
use self::{
    conversation::{Conversation, News},
    ending::End,
    throttle::throttle_ms,
};
use crate::{
    budget::{Budget, Permit, StreamBudget},
    deadline::Deadline,
    delivery::{Completed, Completions},
    metrics::Metrics,
    outcome::{Cause, Outcome, Why},
    publisher::{Admitted, Publisher},
    refusal::Refusal,
    trace::{Propagator, RecordHeaders, TraceContext},
    validation::{Limits, Record, Violation},
};

/// What a stream is made of.
pub(crate) struct Parts {
    pub(crate) publisher: Publisher,
    pub(crate) budget: Budget,
    pub(crate) limits: Limits,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) lifecycle: Lifecycle,
    /// Cancelled when draining has taken too long.
    pub(crate) overdue: CancellationToken,
    pub(crate) credits: usize,
    pub(crate) principal: Principal,
    pub(crate) deadline: Option<Deadline>,
    pub(crate) trace: TraceContext,
    /// The stream's place among those that the node serves.
    pub(crate) _place: OwnedSemaphorePermit,
}

/// One stream.
pub(crate) struct Stream {
    parts: Parts,
    requests: Streaming<PublishStreamRequest>,
    responses: mpsc::Sender<Result<PublishStreamResponse, Status>>,
    /// Room for how the stream ends. It is taken at the beginning, so that the end waits for no caller.
    last_word: Option<OwnedPermit<Result<PublishStreamResponse, Status>>>,
    conversation: Conversation,
    completions: Arc<Completions>,
    budget: Arc<StreamBudget>,
    /// A request that was read and has no credits yet.
    heard: Option<PublishStreamRequest>,
    /// Messages that were taken and cannot be enqueued yet.
    preparing: Option<Pin<Box<dyn Future<Output = Prepared> + Send>>>,
}

/// Messages that can be enqueued.
struct Prepared {
    admitted: Admitted,
    permit: Permit,
}

enum Event {
    /// The caller has gone.
    Gone,
    Deadline,
    Drain,
    Overdue,
    Writable,
    Completed,
    Prepared(Prepared),
    Request(Result<Option<PublishStreamRequest>, Status>),
}

/// Whether the loop goes on.
enum Next {
    GoOn,
    Stop,
}

impl Stream {
    /// A stream that answers into this queue, which is empty and has room for two: a response, and the end.
    pub(crate) fn new(
        parts: Parts,
        requests: Streaming<PublishStreamRequest>,
        responses: mpsc::Sender<Result<PublishStreamResponse, Status>>,
    ) -> Self {
        Self {
            last_word: responses.clone().try_reserve_owned().ok(),
            conversation: Conversation::new(parts.credits),
            completions: Completions::of_stream(),
            budget: Arc::new(parts.budget.open()),
            heard: None,
            preparing: None,
            requests,
            responses,
            parts,
        }
    }

    /// Serves the stream to its end. What it has enqueued by then goes its way without it.
    pub(crate) async fn run(mut self) {
        self.parts.metrics.streams.inc();
        loop {
            let event = tokio::select! {
                // What ends the stream first, what frees room before what needs it.
                biased;
                () = self.responses.closed() => Event::Gone,
                () = self.parts.overdue.cancelled() => Event::Overdue,
                () = passed(self.parts.deadline) => Event::Deadline,
                () = self.parts.lifecycle.draining(), if !self.conversation.is_ending() => Event::Drain,
                () = self.completions.gathered() => Event::Completed,
                Ok(_) = self.responses.reserve(), if self.conversation.has_news() => Event::Writable,
                prepared = prepared(&mut self.preparing) => Event::Prepared(prepared),
                request = self.requests.message(), if self.reads() => Event::Request(request),
            };
            if matches!(self.apply(event), Next::Stop) {
                break;
            }
        }
        self.parts.metrics.streams.dec();
    }

    fn apply(&mut self, event: Event) -> Next {
        match event {
            Event::Gone => return Next::Stop,
            // Neither waits for Kafka, nor for a caller who may never read. What was not enqueued is not any more.
            Event::Deadline => return self.fail(StreamError::Deadline),
            Event::Overdue => return self.fail(StreamError::DrainedTooLong),
            Event::Drain => self.conversation.end(End::Failed(StreamError::Draining)),
            Event::Writable => return self.write(),
            Event::Completed => {
                self.completions.take().into_iter().for_each(|done| self.conversation.complete(done));
            }
            Event::Prepared(Prepared { admitted, permit }) => {
                self.preparing = None;
                self.parts.publisher.send(&self.completions, permit, admitted);
            }
            Event::Request(Ok(Some(request))) => match self.hear(&request) {
                Ok(()) => self.heard = Some(request),
                Err(error) => self.conversation.end(End::Failed(error)),
            },
            Event::Request(Ok(None)) => self.conversation.end(End::Done),
            Event::Request(Err(status)) => {
                self.conversation.end(End::Failed(StreamError::Unreadable(status.message().to_owned())));
            }
        }
        self.take_heard();
        Next::GoOn
    }

    /// Reads on only when the request before is on its way, and nothing has ended.
    fn reads(&self) -> bool {
        self.heard.is_none() && self.preparing.is_none() && !self.conversation.is_ending()
    }

    /// Looks at a request as a whole. One with more messages than a request may have would wait for credits for ever.
    fn hear(&mut self, request: &PublishStreamRequest) -> Result<(), StreamError> {
        Limits::chunk_size(request.messages.len()).map_err(StreamError::Invalid)?;
        self.conversation.hear(request)
    }

    /// Takes the request that waits, once there are credits for it.
    fn take_heard(&mut self) {
        let ready = self.preparing.is_none();
        let request =
            self.heard.take_if(|heard| ready && self.conversation.has_credits(heard.messages.len()));
        let Some(PublishStreamRequest { first_sequence, messages, .. }) = request else { return };
        let count = messages.len();
        if count == 0 {
            return;
        }
        self.conversation.take(first_sequence, count);
        let mut records = Vec::with_capacity(count);
        let message_bytes_max = self.parts.limits.message_bytes_max;
        for (sequence, message) in (first_sequence..).zip(self.parts.limits.chunk(messages)) {
            match message {
                Ok(mut record) => {
                    let headers = RecordHeaders::new(&mut record, message_bytes_max);
                    Propagator.inject(&self.parts.trace, headers);
                    records.push((sequence, record));
                }
                Err(violations) => self.conversation.complete(refused(sequence, &violations)),
            }
        }
        if throttle_ms(self.parts.budget.pressure()) > 0 {
            // The advice comes when it is needed: there may be no acknowledgement to tell for long.
            self.conversation.advise();
        }
        if !records.is_empty() {
            let (publisher, principal) = (self.parts.publisher.clone(), self.parts.principal.clone());
            self.preparing = Some(Box::pin(prepare(publisher, principal, Arc::clone(&self.budget), records)));
        }
    }

    /// Sends what there is to say; there is room for it, because nobody else sends here.
    fn write(&mut self) -> Next {
        let throttle_ms = throttle_ms(self.parts.budget.pressure());
        match self.conversation.news(throttle_ms) {
            None => Next::GoOn,
            Some(News::Response(response)) => {
                if throttle_ms > 0 {
                    self.parts.metrics.throttles.inc();
                }
                // Failing means that the caller has gone, which the loop sees next.
                let _gone = self.responses.try_send(Ok(response));
                self.take_heard();
                Next::GoOn
            }
            Some(News::End(End::Done)) => Next::Stop,
            Some(News::End(End::Failed(error))) => self.fail(error),
        }
    }

    /// Ends the stream with an error, behind what was said before.
    fn fail(&mut self, error: StreamError) -> Next {
        let refusal = Refusal::from(error);
        self.parts.metrics.refused(refusal.reason());
        if let Some(last_word) = self.last_word.take() {
            last_word.send(Err(refusal.status()));
        }
        Next::Stop
    }
}

async fn prepare(
    publisher: Publisher,
    principal: Principal,
    budget: Arc<StreamBudget>,
    records: Vec<(u64, Record)>,
) -> Prepared {
    let cost = Admitted::cost(&records);
    let admitted = publisher.admit(&principal, records).await;
    Prepared { admitted, permit: budget.take(cost).await }
}

/// Waits for what is being prepared; forever if nothing is. Cancel safe.
async fn prepared(preparing: &mut Option<Pin<Box<dyn Future<Output = Prepared> + Send>>>) -> Prepared {
    match preparing {
        Some(preparing) => preparing.await,
        None => std::future::pending().await,
    }
}

/// Waits for the deadline; forever if there is none. Cancel safe.
async fn passed(deadline: Option<Deadline>) {
    match deadline {
        Some(deadline) => deadline.passed().await,
        None => std::future::pending().await,
    }
}

/// A message that is not valid fails alone, with all that is wrong with it.
fn refused(sequence: u64, violations: &[Violation]) -> Completed {
    let all: Vec<_> = violations.iter().map(ToString::to_string).collect();
    Completed { sequence, outcome: Outcome::Refused(Cause::new(Why::InvalidArgument, all.join("; "))) }
}
