//! The topic that records go through: one of its own, which is gone afterwards, or one that is there.

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use futures_executor::block_on;
use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
};

/// As many as in the commands of loadgen's page.
const PARTITIONS: i32 = 12;

/// How long Kafka may take to create or delete the topic.
const PATIENCE: Duration = Duration::from_secs(30);

/// How many topics this process has asked for, so that each has another name.
static CREATED: AtomicU32 = AtomicU32::new(0);

/// A topic.
pub(crate) struct Topic {
    pub(crate) name: String,
    /// How many it was created with; Kafka knows of one that is there.
    pub(crate) partitions: Option<i32>,
    /// Whether it is deleted in the end.
    admin: Option<AdminClient<DefaultClientContext>>,
}

impl Topic {
    /// Takes a topic that is there, or creates one.
    ///
    /// # Errors
    ///
    /// When Kafka does not create it.
    pub(crate) fn take_or_create(kafka: &str, existing: Option<&str>) -> Result<Self> {
        if let Some(name) = existing {
            return Ok(Self { name: name.to_owned(), partitions: None, admin: None });
        }
        let admin: AdminClient<DefaultClientContext> = ClientConfig::new()
            .set("bootstrap.servers", kafka)
            .create()
            .context("the Kafka client cannot be made")?;
        let number = CREATED.fetch_add(1, Ordering::Relaxed);
        let name = format!("tailcast-bench-{}-{number}", std::process::id());
        let wanted = NewTopic::new(&name, PARTITIONS, TopicReplication::Fixed(-1));
        let results = block_on(admin.create_topics([&wanted], &options()))
            .with_context(|| format!("no Kafka answers at {kafka}"))?;
        for result in results {
            if let Err((topic, code)) = result {
                bail!("Kafka does not create topic {topic}: {code}");
            }
        }
        Ok(Self { name, partitions: Some(PARTITIONS), admin: Some(admin) })
    }

    /// Deletes the topic, if it was created.
    ///
    /// # Errors
    ///
    /// When Kafka does not.
    pub(crate) fn leave(mut self) -> Result<()> {
        self.delete().with_context(|| format!("topic {} is left behind", self.name))
    }

    fn delete(&mut self) -> Result<()> {
        let Some(admin) = self.admin.take() else { return Ok(()) };
        for result in block_on(admin.delete_topics(&[&self.name], &options()))? {
            if let Err((_, code)) = result {
                bail!("Kafka does not delete it: {code}");
            }
        }
        Ok(())
    }
}

impl Drop for Topic {
    fn drop(&mut self) {
        // After a failure that is being told already.
        let _ = self.delete();
    }
}

fn options() -> AdminOptions {
    AdminOptions::new().operation_timeout(Some(PATIENCE)).request_timeout(Some(PATIENCE))
}
