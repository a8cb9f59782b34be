//! The cache of topics. Plain code: no IO, and time is an argument.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use tailcast_proto::TopicName;

use super::{Topic, TopicChange};

/// Maximum number of remembered names that do not exist. It bounds the memory, because clients can
/// invent any number.
const UNKNOWN_MAX: usize = 4096;

/// The time after the first answer that a known topic does not exist at which a request may confirm
/// it. A broker that has just started may not know the topic yet, and is slow to answer.
const CONFIRM_AFTER: Duration = Duration::from_millis(250);

/// The existing topics, and, for a short time, names that do not exist.
#[derive(Debug)]
pub(super) struct Cache {
    known: HashMap<TopicName, Entry>,
    unknown: HashMap<TopicName, Instant>,
    unknown_for: Duration,
}

#[derive(Debug)]
struct Entry {
    topic: Topic,
    /// The time of the first of the latest, consecutive answers that the topic does not exist.
    missing_since: Option<Instant>,
}

/// The times of an answered request to Kafka.
#[derive(Debug, Clone, Copy)]
pub(super) struct Request {
    pub(super) sent_at: Instant,
    pub(super) answered_at: Instant,
}

/// The effect of an answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// No change to report.
    None,
    /// A known topic changed.
    Changed(TopicChange),
    /// Kafka answered that a known topic does not exist. A request sent at `retry_at` or later can
    /// confirm it.
    Unconfirmed {
        /// The time of the next request; in the past if the answer was slow.
        retry_at: Instant,
    },
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

    /// Notes that the topic exists.
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

    /// Notes that the topic does not exist.
    pub(super) fn absent(&mut self, topic: &TopicName, request: Request) -> Effect {
        let Request { sent_at, answered_at } = request;
        if let Some(entry) = self.known.get_mut(topic) {
            let retry_at = *entry.missing_since.get_or_insert(answered_at) + CONFIRM_AFTER;
            if sent_at < retry_at {
                return Effect::Unconfirmed { retry_at };
            }
        }
        self.remember_unknown(topic, answered_at);
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

    /// A request that was answered at once.
    fn at(now: Instant) -> Request {
        Request { sent_at: now, answered_at: now }
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
        assert_eq!(
            cache.absent(&name("quotes"), at(now)),
            Effect::Unconfirmed { retry_at: now + CONFIRM_AFTER }
        );
        assert_eq!(cache.known(&name("quotes")), Some(quotes(1, 3)));
        cache.exists(quotes(1, 3));
        let later = now + SECOND;
        assert_eq!(
            cache.absent(&name("quotes"), at(later)),
            Effect::Unconfirmed { retry_at: later + CONFIRM_AFTER }
        );
        let effect = cache.absent(&name("quotes"), at(later + CONFIRM_AFTER));
        assert_eq!(effect, Effect::Changed(TopicChange::Deleted { topic: quotes(1, 3) }));
        assert_eq!(cache.known(&name("quotes")), None);
    }

    #[test]
    fn two_answers_at_once_are_one_doubt() {
        // A catch-up, a fence and the refresh may ask within a millisecond, and two of them were
        // taken for the two answers.
        let (mut cache, now) = (Cache::new(SECOND), Instant::now());
        cache.exists(quotes(1, 3));
        let doubtful = Effect::Unconfirmed { retry_at: now + CONFIRM_AFTER };
        assert_eq!(cache.absent(&name("quotes"), at(now)), doubtful);
        // The first counts on: a topic that is asked about all the time is not doubted for ever.
        assert_eq!(cache.absent(&name("quotes"), at(now + CONFIRM_AFTER / 2)), doubtful);
        assert_eq!(cache.known(&name("quotes")), Some(quotes(1, 3)));
        let effect = cache.absent(&name("quotes"), at(now + CONFIRM_AFTER));
        assert_eq!(effect, Effect::Changed(TopicChange::Deleted { topic: quotes(1, 3) }));
    }

    #[test]
    fn a_slow_answer_counts_from_when_it_was_asked_for() {
        // The doubt lay between two answers: a second request sent at once, to a broker that was
        // slow because it had just started, was taken for one sent after the doubt.
        let (mut cache, now) = (Cache::new(SECOND), Instant::now());
        cache.exists(quotes(1, 3));
        let doubtful = Effect::Unconfirmed { retry_at: now + CONFIRM_AFTER };
        // The first may be slow too: what counts of it is when it came.
        let first =
            Request { sent_at: now.checked_sub(SECOND).expect("a clock past its start"), answered_at: now };
        assert_eq!(cache.absent(&name("quotes"), first), doubtful);
        let slow = Request { sent_at: now, answered_at: now + 4 * CONFIRM_AFTER };
        assert_eq!(cache.absent(&name("quotes"), slow), doubtful);
        assert_eq!(cache.known(&name("quotes")), Some(quotes(1, 3)));
        // It did not begin the doubt anew.
        let in_time = Request { sent_at: now + CONFIRM_AFTER, answered_at: now + 5 * CONFIRM_AFTER };
        let effect = cache.absent(&name("quotes"), in_time);
        assert_eq!(effect, Effect::Changed(TopicChange::Deleted { topic: quotes(1, 3) }));
    }

    #[test]
    fn an_unknown_topic_is_asked_for_again_after_a_moment() {
        let (mut cache, now) = (Cache::new(SECOND), Instant::now());
        cache.absent(&name("chat"), at(now));
        assert!(cache.is_unknown(&name("chat"), now + SECOND / 2));
        assert!(!cache.is_unknown(&name("chat"), now + SECOND));
    }

    #[test]
    fn names_that_clients_make_up_do_not_fill_memory() {
        let (mut cache, now) = (Cache::new(SECOND), Instant::now());
        for n in 0..3 * UNKNOWN_MAX {
            cache.absent(&name(&format!("made-up-{n}")), at(now));
        }
        assert_eq!(cache.unknown.len(), UNKNOWN_MAX);
        cache.absent(&name("later"), at(now + 2 * SECOND));
        assert_eq!(cache.unknown.len(), 1);
    }
}
