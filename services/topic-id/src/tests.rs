//! Against what needs no broker. What Kafka answers is tested with the topics of the services crate
//! and end to end.

use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::types::RDKafkaErrorCode;

use super::{DescribeError, describe_topics};

fn unreachable_client() -> BaseConsumer {
    // Port 1 of loopback: it has no listener.
    ClientConfig::new().set("bootstrap.servers", "127.0.0.1:1").create().expect("a client needs no broker")
}

#[test]
fn a_silent_kafka_is_an_error_at_the_timeout() {
    let (client, begin) = (unreachable_client(), Instant::now());
    let error = describe_topics(client.client(), &["quotes"], Duration::from_millis(200))
        .expect_err("no broker can answer");
    assert_eq!(error.code(), RDKafkaErrorCode::OperationTimedOut, "{error}");
    assert!(begin.elapsed() >= Duration::from_millis(190), "{:?}", begin.elapsed());
    assert!(begin.elapsed() < Duration::from_secs(2), "{:?}", begin.elapsed());
}

#[test]
fn a_name_with_a_zero_byte_is_refused_before_anything_is_sent() {
    let client = unreachable_client();
    let error =
        describe_topics(client.client(), &["quo\0tes"], Duration::from_secs(9)).expect_err("it is no name");
    assert!(matches!(&error, DescribeError::Name { name } if name == "quo\0tes"), "{error}");
}

#[test]
fn the_same_name_twice_is_refused_as_a_whole() {
    let client = unreachable_client();
    let error = describe_topics(client.client(), &["quotes", "quotes"], Duration::from_secs(9))
        .expect_err("librdkafka takes each name once");
    assert_eq!(error.code(), RDKafkaErrorCode::InvalidArgument, "{error}");
}
