//! Whether Kafka answers, asked before a run that needs it: its client would try again for as long as the run lasts.

use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use rdkafka::{
    ClientConfig,
    consumer::{BaseConsumer, Consumer as _},
};

use crate::cli::Places;

/// How long it may take to answer.
const WITHIN: Duration = Duration::from_secs(5);

/// Asks Kafka for the topic, where anything is to be done with Kafka. Blocks.
///
/// # Errors
///
/// When it does not answer. Whether it has the topic is left to who needs it.
pub(crate) fn reach_kafka(places: &Places) -> Result<()> {
    let needed = places.ingest.is_none() || places.create_topic.is_some() || places.compare_kafka;
    match places.kafka.as_deref().filter(|_| needed) {
        Some(broker) => ask(broker, places.topic.as_str(), WITHIN),
        None => Ok(()),
    }
}

fn ask(broker: &str, topic: &str, within: Duration) -> Result<()> {
    let client: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", broker)
        .set("client.id", "loadgen")
        // To ask for a topic is not to create it.
        .set("allow.auto.create.topics", "false")
        .create()
        .context("the Kafka client cannot be made")?;
    let answer = client.fetch_metadata(Some(topic), within);
    // Its source says the same again.
    answer.map(|_| ()).map_err(|error| anyhow!("--kafka: no Kafka answers at {broker}: {error}"))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use rdkafka::mocking::MockCluster;

    use super::*;

    // It was found out when the schedule was over, and then waited for another minute.
    #[test]
    fn a_kafka_that_is_not_there_is_named_before_the_run() {
        let kafka = MockCluster::new(1).expect("a broker");
        ask(&kafka.bootstrap_servers(), "quotes", WITHIN).expect("it answers, whatever topics it has");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let broker = listener.local_addr().expect("it is bound").to_string();
        let error = ask(&broker, "quotes", Duration::from_millis(300)).expect_err("nobody answers there");
        assert!(
            error.to_string().starts_with(&format!("--kafka: no Kafka answers at {broker}: ")),
            "{error:#}"
        );
    }
}
