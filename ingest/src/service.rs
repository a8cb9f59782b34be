//! The gRPC service: dispatches calls, and converts errors into statuses.

use std::sync::Arc;

use tailcast_proto::ingest::v1::{
    PublishRequest, PublishResponse, PublishStreamRequest, PublishStreamResponse,
    ingest_service_server::IngestService,
};
use tailcast_services::lifecycle::Lifecycle;
use tokio::sync::{Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use crate::{
    call_error::CallError,
    gate::{ArrivingCall, Caller},
    metrics::Metrics,
    publish::Calls,
    stream::{Parts, Stream, StreamError},
};

/// Maximum number of responses buffered for HTTP/2. One, because acknowledgements that are held
/// back longer merge into fewer ranges. The final status has a slot of its own behind it.
const RESPONSES_MAX: usize = 1;

/// `tailcast.ingest.v1.IngestService`.
pub(crate) struct Ingestion {
    pub(crate) calls: Calls,
    pub(crate) stream_credits: usize,
    pub(crate) streams: Arc<Semaphore>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) lifecycle: Lifecycle,
    /// Cancelled when draining exceeds its time limit.
    pub(crate) overdue: CancellationToken,
}

#[tonic::async_trait]
impl IngestService for Ingestion {
    type PublishStreamStream = ReceiverStream<Result<PublishStreamResponse, Status>>;

    async fn publish(&self, request: Request<PublishRequest>) -> Result<Response<PublishResponse>, Status> {
        let published = self.calls.publish(request).await;
        published.map(Response::new).map_err(|error| self.refuse(error))
    }

    async fn publish_stream(
        &self,
        mut request: Request<Streaming<PublishStreamRequest>>,
    ) -> Result<Response<Self::PublishStreamStream>, Status> {
        let Caller { principal, deadline, trace } = ArrivingCall::begin(&mut request);
        let place = Arc::clone(&self.streams).try_acquire_owned();
        let parts = Parts {
            _place: place.map_err(|_| self.refuse(StreamError::TooMany))?,
            publisher: self.calls.publisher.clone(),
            budget: self.calls.budget.clone(),
            limits: self.calls.limits,
            metrics: Arc::clone(&self.metrics),
            lifecycle: self.lifecycle.clone(),
            overdue: self.overdue.clone(),
            credits: self.stream_credits,
            principal,
            deadline,
            trace,
        };
        let (responses, queue) = mpsc::channel(RESPONSES_MAX + 1);
        let stream = Stream::new(parts, request.into_inner(), responses);
        self.lifecycle.spawn("ingest.stream", stream.run());
        Ok(Response::new(ReceiverStream::new(queue)))
    }
}

impl Ingestion {
    fn refuse(&self, error: impl Into<CallError>) -> Status {
        let refusal = error.into();
        self.metrics.refused(refusal.reason());
        refusal.status()
    }
}
