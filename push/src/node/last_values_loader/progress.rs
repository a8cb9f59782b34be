//! Loading progress of last values, reported through readiness.
//!
//! A node is not ready until every existing topic was loaded once. From then on it stays ready: a
//! topic that is created, recreated or grows later is loaded by all nodes at the same time, and
//! only clients that start with a snapshot of it wait.

use std::{collections::BTreeMap, sync::Arc};

use parking_lot::Mutex;
use tailcast_proto::TopicName;
use tailcast_services::readiness::{Condition, Status};

/// Loading progress of all topics.
#[derive(Debug)]
pub(super) struct LoadingProgress {
    topics: Mutex<TopicsProgress>,
    condition: Condition,
}

/// Loading progress of one topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TopicProgress {
    /// Kafka has not answered yet whether the topic exists.
    Unknown,
    /// The topic does not exist.
    Missing,
    /// Number of partitions loaded so far.
    Loading {
        loaded: usize,
        of: usize,
    },
    Loaded,
    /// The values exceeded the limit and were dropped.
    TooLarge,
}

#[derive(Debug)]
struct TopicsProgress {
    by_topic: BTreeMap<TopicName, TopicProgress>,
    /// Whether all topics were loaded at some time.
    was_loaded: bool,
}

impl LoadingProgress {
    pub(super) fn new<'a>(topics: impl Iterator<Item = &'a TopicName>, condition: Condition) -> Arc<Self> {
        let by_topic = topics.map(|topic| (topic.clone(), TopicProgress::Unknown)).collect();
        Arc::new(Self { topics: Mutex::new(TopicsProgress { by_topic, was_loaded: false }), condition })
    }

    /// Sets the progress of a topic and updates readiness.
    pub(super) fn set(&self, topic: &TopicName, progress: TopicProgress) {
        let mut topics = self.topics.lock();
        topics.by_topic.insert(topic.clone(), progress);
        // Under the lock, so that concurrent updates are reported in order.
        match topics.status() {
            Status::Ready => self.condition.ready(),
            Status::Degraded(reason) => self.condition.degraded(reason),
            Status::NotReady(reason) => self.condition.not_ready(reason),
        }
    }
}

impl TopicsProgress {
    fn status(&mut self) -> Status {
        let reasons = |of: fn(TopicProgress) -> bool| {
            let found = self.by_topic.iter().filter(|(_, progress)| of(**progress));
            found.map(|(topic, progress)| progress.reason(topic)).collect::<Vec<_>>().join("; ")
        };
        let pending =
            reasons(|progress| matches!(progress, TopicProgress::Unknown | TopicProgress::Loading { .. }));
        let not_kept = reasons(|progress| progress == TopicProgress::TooLarge);
        self.was_loaded |= pending.is_empty();
        match (pending.is_empty(), not_kept.is_empty()) {
            (false, _) if !self.was_loaded => Status::NotReady(pending),
            (true, true) => Status::Ready,
            (true, false) => Status::Degraded(not_kept),
            (false, true) => Status::Degraded(pending),
            (false, false) => Status::Degraded(format!("{not_kept}; {pending}")),
        }
    }
}

impl TopicProgress {
    fn reason(self, topic: &TopicName) -> String {
        match self {
            Self::Unknown => format!("looking up topic {topic}"),
            Self::Loading { loaded, of } => {
                format!("loading last values of {topic}: {loaded} of {of} partitions")
            }
            Self::TooLarge => {
                format!("last values of {topic} are not kept: they exceed push.last_values.bytes_max")
            }
            Self::Missing | Self::Loaded => String::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use tailcast_services::readiness::Readiness;

    use super::*;

    /// Applies `(topic, progress)` in turn and checks what readiness reports after each.
    #[track_caller]
    fn check(topics: &[&str], steps: &[(&str, TopicProgress, &str)]) {
        let readiness = Readiness::new();
        let name = |name: &str| TopicName::parse(name).expect("it is a name");
        let names: Vec<_> = topics.iter().map(|topic| name(topic)).collect();
        let progress = LoadingProgress::new(names.iter(), readiness.condition("last", "begins"));
        for (topic, step, expected) in steps {
            progress.set(&name(topic), *step);
            let said = readiness.state().to_string();
            let said = said.trim_end().split_once("\nlast: ").map(|(_, said)| said);
            assert_eq!(said, Some(*expected), "after {topic} {step:?}");
        }
    }

    const HALF: TopicProgress = TopicProgress::Loading { loaded: 1, of: 2 };

    #[test]
    fn a_node_is_ready_when_every_topic_that_exists_is_loaded() {
        check(
            &["a", "b"],
            &[
                ("a", HALF, "loading last values of a: 1 of 2 partitions; looking up topic b"),
                ("b", TopicProgress::Missing, "loading last values of a: 1 of 2 partitions"),
                ("a", TopicProgress::Loaded, "ready"),
            ],
        );
    }

    #[test]
    fn loading_again_does_not_take_readiness_away() {
        check(
            &["a", "b"],
            &[
                ("a", TopicProgress::Loaded, "looking up topic b"),
                ("b", TopicProgress::Loaded, "ready"),
                ("a", HALF, "degraded: loading last values of a: 1 of 2 partitions"),
                ("a", TopicProgress::Loaded, "ready"),
            ],
        );
    }

    #[test]
    fn a_topic_that_is_too_large_is_reported_and_does_not_take_readiness_away() {
        let too_large = "last values of a are not kept: they exceed push.last_values.bytes_max";
        check(
            &["a", "b"],
            &[
                ("a", TopicProgress::TooLarge, "looking up topic b"),
                ("b", TopicProgress::Loaded, &format!("degraded: {too_large}")),
                ("b", HALF, &format!("degraded: {too_large}; loading last values of b: 1 of 2 partitions")),
            ],
        );
    }
}
