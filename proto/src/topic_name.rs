//! Names of the Kafka topics that clients and publishers may use.

use std::{borrow::Borrow, fmt, str::FromStr, sync::Arc};

/// The name of a Kafka topic that clients and publishers may use: 1 to 249 bytes of `a-zA-Z0-9._-`.
///
/// Names that start with `__` are reserved for Kafka and for internal topics of applications, and
/// are rejected.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicName(Arc<str>);

/// Why a topic name is invalid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TopicNameError {
    /// The name is empty.
    #[error("the topic name is empty; a topic name has 1 to {max} bytes", max = TopicName::LEN_MAX)]
    Empty,
    /// The name is longer than Kafka allows.
    #[error("the topic name has {len} bytes; the limit is {max}", max = TopicName::LEN_MAX)]
    TooLong {
        /// The length found, in bytes.
        len: usize,
    },
    /// The name has a character that Kafka does not allow.
    #[error("the topic name has {found:?} at byte {at}; allowed are a-z, A-Z, 0-9, '.', '_' and '-'")]
    Character {
        /// The character.
        found: char,
        /// Its place, in bytes.
        at: usize,
    },
    /// Kafka reserves `.` and `..`.
    #[error("a topic cannot be named {name:?}")]
    Dots {
        /// `.` or `..`.
        name: &'static str,
    },
    /// The topic is internal.
    #[error("topics whose names start with \"__\" are internal: clients cannot publish or subscribe to them")]
    Internal,
}

impl TopicName {
    /// The maximum length of a name in Kafka, in bytes
    /// (`org.apache.kafka.common.internals.Topic.MAX_NAME_LENGTH`).
    pub const LEN_MAX: usize = 249;

    /// Parses a name.
    ///
    /// # Errors
    ///
    /// When Kafka would reject the name, or the topic is internal.
    pub fn parse(name: &str) -> Result<Self, TopicNameError> {
        if name.is_empty() {
            return Err(TopicNameError::Empty);
        }
        if name.len() > Self::LEN_MAX {
            return Err(TopicNameError::TooLong { len: name.len() });
        }
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if let Some((at, found)) = name.char_indices().find(|(_, c)| !allowed(*c)) {
            return Err(TopicNameError::Character { found, at });
        }
        match name {
            "." => Err(TopicNameError::Dots { name: "." }),
            ".." => Err(TopicNameError::Dots { name: ".." }),
            _ if name.starts_with("__") => Err(TopicNameError::Internal),
            _ => Ok(Self(name.into())),
        }
    }

    /// Returns the name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TopicName {
    type Err = TopicNameError;

    fn from_str(name: &str) -> Result<Self, TopicNameError> {
        Self::parse(name)
    }
}

impl AsRef<str> for TopicName {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

/// Maps keyed by name can be searched with the text that Kafka returns.
impl Borrow<str> for TopicName {
    fn borrow(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Display for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(name: &str, expected: &str) {
        let found = TopicName::parse(name).map_or_else(|error| error.to_string(), |name| name.to_string());
        assert!(found.contains(expected), "{name:?}: expected {expected:?}, found {found:?}");
    }

    #[test]
    fn a_topic_name_is_what_kafka_allows() {
        check("quotes", "quotes");
        check("a.b_c-D9", "a.b_c-D9");
        check("_single", "_single");
        check("...", "...");
        check(&"x".repeat(249), &"x".repeat(249));
    }

    #[test]
    fn anything_else_is_refused_with_the_reason() {
        check("", "is empty");
        check(&"x".repeat(250), "has 250 bytes; the limit is 249");
        check("a/b", "'/' at byte 1");
        check("naïve", "'ï' at byte 2");
        check("a b", "' ' at byte 1");
        check(".", "cannot be named \".\"");
        check("..", "cannot be named \"..\"");
        check("__consumer_offsets", "internal");
    }
}
