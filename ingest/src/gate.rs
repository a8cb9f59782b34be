//! What every publishing call passes before its method.
//!
//! tonic reads and decodes a unary request before it calls the method, and answers by itself what goes wrong there. Here
//! the call's deadline starts when its headers arrive, the number of requests that are arriving is bounded, and what
//! tonic answers in place of the method gets the same details as the method's own errors.
//!
//! Invariant: an answer given here says `refused`, because the method has not begun and nothing was enqueued.

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

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};
use tonic::{Code, Status, body::Body, codegen::Service, server::NamedService};

use crate::{
    deadline::{Deadline, TimeoutError, parse_timeout},
    metrics::Metrics,
    refusal::{Ending, Refusal},
};

/// The bound on requests that are arriving is usually met for milliseconds.
const BUSY_RETRY: Duration = Duration::from_millis(100);

/// A service with the gate before it.
#[derive(Clone)]
pub(crate) struct Gate<S> {
    inner: S,
    arriving: Arc<Semaphore>,
    metrics: Arc<Metrics>,
}

/// A call from its headers to the beginning of its method, which finds this in the request's extensions.
#[derive(Debug, Clone)]
pub(crate) struct Arrival(Arc<Arriving>);

#[derive(Debug)]
struct Arriving {
    deadline: Option<Deadline>,
    begun: AtomicBool,
    place: Mutex<Option<OwnedSemaphorePermit>>,
}

/// Why a call does not reach its method.
#[derive(Debug, thiserror::Error)]
enum GateError {
    #[error("{0}")]
    Timeout(#[from] TimeoutError),
    #[error("as many requests are arriving as this node reads at a time; try again")]
    Busy,
    #[error("the deadline passed before the request had arrived; nothing was published")]
    Late,
    #[error("the request cannot be read: {0}")]
    Undecodable(String),
    #[error("{0}; send fewer or smaller messages in one request")]
    TooLarge(String),
}

impl<S> Gate<S> {
    pub(crate) fn new(inner: S, arriving_max: usize, metrics: Arc<Metrics>) -> Self {
        Self { inner, arriving: Arc::new(Semaphore::new(arriving_max)), metrics }
    }

    fn admit(&self, timeout: Option<&http::HeaderValue>) -> Result<Arrival, GateError> {
        let timeout = timeout.map(|header| parse_timeout(header.as_bytes())).transpose()?;
        let place = Arc::clone(&self.arriving).try_acquire_owned().map_err(|_| GateError::Busy)?;
        Ok(Arrival(Arc::new(Arriving {
            deadline: timeout.map(|timeout| Deadline::after(Instant::now(), timeout)),
            begun: AtomicBool::new(false),
            place: Mutex::new(Some(place)),
        })))
    }
}

impl Arrival {
    /// Says that the method has begun, and returns the deadline that the caller set. From here on the messages are
    /// the budget's, and the answer is the method's.
    pub(crate) fn begin<T>(request: &mut tonic::Request<T>) -> Option<Deadline> {
        let Self(arriving) = request.extensions_mut().remove()?;
        arriving.begun.store(true, Ordering::Release);
        drop(arriving.place.lock().unwrap_or_else(PoisonError::into_inner).take());
        arriving.deadline
    }

    fn has_begun(&self) -> bool {
        self.0.begun.load(Ordering::Acquire)
    }

    /// Waits until it is too late to begin; forever if the method has begun or there is no deadline.
    async fn late(&self) {
        match self.0.deadline {
            Some(deadline) => deadline.passed().await,
            None => std::future::pending().await,
        }
        if self.has_begun() {
            std::future::pending::<()>().await;
        }
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
        let metrics = Arc::clone(&self.metrics);
        let arrival = match self.admit(request.headers().get("grpc-timeout")) {
            Ok(arrival) => arrival,
            Err(error) => return Box::pin(std::future::ready(Ok(error.response(&metrics)))),
        };
        request.extensions_mut().insert(arrival.clone());
        let answer = self.inner.call(request);
        Box::pin(async move {
            tokio::select! {
                // The answer first: a method that has begun may answer at the deadline.
                biased;
                answer = answer => answer.map(|answer| examined(answer, &arrival, &metrics)),
                () = arrival.late() => Ok(GateError::Late.response(&metrics)),
            }
        })
    }
}

impl<S: NamedService> NamedService for Gate<S> {
    const NAME: &'static str = S::NAME;
}

/// Gives what tonic answered in place of the method the details that the method's own errors have.
fn examined(answer: http::Response<Body>, arrival: &Arrival, metrics: &Metrics) -> http::Response<Body> {
    if arrival.has_begun() {
        return answer;
    }
    let Some(status) = Status::from_header_map(answer.headers()) else { return answer };
    match status.code() {
        Code::Internal => GateError::Undecodable(status.message().to_owned()).response(metrics),
        Code::OutOfRange => GateError::TooLarge(status.message().to_owned()).response(metrics),
        // An unknown method, an encoding that is not supported: tonic's words are good.
        _ => answer,
    }
}

impl GateError {
    fn response(self, metrics: &Metrics) -> http::Response<Body> {
        let refusal = Refusal::from(self);
        metrics.refused(refusal.reason());
        refusal.status().into_http()
    }
}

impl From<GateError> for Refusal {
    fn from(error: GateError) -> Self {
        let message = error.to_string();
        let refusal = match error {
            GateError::Timeout(_) => Self::new(Code::InvalidArgument, "INVALID_TIMEOUT", message),
            GateError::Busy => {
                Self::new(Code::ResourceExhausted, "ARRIVING_BOUND", message).retry_after(BUSY_RETRY)
            }
            GateError::Late => Self::new(Code::DeadlineExceeded, "DEADLINE", message),
            GateError::Undecodable(_) => Self::new(Code::InvalidArgument, "MALFORMED_REQUEST", message),
            GateError::TooLarge(_) => Self::new(Code::InvalidArgument, "REQUEST_TOO_LARGE", message),
        };
        refusal.ending(Ending::Refused)
    }
}

#[cfg(test)]
mod tests {
    use tonic_types::StatusExt;

