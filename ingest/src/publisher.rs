//! Publishes valid records: the part that unary calls and streams have in common.
//!
//! The permission to publish is checked here and nowhere else, for each record. A denied record
//! fails alone, and its topic is not looked up.
//!
//! Topics are looked up before anything is enqueued, because librdkafka would keep a message for an
//! unknown topic until its timeout. Messages of one request are enqueued in order. If the
//! producer's queue is full, the rest of the request is refused, so that no message overtakes an
//! earlier one.

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

/// Publishes valid records. Clones share its parts.
#[derive(Clone)]
pub(crate) struct Publisher {
    permissions: Permissions,
    topics: Topics,
    producer: Producer,
    metrics: Arc<Metrics>,
}

/// Records, with their indices in the call, after the check of permissions and the lookup of
/// topics.
pub(crate) struct Admitted {
    records: Vec<(u64, Record)>,
    /// The topics of the permitted records, each once.
    topics: Vec<Result<Arc<TopicMetrics>, Failure>>,
    /// For each record, the index of its topic, or why the record must not be published.
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

    /// Checks whether the principal may publish the records, and looks up the topics of the
    /// permitted ones, all at once. Cancel safe: nothing is sent.
    pub(crate) async fn admit(&self, principal: &Principal, records: Vec<(u64, Record)>) -> Admitted {
        let permitted = records.iter().map(|(_, record)| self.permit(principal, record));
        let (names, places) = topics_of(permitted);
        let topics = join_all(names.iter().map(|name| self.look_up(name))).await;
        Admitted { records, topics, places }
    }

    /// Enqueues the records. The outcome of each reaches `completions`, whatever happens.
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
                format!("topic {name} does not exist; create it first"),
            )),
            Err(error @ LookupError::Unavailable { .. }) => {
                Err(Failure::new(FailureReason::KafkaUnavailable, error.to_string()))
            }
        }
    }
}

impl Admitted {
    /// Returns the total cost of the records.
    pub(crate) fn cost(records: &[(u64, Record)]) -> Cost {
        records.iter().fold(Cost::default(), |sum, (_, record)| sum + Cost::of_message(record.bytes))
    }
}

/// Returns the topics of the permitted records, each once, and the index of each record's topic.
fn topics_of<'a>(
    records: impl Iterator<Item = Result<&'a TopicName, Failure>>,
) -> (Vec<TopicName>, Vec<Result<usize, Failure>>) {
    let (mut names, mut known) = (Vec::<TopicName>::new(), HashMap::new());
    let mut last: Option<(&TopicName, usize)> = None;
    let places = records.map(|topic| {
        let topic = topic?;
        // Successive records mostly have the same topic, and comparing costs less than hashing.
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
    fn every_topic_is_listed_once_and_every_record_has_its_own() {
        let named = ["a", "a", "b", "a", "c", "c", "b"];
        let topics = named.map(|name| TopicName::parse(name).expect("a topic name"));
        let (names, places) = topics_of(topics.iter().map(Ok));
        assert_eq!(names.iter().map(TopicName::as_str).collect::<Vec<_>>(), ["a", "b", "c"]);
        let found: Vec<_> = places.iter().flatten().map(|place| names[*place].as_str()).collect();
        assert_eq!(found, named);
    }

    #[test]
    fn the_topic_of_a_denied_record_is_not_listed() {
        let open = TopicName::parse("open").expect("a topic name");
        let denied = Failure::new(FailureReason::PermissionDenied, "a test");
        let (names, places) = topics_of([Err(denied.clone()), Ok(&open), Err(denied.clone())].into_iter());
        assert_eq!((names, places), (vec![open], vec![Err(denied.clone()), Ok(0), Err(denied)]));
    }
}
