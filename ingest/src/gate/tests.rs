//! The calls that pass the gate, and those that it answers.

use tonic_types::StatusExt;

use super::*;

/// The service behind the gate in these tests.
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
                    let mut request = tonic::Request::from_parts(Default::default(), parts.extensions, body);
                    ArrivingCall::begin(&mut request);
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
    gate_with(behind, Duration::from_secs(10))
}

fn gate_with(behind: Behind, arrival_deadline: Duration) -> Gate<Behind> {
    let overdue = CancellationToken::new();
    Gate::new(behind, ArrivalLimits { arriving_max: 1, arrival_deadline, overdue }, Arc::default())
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
async fn a_request_that_takes_too_long_to_arrive_gives_its_place_back_whatever_its_deadline() {
    // Without a deadline of the caller's it kept its place for as long as the connection lived.
    let mut gate = gate_with(Behind::Nothing, Duration::from_millis(10));
    let Ok(response) = gate.call(http::Request::new(Body::empty())).await;
    let status = Status::from_header_map(response.headers()).expect("every answer has a status");
    assert_eq!((status.code(), reason(&status).as_str()), (Code::DeadlineExceeded, "DEADLINE"));
    assert!(status.message().contains("did not arrive completely within 10ms"), "{status:?}");
    let status = call(&mut gate, "99H").await;
    assert_eq!((status.code(), reason(&status).as_str()), (Code::DeadlineExceeded, "DEADLINE"));
    gate.inner = Behind::Method;
    assert_eq!(call(&mut gate, "9S").await.message(), "method");
}

#[tokio::test]
async fn a_method_that_has_begun_may_take_longer_than_a_request_to_arrive() {
    // The time to arrive has passed before the method can answer.
    let status = call(&mut gate_with(Behind::Method, Duration::ZERO), "9S").await;
    assert_eq!(status.message(), "method");
}

#[tokio::test]
async fn what_is_arriving_when_draining_has_taken_too_long_is_refused() {
    let mut gate = gate(Behind::Nothing);
    let mut arriving = gate.call(http::Request::new(Body::empty()));
    assert!(futures_util::poll!(&mut arriving).is_pending());
    gate.bounds.overdue.cancel();
    let Ok(response) = arriving.await;
    let status = Status::from_header_map(response.headers()).expect("every answer has a status");
    assert_eq!((status.code(), reason(&status).as_str()), (Code::Unavailable, "DRAINING"));
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