    use super::*;

    /// What stands behind the gate in these tests.
    #[derive(Clone)]
    enum Behind {
        /// A method that begins at once and answers later.
        Method,
        /// A method that begins at once and never answers.
        Stuck,
        /// A request that never arrives.
        Nothing,
        /// tonic, answering in place of the method.
        Tonic(Status),
    }

    impl Service<http::Request<Body>> for Behind {
        type Response = http::Response<Body>;
        type Error = Infallible;
        type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, request: http::Request<Body>) -> Self::Future {
            let behind = self.clone();
            Box::pin(async move {
                match behind {
                    Self::Method | Self::Stuck => {
                        let (parts, body) = request.into_parts();
                        let mut request =
                            tonic::Request::from_parts(Default::default(), parts.extensions, body);
                        Arrival::begin(&mut request);
                        if matches!(behind, Self::Stuck) {
                            std::future::pending::<()>().await;
                        }
                        tokio::task::yield_now().await;
                        Ok(Status::ok("method").into_http())
                    }
                    Self::Nothing => std::future::pending().await,
                    Self::Tonic(status) => Ok(status.into_http()),
                }
            })
        }
    }

    fn gate(behind: Behind) -> Gate<Behind> {
        Gate::new(behind, 1, Arc::default())
    }

    async fn call(gate: &mut Gate<Behind>, timeout: &str) -> Status {
        let request = http::Request::builder().header("grpc-timeout", timeout);
        let Ok(response) = gate.call(request.body(Body::empty()).expect("a request")).await;
        Status::from_header_map(response.headers()).expect("every answer has a status")
    }

    fn reason(status: &Status) -> String {
        status.get_error_details().error_info().map(|info| info.reason.clone()).unwrap_or_default()
    }

    #[tokio::test]
    async fn a_request_that_has_not_arrived_by_its_deadline_is_refused() {
        let status = call(&mut gate(Behind::Nothing), "5m").await;
        assert_eq!((status.code(), reason(&status).as_str()), (Code::DeadlineExceeded, "DEADLINE"));
        let details = status.get_error_details();
        let outcome = details.error_info().and_then(|info| info.metadata.get("outcome"));
        assert_eq!(outcome.map(String::as_str), Some("refused"));
    }

    #[tokio::test]
    async fn a_method_that_has_begun_answers_itself() {
        // The deadline has passed before the method can answer.
        let status = call(&mut gate(Behind::Method), "0m").await;
        assert_eq!(status.message(), "method");
    }

    #[tokio::test]
    async fn what_tonic_answers_in_place_of_the_method_has_details_too() {
        let status = call(&mut gate(Behind::Tonic(Status::internal("buffer underflow"))), "1S").await;
        assert_eq!((status.code(), reason(&status).as_str()), (Code::InvalidArgument, "MALFORMED_REQUEST"));
        assert!(status.message().contains("buffer underflow"));
        let status = call(&mut gate(Behind::Tonic(Status::out_of_range("too large"))), "1S").await;
        assert_eq!((status.code(), reason(&status).as_str()), (Code::InvalidArgument, "REQUEST_TOO_LARGE"));
        let status = call(&mut gate(Behind::Tonic(Status::unimplemented("gzip"))), "1S").await;
        assert_eq!(status.code(), Code::Unimplemented);
    }

    #[tokio::test]
    async fn a_timeout_that_says_nothing_is_refused_with_what_would_be_right() {
        let status = call(&mut gate(Behind::Nothing), "soon").await;
        assert_eq!((status.code(), reason(&status).as_str()), (Code::InvalidArgument, "INVALID_TIMEOUT"));
        assert!(status.message().contains("for example 500m"));
    }

    #[tokio::test]
    async fn only_so_many_requests_arrive_at_a_time_and_a_method_that_began_is_no_longer_one() {
        let mut gate = gate(Behind::Nothing);
        let arriving = gate.call(http::Request::new(Body::empty()));
        let status = call(&mut gate, "1S").await;
        assert_eq!((status.code(), reason(&status).as_str()), (Code::ResourceExhausted, "ARRIVING_BOUND"));
        drop(arriving);
        gate.inner = Behind::Stuck;
        let mut begun = gate.call(http::Request::new(Body::empty()));
        assert!(futures_util::poll!(&mut begun).is_pending());
        gate.inner = Behind::Method;
        assert_eq!(call(&mut gate, "9S").await.message(), "method");
    }
}
