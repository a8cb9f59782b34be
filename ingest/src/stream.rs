//! `PublishStream`: one task per stream, between the caller, the budget and the producer.
//!
//! The loop has no rules: `conversation` decides about replies and the end. A request waits here,
//! and the next one is not read, until it has credits, its topics are known, and the budget admits
//! it. So a stream has at most one request in memory besides its messages in flight, and HTTP/2
//! flow control stops a caller that ignores its credits.

mod conversation;
mod ending;
mod throttle;

use std::{ops::ControlFlow, pin::Pin, sync::Arc};

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
    conversation::{Conversation, StreamReply},
    ending::End,
    throttle::throttle_ms,
};
use crate::{
    budget::{InFlightBudget, InFlightPermit, StreamBudget},
    call_error::CallError,
    completion::{CompletedMessage, Completions},
    deadline::Deadline,
    metrics::Metrics,
    outcome::{Failure, FailureReason, Outcome},
    publisher::{Admitted, Publisher},
    trace::{Propagator, RecordHeaders, TraceContext},
    validation::{MessageLimits, Record, Violation},
};

/// The parts of a stream.
pub(crate) struct Parts {
    pub(crate) publisher: Publisher,
    pub(crate) budget: InFlightBudget,
    pub(crate) limits: MessageLimits,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) lifecycle: Lifecycle,
    /// Cancelled when draining exceeds its time limit.
    pub(crate) overdue: CancellationToken,
    pub(crate) credits: usize,
    pub(crate) principal: Principal,
    pub(crate) deadline: Option<Deadline>,
    pub(crate) trace: TraceContext,
    /// The stream's place among the node's open streams.
    pub(crate) _place: OwnedSemaphorePermit,
}

/// One stream.
pub(crate) struct Stream {
    parts: Parts,
    requests: Streaming<PublishStreamRequest>,
    responses: mpsc::Sender<Result<PublishStreamResponse, Status>>,
    /// The slot for the final status, reserved at the beginning, so that the end does not wait for
    /// the caller.
    end_slot: Option<OwnedPermit<Result<PublishStreamResponse, Status>>>,
    conversation: Conversation,
    completions: Arc<Completions>,
    budget: Arc<StreamBudget>,
    /// A request that has no credits yet.
    pending_request: Option<PublishStreamRequest>,
    /// Accepted messages that cannot be enqueued yet.
    preparing: Option<Pin<Box<dyn Future<Output = Prepared> + Send>>>,
}

/// Messages that can be enqueued.
struct Prepared {
    admitted: Admitted,
    permit: InFlightPermit,
}

enum StreamEvent {
    /// The caller is gone.
    Gone,
    Deadline,
    Drain,
    Overdue,
    Writable,
    Completed,
    Prepared(Prepared),
    Request(Result<Option<PublishStreamRequest>, Status>),
}

impl Stream {
    /// A stream that answers into this queue, which must be empty and have room for a response and
    /// the final status.
    pub(crate) fn new(
        parts: Parts,
        requests: Streaming<PublishStreamRequest>,
        responses: mpsc::Sender<Result<PublishStreamResponse, Status>>,
    ) -> Self {
        Self {
            end_slot: responses.clone().try_reserve_owned().ok(),
            conversation: Conversation::new(parts.credits),
            completions: Completions::of_stream(),
            budget: Arc::new(parts.budget.open()),
            pending_request: None,
            preparing: None,
            requests,
            responses,
            parts,
        }
    }

    /// Serves the stream to its end. Messages that are enqueued by then stay in flight.
    pub(crate) async fn run(mut self) {
        self.parts.metrics.streams.inc();
        loop {
            let event = tokio::select! {
                // Ends come first; events that free credits come before those that use them.
                biased;
                () = self.responses.closed() => StreamEvent::Gone,
                () = self.parts.overdue.cancelled() => StreamEvent::Overdue,
                () = passed(self.parts.deadline) => StreamEvent::Deadline,
                () = self.parts.lifecycle.draining(), if !self.conversation.is_ending() => StreamEvent::Drain,
                () = self.completions.ready() => StreamEvent::Completed,
                Ok(_) = self.responses.reserve(), if self.conversation.has_reply() => StreamEvent::Writable,
                prepared = prepared(&mut self.preparing) => StreamEvent::Prepared(prepared),
                request = self.requests.message(), if self.reads() => StreamEvent::Request(request),
            };
            if matches!(self.apply(event), ControlFlow::Break(())) {
                break;
            }
        }
        self.parts.metrics.streams.dec();
    }

