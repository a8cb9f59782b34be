//! The checks that every publishing call passes before its method.
//!
//! tonic reads and decodes a unary request before it calls the method, and answers errors by
//! itself. The gate starts the call's deadline when its headers arrive, limits the number of
//! incomplete requests and the time for each, and gives tonic's errors the same details as those of
//! the methods.
//!
//! Invariant: an error of the gate has the outcome `refused`, because the method has not begun and
//! nothing was enqueued.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use tailcast_services::principal::Principal;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status, body::Body, codegen::Service, server::NamedService};

use crate::{
    call_error::{CallError, CallOutcome},
    deadline::{Deadline, TimeoutError, parse_timeout},
    metrics::Metrics,
    trace::{CallMetadata, Propagator, TraceContext},
};

/// Retry delay at the limit of incomplete requests, which is usually reached for milliseconds only.
const BUSY_RETRY: Duration = Duration::from_millis(100);

/// A service behind the gate.
#[derive(Clone)]
pub(crate) struct Gate<S> {
    inner: S,
    arriving: Arc<Semaphore>,
    bounds: ArrivalLimits,
    metrics: Arc<Metrics>,
}

/// Limits for requests that are arriving.
#[derive(Debug, Clone)]
pub(crate) struct ArrivalLimits {
    /// The maximum number of incomplete requests.
    pub(crate) arriving_max: usize,
    /// The maximum time for a request to arrive, whatever its caller's deadline.
    pub(crate) arrival_deadline: Duration,
    /// Cancelled when draining exceeds its time limit.
    pub(crate) overdue: CancellationToken,
}

/// A call between its headers and the beginning of its method; an extension of the request.
#[derive(Debug, Clone)]
pub(crate) struct ArrivingCall(Arc<ArrivingState>);

/// The caller of a method that has begun.
#[derive(Debug)]
pub(crate) struct Caller {
    /// The identity that needs the permission to publish.
    pub(crate) principal: Principal,
    /// The caller's deadline, if it set one.
    pub(crate) deadline: Option<Deadline>,
    /// The trace context of the call.
    pub(crate) trace: TraceContext,
}

#[derive(Debug)]
struct ArrivingState {
    principal: Principal,
    /// The caller's deadline, if it set one.
    deadline: Option<Deadline>,
    arrived_by: Instant,
    begun: AtomicBool,
    place: Mutex<Option<OwnedSemaphorePermit>>,
}

/// Why a call does not reach its method.
#[derive(Debug, thiserror::Error)]
enum GateError {
    #[error("{0}")]
    Timeout(#[from] TimeoutError),
    #[error("too many requests in progress; try again")]
    Busy,
    #[error("deadline exceeded before the whole request arrived; nothing was published")]
    Late,
    #[error("timeout: the request did not arrive completely within {0:?}; nothing was published")]
    Slow(Duration),
    #[error("this node shut down before the whole request arrived; nothing was published")]
    Draining,
    #[error("the request cannot be decoded: {0}")]
    Undecodable(String),
    #[error("{0}; send fewer or smaller messages in one request")]
    TooLarge(String),
}

impl<S> Gate<S> {
    pub(crate) fn new(inner: S, bounds: ArrivalLimits, metrics: Arc<Metrics>) -> Self {
        Self { inner, arriving: Arc::new(Semaphore::new(bounds.arriving_max)), bounds, metrics }
    }

    fn admit(
        &self,
        principal: Principal,
        timeout: Option<&http::HeaderValue>,
    ) -> Result<ArrivingCall, GateError> {
        let timeout = timeout.map(|header| parse_timeout(header.as_bytes())).transpose()?;
        let place = Arc::clone(&self.arriving).try_acquire_owned().map_err(|_| GateError::Busy)?;
        let now = Instant::now();
        Ok(ArrivingCall(Arc::new(ArrivingState {
            principal,
            deadline: timeout.map(|timeout| Deadline::after(now, timeout)),
            arrived_by: now + self.bounds.arrival_deadline,
            begun: AtomicBool::new(false),
            place: Mutex::new(Some(place)),
        })))
    }
}

impl ArrivingCall {
    /// Marks the method as begun, and returns its caller. From here on the in-flight limit applies
    /// instead of the limit of incomplete requests, and the method answers the call.
    pub(crate) fn begin<T>(request: &mut tonic::Request<T>) -> Caller {
        let trace = Propagator.extract(CallMetadata(request.metadata()));
        let Some(Self(arriving)) = request.extensions_mut().remove() else {
            // Without a gate the caller is not authenticated.
            return Caller { principal: Principal::Anonymous, deadline: None, trace };
        };
        arriving.begun.store(true, Ordering::Release);
        drop(arriving.place.lock().unwrap_or_else(PoisonError::into_inner).take());
        Caller { principal: arriving.principal.clone(), deadline: arriving.deadline, trace }
    }

