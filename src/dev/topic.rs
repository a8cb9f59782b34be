//! A topic that `tailcast dev` creates, as `--topic` names it: `NAME[:PARTITIONS][,last-values]`.

use std::str::FromStr;

use tailcast_proto::{TopicName, TopicNameError};

/// Maximum number of partitions of a topic: the broker keeps a log for each.
const PARTITIONS_MAX: u16 = 256;

/// A topic to create.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Topic {
    /// Its name.
    pub(crate) name: TopicName,
    /// Its number of partitions.
    pub(crate) partitions: u16,
    /// Whether the latest value of each key is kept, so that subscriptions can start with it.
    pub(crate) last_values: bool,
}

/// Why text is not a topic.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TopicError {
    /// The name is invalid.
    #[error("{0}; a topic is NAME[:PARTITIONS][,last-values]")]
    Name(#[from] TopicNameError),
    /// The number of partitions is invalid.
    #[error(
        "{0:?} is not a number of partitions from 1 to {PARTITIONS_MAX}; a topic is NAME[:PARTITIONS][,last-values]"
    )]
    Partitions(String),
    /// The option is unknown.
    #[error("unknown option {0:?} of a topic; the only one is `last-values`")]
    Option(String),
}

impl FromStr for Topic {
    type Err = TopicError;

    fn from_str(text: &str) -> Result<Self, TopicError> {
        let (topic, option) =
            text.split_once(',').map_or((text, None), |(topic, option)| (topic, Some(option)));
        let last_values = match option {
            None => false,
            Some("last-values") => true,
            Some(option) => return Err(TopicError::Option(option.to_owned())),
        };
        let (name, partitions) = match topic.split_once(':') {
            None => (topic, 1),
            Some((name, partitions)) => {
                let number = partitions.parse().ok().filter(|number| (1..=PARTITIONS_MAX).contains(number));
                (name, number.ok_or_else(|| TopicError::Partitions(partitions.to_owned()))?)
            }
        };
        Ok(Self { name: TopicName::parse(name)?, partitions, last_values })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let found = match text.parse::<Topic>() {
            Ok(Topic { name, partitions, last_values }) => format!("{name} {partitions} {last_values}"),
            Err(error) => error.to_string(),
        };
        assert!(found.contains(expected), "{text:?}: expected {expected:?}, found {found:?}");
    }

    #[test]
    fn a_topic_has_a_name_and_may_have_partitions_and_last_values() {
        check("orders", "orders 1 false");
        check("orders:8", "orders 8 false");
        check("orders,last-values", "orders 1 true");
        check("orders:256,last-values", "orders 256 true");
    }

    #[test]
    fn an_invalid_topic_is_refused_with_the_form() {
        check("", "a topic is NAME[:PARTITIONS][,last-values]");
        check("a/b", "a topic is NAME[:PARTITIONS][,last-values]");
        check("orders:0", "\"0\" is not a number of partitions from 1 to 256");
        check("orders:257", "from 1 to 256");
        check("orders:many", "\"many\" is not a number of partitions");
        check("orders,compact", "unknown option \"compact\"");
    }
}
