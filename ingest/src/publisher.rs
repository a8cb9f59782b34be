//! From valid records to the producer: what unary calls and streams have in common.
//!
//! A topic is looked up before anything is enqueued, because librdkafka would keep a message for a topic that does not
//! exist until its timeout. Messages of one request are enqueued in order; when the producer takes no more, the rest of
//! the request is refused with it, so that a later message never overtakes an earlier one.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use futures_util::future::join_all;
use tailcast_proto::TopicName;
use tailcast_services::topics::{LookupError, Topics};

use crate::{
    budget::{Cost, Permit},
    delivery::{Batch, Completions},
    metrics::{Metrics, TopicMetrics},
    outcome::{Cause, Outcome, Why},
    producer::Producer,
    validation::Record,
};

/// Publishes what is valid. Clones share it.
#[derive(Clone)]
pub(crate) struct Publisher {
    topics: Topics,
    producer: Producer,
    metrics: Arc<Metrics>,
}

/// A record with its place in its call, whose topic has been looked up.
pub(crate) struct Admitted {
    sequence: u64,
    record: Record,
    topic: Result<Arc<TopicMetrics>, Cause>,
}

impl Publisher {
    pub(crate) fn new(topics: Topics, producer: Producer, metrics: Arc<Metrics>) -> Self {
        Self { topics, producer, metrics }
    }

    /// Looks the records' topics up, all at once. Cancel safe: nothing has been sent.
    pub(crate) async fn admit(&self, records: Vec<(u64, Record)>) -> Vec<Admitted> {
        let names: HashSet<_> = records.iter().map(|(_, record)| record.topic.clone()).collect();
        let lookups = names.into_iter().map(|name| async move {
            let found = self.look_up(&name).await;
            (name, found)
        });
        let topics: HashMap<_, _> = join_all(lookups).await.into_iter().collect();
        let admit = |(sequence, record): (u64, Record)| {
            let topic = topics[&record.topic].clone();
            Admitted { sequence, record, topic }
        };
        records.into_iter().map(admit).collect()
    }

    /// Enqueues the records. Each ends in `completions`, whatever happens.
    pub(crate) fn send(&self, completions: &Arc<Completions>, permit: Permit, records: Vec<Admitted>) {
        let batch = Batch::new(Arc::clone(completions), Arc::clone(&self.metrics), permit);
        let mut full = None;
        for Admitted { sequence, record, topic } in records {
            let delivery = batch.delivery(topic.as_ref().ok().cloned(), sequence, record.bytes);
            if let Some(cause) = topic.err().or_else(|| full.clone()) {
                delivery.complete(Outcome::Refused(cause));
                continue;
            }
            let refused = self.producer.send(&record, delivery).err();
            full = refused.filter(|cause| cause.why == Why::QueueFull);
        }
    }

    async fn look_up(&self, name: &TopicName) -> Result<Arc<TopicMetrics>, Cause> {
        if self.topics.cached(name).is_some() {
            return Ok(self.metrics.topic(name));
        }
        match self.topics.lookup(name).await {
            Ok(_) => Ok(self.metrics.topic(name)),
            Err(LookupError::Unknown { .. }) => Err(Cause::new(
                Why::UnknownTopic,
                format!("the topic {name} does not exist; create it first"),
            )),
            Err(error @ LookupError::Unavailable { .. }) => {
                Err(Cause::new(Why::KafkaUnavailable, error.to_string()))
            }
        }
    }
}

impl Admitted {
    /// What the records cost together.
    pub(crate) fn cost(records: &[(u64, Record)]) -> Cost {
        records.iter().fold(Cost::default(), |sum, (_, record)| sum + Cost::of_message(record.bytes))
    }
}