    fn has_begun(&self) -> bool {
        self.0.begun.load(Ordering::Acquire)
    }

    /// Waits until it is too late to begin, and returns the reason. Waits for ever if the method
    /// has begun.
    async fn late(&self, bounds: &ArrivalLimits) -> GateError {
        let deadline = async {
            match self.0.deadline {
                Some(deadline) => deadline.passed().await,
                None => std::future::pending().await,
            }
        };
        let error = tokio::select! {
            () = deadline => GateError::Late,
            () = tokio::time::sleep_until(self.0.arrived_by) => GateError::Slow(bounds.arrival_deadline),
            () = bounds.overdue.cancelled() => GateError::Draining,
        };
        if self.has_begun() {
            std::future::pending::<()>().await;
        }
        error
    }
}

impl<S> Service<http::Request<Body>> for Gate<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: http::Request<Body>) -> Self::Future {
        let (bounds, metrics) = (self.bounds.clone(), Arc::clone(&self.metrics));
        // A call without a connection's principal is anonymous, which never has more rights.
        let principal = request.extensions().get().cloned().unwrap_or(Principal::Anonymous);
        let call = match self.admit(principal, request.headers().get("grpc-timeout")) {
            Ok(call) => call,
            Err(error) => return Box::pin(std::future::ready(Ok(error.response(&metrics)))),
        };
        request.extensions_mut().insert(call.clone());
        let answer = self.inner.call(request);
        Box::pin(async move {
            tokio::select! {
                // The method's answer first: it may come exactly at the deadline.
                biased;
                answer = answer => answer.map(|answer| with_details(answer, &call, &metrics)),
                late = call.late(&bounds) => Ok(late.response(&metrics)),
            }
        })
    }
}

impl<S: NamedService> NamedService for Gate<S> {
    const NAME: &'static str = S::NAME;
}

/// Adds the details of our errors to an error that tonic answered before the method began.
fn with_details(
    answer: http::Response<Body>,
    call: &ArrivingCall,
    metrics: &Metrics,
) -> http::Response<Body> {
    if call.has_begun() {
        return answer;
    }
    let Some(status) = Status::from_header_map(answer.headers()) else { return answer };
    match status.code() {
        Code::Internal => GateError::Undecodable(status.message().to_owned()).response(metrics),
        Code::OutOfRange => GateError::TooLarge(status.message().to_owned()).response(metrics),
        // Such as an unknown method or encoding: tonic's message is good.
        _ => answer,
    }
}

impl GateError {
    fn response(self, metrics: &Metrics) -> http::Response<Body> {
        let error = CallError::from(self);
        metrics.refused(error.reason());
        error.status().into_http()
    }
}

impl From<GateError> for CallError {
    fn from(error: GateError) -> Self {
        let message = error.to_string();
        let error = match error {
            GateError::Timeout(_) => Self::new(Code::InvalidArgument, "INVALID_TIMEOUT", message),
            GateError::Busy => {
                Self::new(Code::ResourceExhausted, "ARRIVING_BOUND", message).retry_after(BUSY_RETRY)
            }
            GateError::Late | GateError::Slow(_) => Self::new(Code::DeadlineExceeded, "DEADLINE", message),
            GateError::Draining => Self::new(Code::Unavailable, "DRAINING", message),
            GateError::Undecodable(_) => Self::new(Code::InvalidArgument, "MALFORMED_REQUEST", message),
            GateError::TooLarge(_) => Self::new(Code::InvalidArgument, "REQUEST_TOO_LARGE", message),
        };
        error.outcome(CallOutcome::Refused)
    }
}

#[cfg(test)]
mod tests;