    fn apply(&mut self, event: StreamEvent) -> ControlFlow<()> {
        match event {
            StreamEvent::Gone => return ControlFlow::Break(()),
            // Neither waits for Kafka, nor for a caller that may never read. Messages not yet
            // enqueued never will be.
            StreamEvent::Deadline => return self.fail(StreamError::Deadline),
            StreamEvent::Overdue => return self.fail(StreamError::DrainedTooLong),
            StreamEvent::Drain => self.conversation.end(End::Failed(StreamError::Draining)),
            StreamEvent::Writable => return self.write(),
            StreamEvent::Completed => {
                self.completions.take().into_iter().for_each(|done| self.conversation.complete(done));
            }
            StreamEvent::Prepared(Prepared { admitted, permit }) => {
                self.preparing = None;
                self.parts.publisher.send(&self.completions, permit, admitted);
            }
            StreamEvent::Request(Ok(Some(request))) => match self.check_request(&request) {
                Ok(()) => self.pending_request = Some(request),
                Err(error) => self.conversation.end(End::Failed(error)),
            },
            StreamEvent::Request(Ok(None)) => self.conversation.end(End::Done),
            StreamEvent::Request(Err(status)) => {
                self.conversation.end(End::Failed(StreamError::Unreadable(status.message().to_owned())));
            }
        }
        self.take_pending_request();
        ControlFlow::Continue(())
    }

    /// Returns whether to read the next request: the previous one is enqueued, and the stream is
    /// not ending.
    fn reads(&self) -> bool {
        self.pending_request.is_none() && self.preparing.is_none() && !self.conversation.is_ending()
    }

    /// Checks a request as a whole. A request with too many messages would wait for credits for
    /// ever.
    fn check_request(&mut self, request: &PublishStreamRequest) -> Result<(), StreamError> {
        MessageLimits::chunk_size(request.messages.len()).map_err(StreamError::Invalid)?;
        self.conversation.check_request(request)
    }

    /// Accepts the pending request, once there are credits for it.
    fn take_pending_request(&mut self) {
        let ready = self.preparing.is_none();
        let request = self.pending_request.take_if(|pending_request| {
            ready && self.conversation.has_credits(pending_request.messages.len())
        });
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
            // Sent at once, because there may be no acknowledgement for a long time.
            self.conversation.request_response();
        }
        if !records.is_empty() {
            let (publisher, principal) = (self.parts.publisher.clone(), self.parts.principal.clone());
            self.preparing = Some(Box::pin(prepare(publisher, principal, Arc::clone(&self.budget), records)));
        }
    }

    /// Sends the next reply. The queue has room for it, because only this task sends.
    fn write(&mut self) -> ControlFlow<()> {
        let throttle_ms = throttle_ms(self.parts.budget.pressure());
        match self.conversation.next_reply(throttle_ms) {
            None => ControlFlow::Continue(()),
            Some(StreamReply::Response(response)) => {
                if throttle_ms > 0 {
                    self.parts.metrics.throttles.inc();
                }
                // It fails only if the caller is gone, which the loop notices next.
                let _gone = self.responses.try_send(Ok(response));
                self.take_pending_request();
                ControlFlow::Continue(())
            }
            Some(StreamReply::End(End::Done)) => ControlFlow::Break(()),
            Some(StreamReply::End(End::Failed(error))) => self.fail(error),
        }
    }

    /// Ends the stream with an error, after the replies sent before.
    fn fail(&mut self, error: StreamError) -> ControlFlow<()> {
        let error = CallError::from(error);
        self.parts.metrics.refused(error.reason());
        if let Some(end_slot) = self.end_slot.take() {
            end_slot.send(Err(error.status()));
        }
        ControlFlow::Break(())
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

/// Waits for the messages being prepared; for ever if there are none. Cancel safe.
async fn prepared(preparing: &mut Option<Pin<Box<dyn Future<Output = Prepared> + Send>>>) -> Prepared {
    match preparing {
        Some(preparing) => preparing.await,
        None => std::future::pending().await,
    }
}

/// Waits for the deadline; for ever if there is none. Cancel safe.
async fn passed(deadline: Option<Deadline>) {
    match deadline {
        Some(deadline) => deadline.passed().await,
        None => std::future::pending().await,
    }
}

/// The outcome of an invalid message, with all its violations.
fn refused(sequence: u64, violations: &[Violation]) -> CompletedMessage {
    let all: Vec<_> = violations.iter().map(ToString::to_string).collect();
    CompletedMessage {
        sequence,
        outcome: Outcome::Refused(Failure::new(FailureReason::InvalidArgument, all.join("; "))),
    }
}
