//! Health, reflection and addresses.

use tailcast_ingest::{BindError, Config, ConfigError};
use tailcast_proto::ingest::v1::ingest_service_server::SERVICE_NAME;
use tailcast_services::in_process::InProcess;
use tonic::Code;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
};

use crate::node::{Node, PATIENCE, config};

async fn health(node: &Node) -> ServingStatus {
    let request = HealthCheckRequest { service: SERVICE_NAME.to_owned() };
    let answer = HealthClient::new(node.channel().await).check(request).await.expect("the service is known");
    answer.into_inner().status()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_health_service_says_serving_only_while_kafka_answers() {
    let kafka = InProcess::start(1).expect("the in-process broker starts");
    kafka.broker_down(None).expect("the broker lives");
    let node = Node::on(kafka, config(), &[]).await.expect("Kafka does not have to be there");
    assert_eq!(health(&node).await, ServingStatus::NotServing);

    let request = HealthCheckRequest { service: SERVICE_NAME.to_owned() };
    let watch = HealthClient::new(node.channel().await).watch(request).await;
    let mut watch = watch.expect("the service is known").into_inner();
    node.kafka.broker_up(None).expect("the broker lives");
    let serving = async {
        while let Some(answer) = watch.message().await.expect("the watch goes on") {
            if answer.status() == ServingStatus::Serving {
                return;
            }
        }
        panic!("the watch ended");
    };
    tokio::time::timeout(PATIENCE, serving).await.expect("it is serving once Kafka is back");
    // A watch does not hold up draining.
    assert!(node.finish().await.is_clean());
}

async fn services(node: &Node) -> Result<Vec<String>, tonic::Status> {
    let request = ServerReflectionRequest {
        message_request: Some(MessageRequest::ListServices(String::new())),
        ..ServerReflectionRequest::default()
    };
    let mut client = ServerReflectionClient::new(node.channel().await);
    let mut answers = client.server_reflection_info(tokio_stream::once(request)).await?.into_inner();
    match answers.message().await?.and_then(|answer| answer.message_response) {
        Some(MessageResponse::ListServicesResponse(list)) => {
            Ok(list.service.into_iter().map(|s| s.name).collect())
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn reflection_lists_publishing_and_health_where_it_is_on() {
    let found = services(&Node::start().await).await.expect("it is on");
    assert!(found.iter().any(|name| name == SERVICE_NAME), "{found:?}");
    assert!(found.iter().any(|name| name == "grpc.health.v1.Health"), "{found:?}");
    let off = Node::with(Config { reflection: false, ..config() }, &[]).await;
    assert_eq!(services(&off).await.map_err(|status| status.code()), Err(Code::Unimplemented));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_address_and_a_port_in_use_are_refused_with_what_to_do() {
    let kafka = InProcess::start(1).expect("the in-process broker starts");
    let open = Config { listen: "0.0.0.0:0".parse().expect("an address"), ..config() };
    let error = Node::on(kafka.clone(), open, &[]).await.err().expect("it is open");
    assert!(matches!(error, BindError::Config(ConfigError::Open { .. })), "{error}");
    let node = Node::on(kafka.clone(), config(), &[]).await.expect("a free port");
    let taken = Config { listen: node.address, ..config() };
    let error = Node::on(kafka, taken, &[]).await.err().expect("the port is taken");
    assert!(
        error.to_string().contains(&format!("ingest.listen: cannot listen on {}", node.address)),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bound_of_librdkafkas_queue_is_refused_with_the_bound_to_set() {
    // The operator's value was overwritten silently.
    let kafka = InProcess::start(1).expect("the in-process broker starts");
    for (name, instead) in [
        ("queue.buffering.max.messages", "ingest.in_flight_messages_max"),
        ("queue.buffering.max.kbytes", "ingest.in_flight_bytes_max"),
    ] {
        let error = Node::on(kafka.clone(), config(), &[(name, "100000")]).await.err().expect("it is ours");
        let BindError::Kafka(error) = error else { panic!("{error}") };
        assert!(error.to_string().contains(name) && error.to_string().contains(instead), "{error}");
    }
}
