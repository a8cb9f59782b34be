//! `bench ingest-cost` as a whole, in small: a scripted service in this process, and a broker.

use std::{
    pin::Pin,
    process::{Command, Output},
};

use rdkafka::mocking::MockCluster;
use serde_json::Value;
use tailcast_proto::ingest::v1::{
    AckRange, Acknowledged, Outcome, PublishRequest, PublishResponse, PublishStreamRequest,
    PublishStreamResponse,
    ingest_service_server::{IngestService, IngestServiceServer},
    outcome,
};
use tokio::{net::TcpListener, task::JoinSet};
use tokio_stream::{Stream, StreamExt as _, wrappers::TcpListenerStream};
use tonic::{Request, Response, Status, Streaming, transport::Server};

/// Acknowledges everything, or all but one of the messages of a stream.
struct Service {
    forgets: Option<u64>,
}

#[tonic::async_trait]
impl IngestService for Service {
    type PublishStreamStream = Pin<Box<dyn Stream<Item = Result<PublishStreamResponse, Status>> + Send>>;

    async fn publish(&self, request: Request<PublishRequest>) -> Result<Response<PublishResponse>, Status> {
        let one = || Outcome { result: Some(outcome::Result::Acknowledged(Acknowledged::default())) };
        let outcomes = request.into_inner().messages.iter().map(|_| one()).collect();
        Ok(Response::new(PublishResponse { outcomes }))
    }

    async fn publish_stream(
        &self,
        request: Request<Streaming<PublishStreamRequest>>,
    ) -> Result<Response<Self::PublishStreamStream>, Status> {
        let forgets = self.forgets;
        let answers = request.into_inner().map(move |request| {
            let request = request?;
            let first = request.first_sequence;
            let range = AckRange {
                first_sequence: first + u64::from(forgets == Some(first)),
                last_sequence: first + request.messages.len() as u64 - 1,
                ..AckRange::default()
            };
            Ok(PublishStreamResponse { acks: vec![range], ..PublishStreamResponse::default() })
        });
        Ok(Response::new(Box::pin(answers)))
    }
}

/// Runs the command against such a service, whose CPU is that of this process.
async fn ingest_cost(forgets: Option<u64>, arguments: &[&str]) -> Output {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let address = listener.local_addr().expect("it is bound").to_string();
    let service = IngestServiceServer::new(Service { forgets });
    let mut serving = JoinSet::new();
    serving
        .spawn(Server::builder().add_service(service).serve_with_incoming(TcpListenerStream::new(listener)));
    let broker = MockCluster::new(1).expect("librdkafka has a cluster of its own");
    broker.create_topic("events", 3, 1).expect("a topic can be made");
    let mut command = Command::new(env!("CARGO_BIN_EXE_bench"));
    command
        .arg("ingest-cost")
        .args(["--kafka", &broker.bootstrap_servers(), "--topic", "events", "--json", "-"])
        .args(["--ingest", &address, "--ingest-pid", &std::process::id().to_string()])
        .args(["--rounds", "1", "--events", "2000"])
        .args(arguments);
    tokio::task::block_in_place(|| command.output()).expect("the command was built with this test")
}

#[tokio::test(flavor = "multi_thread")]
async fn every_method_is_compared_with_the_bare_producer() {
    let output = ingest_cost(None, &["--bound", "0"]).await;
    let stderr = String::from_utf8_lossy(&output.stderr);
    let report: Value = serde_json::from_slice(&output.stdout).expect(&stderr);
    let methods = report["methods"].as_array().expect("there are methods");
    let found: Vec<_> =
        methods.iter().map(|method| (&method["method"], &method["rounds"][0]["ingest"]["events"])).collect();
    assert_eq!(
        format!("{found:?}"),
        r#"[(String("unary"), Number(400)), (String("batch"), Number(2000)), (String("stream"), Number(2000))]"#
    );
    // So few events may take no measurable CPU time; then there is no ratio, and the bound is
    // missed.
    let measured = methods[2]["ratio_median"].is_number();
    assert_eq!(output.status.code(), Some(if measured { 0 } else { 99 }), "{stderr}");
    assert!(stderr.contains("unary: 1 in a request, at most 200 in flight"), "{stderr}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bound_that_is_missed_ends_with_99() {
    let output = ingest_cost(None, &["--method", "stream", "--bound", "1000000"]).await;
    assert_eq!(output.status.code(), Some(99), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stderr).contains('✗'));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_is_not_acknowledged_is_an_error() {
    let output = ingest_cost(Some(1_000), &["--method", "stream"]).await;
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8_lossy(&output.stderr);
    // In the measured events, or in those before them.
    assert!(stderr.contains("expected an answer for event 1000"), "{stderr}");
}
