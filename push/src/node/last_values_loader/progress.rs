//! How far the last values of this node's topics are loaded, as readiness says it.
//!
//! A node is not ready before every topic that exists is loaded for the first time. After that it stays ready: a topic that
//! is created, recreated or grows is loaded beside the traffic of the others, on all nodes at once, and who starts with a
//! snapshot of it waits.

use std::{collections::BTreeMap, sync::Arc};

use parking_lot::Mutex;
use tailcast_proto::TopicName;
use tailcast_services::readiness::{Condition, Status};

/// How far the topics are loaded.
#[derive(Debug)]
pub(super) struct LoadingProgress {
    topics: Mutex<TopicsProgress>,
    condition: Condition,
}

/// How far one topic is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TopicProgress {
    /// Kafka has not said yet whether there is such a topic.
    Unknown,
    /// There is none.
    Missing,
    /// So many of its partitions are loaded.
    Loading { loaded: usize, of: usize },
    /// It is loaded.
    Loaded,
    /// It was given up.
    TooLarge,
}

#[derive(Debug)]
struct TopicsProgress {
    by_topic: BTreeMap<TopicName, TopicProgress>,
    /// Whether all were loaded once.
    was_loaded: bool,
}

impl LoadingProgress {
    pub(super) fn new<'a>(topics: impl Iterator<Item = &'a TopicName>, condition: Condition) -> Arc<Self> {
        let by_topic = topics.map(|topic| (topic.clone(), TopicProgress::Unknown)).collect();
        Arc::new(Self { topics: Mutex::new(TopicsProgress { by_topic, was_loaded: false }), condition })
    }

    /// Notes how far a topic is.
    pub(super) fn set(&self, topic: &TopicName, progress: TopicProgress) {
        let mut topics = self.topics.lock();
        topics.by_topic.insert(topic.clone(), progress);
        // Under the lock, so that what is said last is what is true last.
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
            Self::Unknown => format!("looking for topic {topic}"),
            Self::Loading { loaded, of } => {
                format!("loading last values of {topic}: {loaded} of {of} partitions")
            }
            Self::TooLarge => format!(
                "the last values of {topic} are not kept: they are more than push.last_values.bytes_max allows"
            ),
            Self::Missing | Self::Loaded => String::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use tailcast_services::readiness::Readiness;

    use super::*;

    /// Takes `(topic, progress)` in turn, and expects what readiness says after each.
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
                ("a", HALF, "loading last values of a: 1 of 2 partitions; looking for topic b"),
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
                ("a", TopicProgress::Loaded, "looking for topic b"),
                ("b", TopicProgress::Loaded, "ready"),
                ("a", HALF, "degraded: loading last values of a: 1 of 2 partitions"),
                ("a", TopicProgress::Loaded, "ready"),
            ],
        );
    }

    #[test]
    fn a_topic_that_is_too_large_is_said_and_does_not_take_readiness_away() {
        let too_large =
            "the last values of a are not kept: they are more than push.last_values.bytes_max allows";
        check(
            &["a", "b"],
            &[
                ("a", TopicProgress::TooLarge, "looking for topic b"),
                ("b", TopicProgress::Loaded, &format!("degraded: {too_large}")),
                ("b", HALF, &format!("degraded: {too_large}; loading last values of b: 1 of 2 partitions")),
            ],
        );
    }
}
