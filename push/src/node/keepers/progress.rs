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
pub(super) struct Progress {
    topics: Mutex<Topics>,
    condition: Condition,
}

/// How far one topic is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
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
struct Topics {
    stages: BTreeMap<TopicName, Stage>,
    /// Whether all were loaded once.
    were_loaded: bool,
}

impl Progress {
    pub(super) fn new<'a>(topics: impl Iterator<Item = &'a TopicName>, condition: Condition) -> Arc<Self> {
        let stages = topics.map(|topic| (topic.clone(), Stage::Unknown)).collect();
        Arc::new(Self { topics: Mutex::new(Topics { stages, were_loaded: false }), condition })
    }

    /// Notes how far a topic is.
    pub(super) fn set(&self, topic: &TopicName, stage: Stage) {
        let mut topics = self.topics.lock();
        topics.stages.insert(topic.clone(), stage);
        // Under the lock, so that what is said last is what is true last.
        match topics.status() {
            Status::Ready => self.condition.ready(),
            Status::Degraded(reason) => self.condition.degraded(reason),
            Status::NotReady(reason) => self.condition.not_ready(reason),
        }
    }
}

impl Topics {
    fn status(&mut self) -> Status {
        let reasons = |of: fn(Stage) -> bool| {
            let found = self.stages.iter().filter(|(_, stage)| of(**stage));
            found.map(|(topic, stage)| stage.reason(topic)).collect::<Vec<_>>().join("; ")
        };
        let to_come = reasons(|stage| matches!(stage, Stage::Unknown | Stage::Loading { .. }));
        let not_kept = reasons(|stage| stage == Stage::TooLarge);
        self.were_loaded |= to_come.is_empty();
        match (to_come.is_empty(), not_kept.is_empty()) {
            (false, _) if !self.were_loaded => Status::NotReady(to_come),
            (true, true) => Status::Ready,
            (true, false) => Status::Degraded(not_kept),
            (false, true) => Status::Degraded(to_come),
            (false, false) => Status::Degraded(format!("{not_kept}; {to_come}")),
        }
    }
}

impl Stage {
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

    /// Takes `(topic, stage)` in turn, and expects what readiness says after each.
    #[track_caller]
    fn check(topics: &[&str], steps: &[(&str, Stage, &str)]) {
        let readiness = Readiness::new();
        let name = |name: &str| TopicName::parse(name).expect("it is a name");
        let names: Vec<_> = topics.iter().map(|topic| name(topic)).collect();
        let progress = Progress::new(names.iter(), readiness.condition("last", "begins"));
        for (topic, stage, expected) in steps {
            progress.set(&name(topic), *stage);
            let said = readiness.state().to_string();
            let said = said.trim_end().split_once("\nlast: ").map(|(_, said)| said);
            assert_eq!(said, Some(*expected), "after {topic} {stage:?}");
        }
    }

    const HALF: Stage = Stage::Loading { loaded: 1, of: 2 };

    #[test]
    fn a_node_is_ready_when_every_topic_that_exists_is_loaded() {
        check(
            &["a", "b"],
            &[
                ("a", HALF, "loading last values of a: 1 of 2 partitions; looking for topic b"),
                ("b", Stage::Missing, "loading last values of a: 1 of 2 partitions"),
                ("a", Stage::Loaded, "ready"),
            ],
        );
    }

    #[test]
    fn loading_again_does_not_take_readiness_away() {
        check(
            &["a", "b"],
            &[
                ("a", Stage::Loaded, "looking for topic b"),
                ("b", Stage::Loaded, "ready"),
                ("a", HALF, "degraded: loading last values of a: 1 of 2 partitions"),
                ("a", Stage::Loaded, "ready"),
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
                ("a", Stage::TooLarge, "looking for topic b"),
                ("b", Stage::Loaded, &format!("degraded: {too_large}")),
                ("b", HALF, &format!("degraded: {too_large}; loading last values of b: 1 of 2 partitions")),
            ],
        );
    }
}
