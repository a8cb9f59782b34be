//! What is known of topics. Plain code: no IO, and time is an argument.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use tailcast_proto::TopicName;

use super::{Topic, TopicChange};

/// Names that do not exist and are remembered: what clients can make up is unbounded, memory is not.
const UNKNOWN_MAX: usize = 4096;

/// How long apart Kafka has to say twice that a known topic is gone: two questions at once are answered by the same broker,
/// which may have just started and not know the topic yet.
pub(super) const DOUBT: Duration = Duration::from_millis(250);

/// The topics that exist, and for a moment those that do not.
#[derive(Debug)]
pub(super) struct Cache {
    known: HashMap<TopicName, Entry>,
    unknown: HashMap<TopicName, Instant>,
    unknown_for: Duration,
}

#[derive(Debug)]
struct Entry {
    topic: Topic,
    /// Since when the answers have been that it is gone.
    missing_since: Option<Instant>,
}

/// What an answer changed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// Nothing that anybody has to know.
    None,
    /// Something for those who had looked the topic up.
    Changed(TopicChange),
    /// Kafka says that a known topic is gone: ask once more, soon.
    Doubtful,
}

impl Cache {
    pub(super) fn new(unknown_for: Duration) -> Self {
        Self { known: HashMap::new(), unknown: HashMap::new(), unknown_for }
    }

    pub(super) fn known(&self, topic: &TopicName) -> Option<Topic> {
        self.known.get(topic).map(|entry| entry.topic.clone())
    }

    pub(super) fn is_unknown(&self, topic: &TopicName, now: Instant) -> bool {
        self.unknown.get(topic).is_some_and(|until| now < *until)
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &TopicName> {
        self.known.keys()
    }

    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    /// Kafka says that the topic exists.
    pub(super) fn exists(&mut self, new: Topic) -> Effect {
        self.unknown.remove(&new.name);
        let entry = Entry { topic: new.clone(), missing_since: None };
        match self.known.insert(new.name.clone(), entry).map(|entry| entry.topic) {
            Some(old) if old.epoch != new.epoch => Effect::Changed(TopicChange::Recreated { old, new }),
            Some(from) if from.partitions != new.partitions => {
                Effect::Changed(TopicChange::Grown { from, to: new })
            }
            _ => Effect::None,
        }
    }

    /// Kafka says that there is no such topic.
    pub(super) fn absent(&mut self, topic: &TopicName, now: Instant) -> Effect {
        let since = self.known.get_mut(topic).map(|entry| *entry.missing_since.get_or_insert(now));
        if since.is_some_and(|since| now < since + DOUBT) {
            return Effect::Doubtful;
        }
        self.remember_unknown(topic, now);
        match self.known.remove(topic) {
            Some(entry) => Effect::Changed(TopicChange::Deleted { topic: entry.topic }),
            None => Effect::None,
        }
    }

    fn remember_unknown(&mut self, topic: &TopicName, now: Instant) {
        if self.unknown.len() >= UNKNOWN_MAX {
            self.unknown.retain(|_, until| now < *until);
        }
        if self.unknown.len() < UNKNOWN_MAX {
            self.unknown.insert(topic.clone(), now + self.unknown_for);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tailcast_proto::Epoch;

    const SECOND: Duration = Duration::from_secs(1);

    fn name(text: &str) -> TopicName {
        TopicName::parse(text).expect("a topic name")
    }

    fn quotes(epoch: i64, partitions: u32) -> Topic {
        Topic { name: name("quotes"), epoch: Epoch::from_bits(0, epoch), partitions }
    }

    #[test]
    fn a_topic_that_stays_as_it_was_changes_nothing() {
        let mut cache = Cache::new(SECOND);
        assert_eq!(cache.exists(quotes(1, 3)), Effect::None);
        assert_eq!(cache.exists(quotes(1, 3)), Effect::None);
        assert_eq!(cache.known(&name("quotes")), Some(quotes(1, 3)));
    }

    #[test]
    fn another_epoch_is_a_recreation_whatever_else_changed() {
        let mut cache = Cache::new(SECOND);
        cache.exists(quotes(1, 3));
        let effect = cache.exists(quotes(2, 8));
        assert_eq!(effect, Effect::Changed(TopicChange::Recreated { old: quotes(1, 3), new: quotes(2, 8) }));
    }

    #[test]
    fn more_partitions_of_the_same_epoch_are_growth() {
        let mut cache = Cache::new(SECOND);
        cache.exists(quotes(1, 3));
        let effect = cache.exists(quotes(1, 8));
        assert_eq!(effect, Effect::Changed(TopicChange::Grown { from: quotes(1, 3), to: quotes(1, 8) }));
    }

    #[test]
    fn a_known_topic_is_deleted_only_when_kafka_said_so_twice_in_a_row() {
        let (mut cache, now) = (Cache::new(SECOND), Instant::now());
        cache.exists(quotes(1, 3));
        assert_eq!(cache.absent(&name("quotes"), now), Effect::Doubtful);
        assert_eq!(cache.known(&name("quotes")), Some(quotes(1, 3)));
        cache.exists(quotes(1, 3));
        assert_eq!(cache.absent(&name("quotes"), now), Effect::Doubtful);
        let effect = cache.absent(&name("quotes"), now + DOUBT);
        assert_eq!(effect, Effect::Changed(TopicChange::Deleted { topic: quotes(1, 3) }));
        assert_eq!(cache.known(&name("quotes")), None);
    }

    #[test]
    fn two_answers_at_once_are_one_doubt() {
        // A catch-up, a fence and the refresh may ask within a millisecond, and two of them were taken for the two answers.
        let (mut cache, now) = (Cache::new(SECOND), Instant::now());
        cache.exists(quotes(1, 3));
        assert_eq!(cache.absent(&name("quotes"), now), Effect::Doubtful);
        assert_eq!(cache.absent(&name("quotes"), now + DOUBT / 2), Effect::Doubtful);
        assert_eq!(cache.known(&name("quotes")), Some(quotes(1, 3)));
        // The first counts on: a topic that is asked about all the time is not doubted for ever.
        let effect = cache.absent(&name("quotes"), now + DOUBT);
        assert_eq!(effect, Effect::Changed(TopicChange::Deleted { topic: quotes(1, 3) }));
    }

    #[test]
    fn an_unknown_topic_is_asked_for_again_after_a_moment() {
        let (mut cache, now) = (Cache::new(SECOND), Instant::now());
        cache.absent(&name("chat"), now);
        assert!(cache.is_unknown(&name("chat"), now + SECOND / 2));
        assert!(!cache.is_unknown(&name("chat"), now + SECOND));
    }

    #[test]
    fn names_that_clients_make_up_do_not_fill_memory() {
        let (mut cache, now) = (Cache::new(SECOND), Instant::now());
        for n in 0..3 * UNKNOWN_MAX {
            cache.absent(&name(&format!("made-up-{n}")), now);
        }
        assert_eq!(cache.unknown.len(), UNKNOWN_MAX);
        cache.absent(&name("later"), now + 2 * SECOND);
        assert_eq!(cache.unknown.len(), 1);
    }
}
