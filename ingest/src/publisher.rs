//! From valid records to the producer: what unary calls and streams have in common.
//!
//! A topic is looked up before anything is enqueued, because librdkafka would keep a message for a topic that does not
//! exist until its timeout. Messages of one request are enqueued in order; when the producer takes no more, the rest of
//! the request is refused with it, so that a later message never overtakes an earlier one.

use std::{collections::HashMap, sync::Arc};

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

/// Records with their places in their call, whose topics have been looked up.
pub(crate) struct Admitted {
    records: Vec<(u64, Record)>,
    /// Each topic once.
    topics: Vec<Result<Arc<TopicMetrics>, Cause>>,
    /// Which of the topics each record has.
    places: Vec<usize>,
}

impl Publisher {
    pub(crate) fn new(topics: Topics, producer: Producer, metrics: Arc<Metrics>) -> Self {
        Self { topics, producer, metrics }
    }

    /// Looks the records' topics up, all at once. Cancel safe: nothing has been sent.
    pub(crate) async fn admit(&self, records: Vec<(u64, Record)>) -> Admitted {
        let (names, places) = topics_of(&records);
        let topics = join_all(names.iter().map(|name| self.look_up(name))).await;
        Admitted { records, topics, places }
    }

    /// Enqueues the records. Each ends in `completions`, whatever happens.
    pub(crate) fn send(&self, completions: &Arc<Completions>, permit: Permit, admitted: Admitted) {
        let Admitted { records, topics, places } = admitted;
        let known = topics.iter().map(|topic| topic.as_ref().ok().cloned()).collect();
        let batch = Batch::new(Arc::clone(completions), Arc::clone(&self.metrics), known, permit);
        let mut full = None;
        for ((sequence, record), place) in records.into_iter().zip(places) {
            let delivery = batch.delivery(place, sequence, record.bytes);
            if let Some(cause) = topics[place].as_ref().err().or(full.as_ref()) {
                delivery.complete(Outcome::Refused(cause.clone()));
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

/// The topics of records, each once, and which of them each record has.
fn topics_of(records: &[(u64, Record)]) -> (Vec<TopicName>, Vec<usize>) {
    let (mut names, mut known) = (Vec::<TopicName>::new(), HashMap::new());
    let mut last: Option<(&TopicName, usize)> = None;
    let places = records.iter().map(|(_, Record { topic, .. })| {
        // Neighbours mostly have the same topic, and to compare costs less than to hash.
        if let Some((_, place)) = last.filter(|(name, _)| *name == topic) {
            return place;
        }
        let place = *known.entry(topic).or_insert_with(|| {
            names.push(topic.clone());
            names.len() - 1
        });
        last = Some((topic, place));
        place
    });
    let places = places.collect();
    (names, places)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_topic_is_named_once_and_every_record_has_its_own() {
        let record = |topic: &str| Record {
            topic: TopicName::parse(topic).expect("a topic name"),
            key: None,
            value: None,
            headers: Vec::new(),
            timestamp_ms: None,
            bytes: 0,
        };
        let named = ["a", "a", "b", "a", "c", "c", "b"];
        let records: Vec<_> = (0..).zip(named.map(record)).collect();
        let (names, places) = topics_of(&records);
        assert_eq!(names.iter().map(TopicName::as_str).collect::<Vec<_>>(), ["a", "b", "c"]);
        assert_eq!(places.iter().map(|place| names[*place].as_str()).collect::<Vec<_>>(), named);
    }
}
