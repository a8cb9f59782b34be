//! Everything before the schedule: the topic, the publish path, the connections, and the bare
//! consumer.

use anyhow::{Context as _, Result};
use tokio::{task::spawn_blocking, time::sleep};

use super::Run;
use crate::{bare_consumer::BareConsumer, connections, kafka, progress::Progress, publish::PublishPath};

impl Run<'_> {
    /// Prepares everything up to the first event. Fails when a step fails, or at an interrupt:
    /// there are no results yet to lose.
    pub(super) async fn prepare(&mut self) -> Result<(PublishPath, Option<BareConsumer>)> {
        let (targets, interrupts) = (&self.cli.targets, &mut self.interrupts);
        if let (Some(broker), Some(partitions)) = (&targets.kafka, targets.create_topic) {
            let creating = kafka::create_topic(broker, targets.topic.as_str(), partitions);
            interrupts.unless("creating the topic", creating).await?;
            interrupts
                .unless("waiting for the nodes to serve the topic", connections::await_topic(&self.shared))
                .await?;
        }
        let opening = PublishPath::open(targets, &self.ledger);
        let publish_path = interrupts.unless("connecting to ingest or Kafka", opening).await?;
        let asking = async {
            self.monitor.begin().await;
            Ok(())
        };
        interrupts.unless("reading the nodes' metrics", asking).await?;
        self.monitor.memory.before = self.monitor.servers.memory();
        let connecting = Progress::new("connecting", self.cli.readers.connections.into());
        interrupts.unless(&connecting, self.fleet.open(&connecting)).await?;
        drop(connecting);
        let idle = async {
            sleep(self.cli.load.idle).await;
            Ok(())
        };
        interrupts.unless("the connections were idle", idle).await?;
        self.monitor.memory.idle = self.monitor.servers.memory();
        let bare_consumer = match targets.kafka.clone().filter(|_| targets.compare_kafka) {
            Some(broker) => {
                let topic = targets.topic.to_string();
                #[expect(clippy::disallowed_methods, reason = "it blocks, and is abandoned at an interrupt")]
                let opening = spawn_blocking(move || BareConsumer::open(&broker, &topic));
                let opening = async { opening.await.context("the bare consumer's thread failed")? };
                Some(interrupts.unless("opening the bare consumer", opening).await?)
            }
            None => None,
        };
        Ok((publish_path, bare_consumer))
    }
}
