//! `bench floor` as a whole, in small: two processes, real sockets, a broker in this process.

use std::process::{Command, Output};

use rdkafka::mocking::MockCluster;
use serde_json::Value;

const SMALL: &str =
    "--connections 20 --keys 10 --rate 100 --payload 64 --warmup 200ms --duration 1s --json -";

fn run(arguments: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bench"));
    command.arg("floor").args(SMALL.split_whitespace()).args(arguments.split_whitespace());
    command.output().expect("the command was built with this test")
}

#[track_caller]
fn floor(arguments: &str) -> Value {
    let output = run(arguments);
    assert!(output.status.success(), "{}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("standard output is JSON")
}

#[test]
fn all_sent_bytes_are_received_and_counted() {
    // The command itself checks that the bytes arrived, and fails otherwise.
    let report = floor("--sends-only");
    let sends = &report["sends"];
    assert_eq!(sends["due"], 200, "{report}");
    let deliveries = sends["deliveries"].as_u64().expect("it is a count");
    // A busy machine may be late, never early: at most the warm-up's remaining events are added.
    assert!((1..=240).contains(&deliveries), "{report}");
    assert_eq!(sends["not_taken"], 0, "{report}");
    assert!(report["consumer"].is_null(), "{report}");
}

#[test]
fn records_are_published_and_read_at_the_same_rate() {
    let broker = MockCluster::new(1).expect("librdkafka has a cluster of its own");
    broker.create_topic("floor", 3, 1).expect("a topic can be made");
    let report = floor(&format!("--kafka {} --topic floor", broker.bootstrap_servers()));
    assert_eq!(report["consumer"]["records"], 100, "{report}");
    let rate = report["consumer"]["records_per_second"].as_f64().expect("it is a figure");
    assert!(rate > 1.0, "{report}");
}

#[test]
fn a_kafka_without_the_topic_is_an_error_that_names_it() {
    let broker = MockCluster::new(1).expect("librdkafka has a cluster of its own");
    let output = run(&format!("--kafka {} --topic nobodys", broker.bootstrap_servers()));
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("nobodys"), "{stderr}");
}
