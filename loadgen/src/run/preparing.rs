//! What comes before the schedule: the topic, the way in, the connections, and the bare consumer.

use anyhow::{Context as _, Result};
use tokio::{task::spawn_blocking, time::sleep};

use super::Run;
use crate::{bare_consumer::BareConsumer, crew, kafka, progress::Progress, publish::WayIn};

impl Run<'_> {
    /// Prepares everything up to the first event.
    ///
    /// # Errors
    ///
    /// When something does not work, or there is an interrupt: there are no results yet that would be lost.
    pub(super) async fn prepare(&mut self) -> Result<(WayIn, Option<BareConsumer>)> {
        let (places, interrupts) = (&self.cli.places, &mut self.interrupts);
        if let (Some(broker), Some(partitions)) = (&places.kafka, places.create_topic) {
            let creating = kafka::create_topic(broker, places.topic.as_str(), partitions);
            interrupts.unless("creating the topic", creating).await?;
            interrupts.unless("waiting for the topic to be served", crew::await_topic(&self.shared)).await?;
        }
        let opening = WayIn::open(places, &self.ledger);
        let way_in = interrupts.unless("connecting to what takes the events", opening).await?;
        let asking = async {
            self.course.begin().await;
            Ok(())
        };
        interrupts.unless("asking the nodes for their metrics", asking).await?;
        self.course.memory.before = self.course.servers.memory();
        let connecting = Progress::new("connecting", self.cli.readers.connections.into());
        interrupts.unless(&connecting, self.fleet.open(&connecting)).await?;
        drop(connecting);
        let idle = async {
            sleep(self.cli.load.idle).await;
            Ok(())
        };
        interrupts.unless("the connections were idle", idle).await?;
        self.course.memory.idle = self.course.servers.memory();
        let bare_consumer = match places.kafka.clone().filter(|_| places.compare_kafka) {
            Some(broker) => {
                let topic = places.topic.to_string();
                #[expect(
                    clippy::disallowed_methods,
                    reason = "it blocks, and at an interrupt nobody waits for it"
                )]
                let opening = spawn_blocking(move || BareConsumer::open(&broker, &topic));
                let opening = async { opening.await.context("the bare consumer's thread failed")? };
                Some(interrupts.unless("opening the bare consumer", opening).await?)
            }
            None => None,
        };
        Ok((way_in, bare_consumer))
    }
}
