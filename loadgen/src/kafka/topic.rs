//! Topics: created for a run, or for a benchmark, which deletes its topic at the end.

use std::{
    sync::atomic::{AtomicU32, Ordering::Relaxed},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use futures_executor::block_on;
use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    types::RDKafkaErrorCode,
};

/// The number of partitions of a benchmark's topic, as in the commands of loadgen's README.
const PARTITIONS: u16 = 12;

/// How long Kafka may take to create or delete a topic.
const TIMEOUT: Duration = Duration::from_secs(60);

/// The number of topics that this process has created, so that each has its own name.
static CREATED: AtomicU32 = AtomicU32::new(0);

/// Creates a topic with the cluster's default replication. An existing topic is left unchanged.
pub(crate) async fn create_topic(kafka: &str, topic: &str, partitions: u16) -> Result<()> {
    let wanted = NewTopic::new(topic, i32::from(partitions), TopicReplication::Fixed(-1));
    let results = admin(kafka)?.create_topics([&wanted], &options()).await;
    for result in results.with_context(|| format!("Kafka at {kafka} does not answer"))? {
        match result {
            Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((topic, code)) => bail!("Kafka rejected the creation of topic {topic}: {code}"),
        }
    }
    Ok(())
}

/// The topic of a benchmark: created here and deleted at the end, or an existing one.
pub(crate) struct Topic {
    pub(crate) name: String,
    /// The number of partitions it was created with; unknown for an existing topic.
    pub(crate) partitions: Option<i32>,
    /// The Kafka to delete it from.
    created_on: Option<String>,
}

impl Topic {
    /// Uses an existing topic, or creates one. Blocks.
    pub(crate) fn use_or_create(kafka: &str, existing: Option<&str>) -> Result<Self> {
        if let Some(name) = existing {
            return Ok(Self { name: name.to_owned(), partitions: None, created_on: None });
        }
        let name = format!("tailcast-bench-{}-{}", std::process::id(), CREATED.fetch_add(1, Relaxed));
        block_on(create_topic(kafka, &name, PARTITIONS))?;
        Ok(Self { name, partitions: Some(PARTITIONS.into()), created_on: Some(kafka.to_owned()) })
    }

    /// Deletes the topic, if it was created here. Blocks.
    pub(crate) fn leave(mut self) -> Result<()> {
        self.delete().with_context(|| format!("topic {} could not be deleted", self.name))
    }

    fn delete(&mut self) -> Result<()> {
        let Some(kafka) = self.created_on.take() else { return Ok(()) };
        for result in block_on(admin(&kafka)?.delete_topics(&[&self.name], &options()))? {
            if let Err((_, code)) = result {
                bail!("Kafka answered {code}");
            }
        }
        Ok(())
    }
}

impl Drop for Topic {
    fn drop(&mut self) {
        // Reached after an error that has been reported already.
        let _ = self.delete();
    }
}

fn admin(kafka: &str) -> Result<AdminClient<DefaultClientContext>> {
    let client = ClientConfig::new().set("bootstrap.servers", kafka).create();
    client.context("the Kafka client cannot be created")
}

fn options() -> AdminOptions {
    AdminOptions::new().operation_timeout(Some(TIMEOUT)).request_timeout(Some(TIMEOUT))
}
