//! From valid records to the producer: what unary calls and streams have in common.
//!
//! This is the one place where the permission to publish is checked, for each record. A record that is denied fails
//! alone, and its topic is not looked up for its sake.
//!
//! A topic is looked up before anything is enqueued, because librdkafka would keep a message for a topic that does not
//! exist until its timeout. Messages of one request are enqueued in order; when the producer takes no more, the rest of
//! the request is refused with it, so that a later message never overtakes an earlier one.

use std::{collections::HashMap, sync::Arc};

use futures_util::future::join_all;
use tailcast_proto::TopicName;
use tailcast_services::{
    permission::{Action, Permissions},
    principal::Principal,
    topics::{LookupError, Topics},
};

use crate::{
    budget::{Cost, InFlightPermit},
    completion::{Completions, PendingBatch},
    metrics::{Metrics, TopicMetrics},
    outcome::{Failure, FailureReason, Outcome},
    producer::Producer,
    validation::Record,
};

/// Publishes what is valid. Clones share it.
#[derive(Clone)]
pub(crate) struct Publisher {
    permissions: Permissions,
    topics: Topics,
    producer: Producer,
    metrics: Arc<Metrics>,
}

/// Records with their places in their call, whose permissions have been checked and whose topics have been looked up.
pub(crate) struct Admitted {
    records: Vec<(u64, Record)>,
    /// Each topic of a permitted record once.
    topics: Vec<Result<Arc<TopicMetrics>, Failure>>,
    /// For each record, which of the topics it has, or reason it must not be published.
    places: Vec<Result<usize, Failure>>,
}

impl Publisher {
    pub(crate) fn new(
        permissions: Permissions,
        topics: Topics,
        producer: Producer,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self { permissions, topics, producer, metrics }
    }

    /// Checks whether the principal may publish the records, and looks up the topics of those that it may, all at once.
    /// Cancel safe: nothing has been sent.
    pub(crate) async fn admit(&self, principal: &Principal, records: Vec<(u64, Record)>) -> Admitted {
        let permitted = records.iter().map(|(_, record)| self.permit(principal, record));
        let (names, places) = topics_of(permitted);
        let topics = join_all(names.iter().map(|name| self.look_up(name))).await;
        Admitted { records, topics, places }
    }

    /// Enqueues the records. Each ends in `completions`, whatever happens.
    pub(crate) fn send(&self, completions: &Arc<Completions>, permit: InFlightPermit, admitted: Admitted) {
        let Admitted { records, topics, places } = admitted;
        let known = topics.iter().map(|topic| topic.as_ref().ok().cloned()).collect();
        let batch = PendingBatch::new(Arc::clone(completions), Arc::clone(&self.metrics), known, permit);
        let mut full = None;
        for ((sequence, record), place) in records.into_iter().zip(places) {
            let pending = batch.message(place.as_ref().ok().copied(), sequence, record.bytes);
            let failed = match &place {
                Ok(place) => topics[*place].as_ref().err().or(full.as_ref()),
                Err(denied) => Some(denied),
            };
            if let Some(cause) = failed {
                pending.complete(Outcome::Refused(cause.clone()));
                continue;
            }
            let refused = self.producer.send(&record, pending).err();
            full = refused.filter(|cause| cause.reason == FailureReason::QueueFull);
        }
    }

    /// Returns the record's topic if the principal may publish the record.
    fn permit<'a>(&self, principal: &Principal, record: &'a Record) -> Result<&'a TopicName, Failure> {
        let action = Action::Publish { topic: &record.topic, key: record.key.as_ref() };
        match self.permissions.check(principal, action) {
            Ok(()) => Ok(&record.topic),
            Err(denied) => Err(Failure::new(FailureReason::PermissionDenied, denied.to_string())),
        }
    }

    async fn look_up(&self, name: &TopicName) -> Result<Arc<TopicMetrics>, Failure> {
        if self.topics.cached(name).is_some() {
            return Ok(self.metrics.topic(name));
        }
        match self.topics.lookup(name).await {
            Ok(_) => Ok(self.metrics.topic(name)),
            Err(LookupError::Unknown { .. }) => Err(Failure::new(
                FailureReason::UnknownTopic,
                format!("the topic {name} does not exist; create it first"),
            )),
            Err(error @ LookupError::Unavailable { .. }) => {
                Err(Failure::new(FailureReason::KafkaUnavailable, error.to_string()))
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

/// The topics of records, each once, and which of them each record has. Records without permission name no topic.
fn topics_of<'a>(
    records: impl Iterator<Item = Result<&'a TopicName, Failure>>,
) -> (Vec<TopicName>, Vec<Result<usize, Failure>>) {
    let (mut names, mut known) = (Vec::<TopicName>::new(), HashMap::new());
    let mut last: Option<(&TopicName, usize)> = None;
    let places = records.map(|topic| {
        let topic = topic?;
        // Neighbours mostly have the same topic, and to compare costs less than to hash.
        if let Some((_, place)) = last.filter(|(name, _)| *name == topic) {
            return Ok(place);
        }
        let place = *known.entry(topic).or_insert_with(|| {
            names.push(topic.clone());
            names.len() - 1
        });
        last = Some((topic, place));
        Ok(place)
    });
    let places = places.collect();
    (names, places)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_topic_is_named_once_and_every_record_has_its_own() {
        let named = ["a", "a", "b", "a", "c", "c", "b"];
        let topics = named.map(|name| TopicName::parse(name).expect("a topic name"));
        let (names, places) = topics_of(topics.iter().map(Ok));
        assert_eq!(names.iter().map(TopicName::as_str).collect::<Vec<_>>(), ["a", "b", "c"]);
        let found: Vec<_> = places.iter().flatten().map(|place| names[*place].as_str()).collect();
        assert_eq!(found, named);
    }

    #[test]
    fn a_record_without_permission_names_no_topic() {
        let open = TopicName::parse("open").expect("a topic name");
        let denied = Failure::new(FailureReason::PermissionDenied, "a test");
        let (names, places) = topics_of([Err(denied.clone()), Ok(&open), Err(denied.clone())].into_iter());
        assert_eq!((names, places), (vec![open], vec![Err(denied.clone()), Ok(0), Err(denied)]));
    }
}
