//! Callers that begin a request and do not complete it.

use std::time::Duration;

use futures_util::future::select;
use tailcast_ingest::Config;
use tailcast_proto::ingest::v1::{PublishRequest, PublishResponse};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;

use crate::node::{Node, PATIENCE, acknowledged, check, config, quotes};

/// Calls `Publish` with headers and never a request.
async fn half_send(node: &Node) -> Result<(), Status> {
    let mut client = tonic::client::Grpc::new(node.channel().await);
    client.ready().await.expect("the node is there");
    let path = "/tailcast.ingest.v1.IngestService/Publish".parse().expect("a path");
    let codec = ProstCodec::<PublishRequest, PublishResponse>::default();
    client.client_streaming(Request::new(tokio_stream::pending()), path, codec).await.map(|_| ())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_never_arrives_gives_its_place_to_the_next() {
    // Calls without a deadline kept their places for ever: as many of them as there are places, and
    // nobody could publish.
    let arrival_deadline = Duration::from_millis(300);
    let node = Node::with(Config { arriving_max: 1, arrival_deadline, ..config() }, &[]).await;
    let status = tokio::time::timeout(PATIENCE, half_send(&node)).await.expect("it is answered");
    check(&status.expect_err("it never arrived"), Code::DeadlineExceeded, "DEADLINE", "refused");
    acknowledged(&node.publish(quotes(1)).await.expect("there is room again")[0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_never_arrives_does_not_hold_up_the_end() {
    let drain_within = Duration::from_millis(300);
    let node = Node::with(Config { arriving_max: 1, drain_within, ..config() }, &[]).await;
    // There is one place: one of the two is rejected because the other one has it.
    let (first, second) = (Box::pin(half_send(&node)), Box::pin(half_send(&node)));
    let (refused, other) = select(first, second).await.factor_first();
    check(&refused.expect_err("it is one too many"), Code::ResourceExhausted, "ARRIVING_BOUND", "refused");
    let (answer, ending) = tokio::join!(other, node.finish());
    assert!(ending.is_clean(), "{ending}");
    check(&answer.expect_err("it never arrived"), Code::Unavailable, "DRAINING", "refused");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_never_speaks_http_2_is_closed_and_one_that_is_idle_is_not() {
    // HTTP/2 asks a silent client whether it is there, but only one that has said that it speaks
    // HTTP/2.
    let preface_deadline = Duration::from_millis(300);
    let node = Node::with(Config { preface_deadline, ..config() }, &[]).await;
    let mut publisher = node.publisher().await;
    let mut silent = TcpStream::connect(node.address).await.expect("the node listens");
    silent.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r").await.expect("it is open");
    node.until_metric("tailcast_ingest_connections", "2").await;
    let mut rest = Vec::new();
    let end = tokio::time::timeout(PATIENCE, silent.read_to_end(&mut rest)).await.expect("it is closed");
    assert!(end.is_ok(), "{end:?}");
    node.until_metric("tailcast_ingest_connections", "1").await;
    publisher.publish(PublishRequest { messages: quotes(1) }).await.expect("the idle one is still open");
}
