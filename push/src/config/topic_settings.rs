//! Settings of individual topics: sections `[push.topic.NAME]`.

use std::{collections::BTreeMap, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{self, Visitor},
};
use tailcast_proto::{TopicName, TopicNameError};

/// The topics with settings of their own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "BTreeMap<String, TopicSettings>")]
pub struct TopicSettingsMap(pub(crate) BTreeMap<TopicName, TopicSettings>);

/// Section `[push.topic.NAME]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TopicSettings {
    /// Whether the latest value of each key is kept, so that subscriptions can start with a
    /// snapshot.
    #[serde(deserialize_with = "bool_or_text")]
    pub last_values: bool,
}

/// The name of a section in `[push.topic]` is not a valid topic name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name:?} is not a valid topic name: {source}")]
pub struct TopicKeyError {
    name: String,
    source: TopicNameError,
}

impl TryFrom<BTreeMap<String, TopicSettings>> for TopicSettingsMap {
    type Error = TopicKeyError;

    fn try_from(settings: BTreeMap<String, TopicSettings>) -> Result<Self, TopicKeyError> {
        let parsed = settings.into_iter().map(|(name, settings)| match TopicName::parse(&name) {
            Ok(topic) => Ok((topic, settings)),
            Err(source) => Err(TopicKeyError { name, source }),
        });
        Ok(Self(parsed.collect::<Result<_, _>>()?))
    }
}

/// Reads a boolean. The environment and flags give text if no default determines the type, and this
/// key has no default.
fn bool_or_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    struct BoolVisitor;

    impl Visitor<'_> for BoolVisitor {
        type Value = bool;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("true or false")
        }

        fn visit_bool<E: de::Error>(self, value: bool) -> Result<bool, E> {
            Ok(value)
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<bool, E> {
            text.parse().map_err(|_| E::invalid_value(de::Unexpected::Str(text), &self))
        }
    }

    deserializer.deserialize_any(BoolVisitor)
}

#[cfg(test)]
mod tests {
    use tailcast_services::config::{self, FlagValue, Mistakes};

    use super::*;
    use crate::Config;

    #[derive(Deserialize)]
    struct Defaults {
        push: Config,
    }

    /// The layer in which a value is set: TOML, environment, or flags.
    #[derive(Clone, Copy)]
    enum By<'a> {
        Toml(&'a str),
        Variable(&'a str, &'a str),
        Flag(&'a str, &'a str),
    }

    /// Loads the defaults with one value set. Expects the topics that keep last values, or an
    /// error.
    #[track_caller]
    fn check(by: By<'_>, expected: Result<&[&str], &str>) {
        let found = load(by).map_err(|error| error.to_string());
        let found = found.map(|config| {
            config.last_values_topics().map(|topic| topic.as_str().to_owned()).collect::<Vec<_>>()
        });
        match (&found, expected) {
            (Ok(found), Ok(expected)) => assert_eq!(found, expected),
            (Err(found), Err(expected)) => assert!(found.contains(expected), "{found}, expected {expected}"),
            _ => panic!("{found:?}, expected {expected:?}"),
        }
    }

    fn load(by: By<'_>) -> Result<Config, Mistakes> {
        let mut toml = include_str!("../../../src/default.toml").to_owned();
        let (mut variables, mut flags) = (Vec::new(), Vec::new());
        match by {
            By::Toml(text) => toml.push_str(text),
            By::Variable(name, value) => variables.push((name.to_owned(), value.to_owned())),
            By::Flag(key, value) => {
                flags.push(FlagValue { flag: "--set", key: key.to_owned(), value: value.to_owned() });
            }
        }
        config::load::<Defaults>(toml.leak(), None, variables, &flags).map(|defaults| defaults.push)
    }

    #[test]
    fn every_layer_can_set_a_topic() {
        check(By::Toml(""), Ok(&[]));
        let two = "[push.topic.quotes]\nlast_values = true\n[push.topic.\"orders.EU\"]\nlast_values = true";
        check(By::Toml(two), Ok(&["orders.EU", "quotes"]));
        check(By::Toml("[push.topic]\nquotes.last_values = false"), Ok(&[]));
        check(By::Variable("TAILCAST__PUSH__TOPIC__QUOTES__LAST_VALUES", "true"), Ok(&["quotes"]));
        check(By::Variable("TAILCAST__PUSH__TOPIC__quotes__last_values", "true"), Ok(&["quotes"]));
        check(By::Flag("push.topic.\"orders.EU\".last_values", "true"), Ok(&["orders.EU"]));
        check(By::Flag("push.topic.quotes.last_values", "false"), Ok(&[]));
    }

    #[test]
    fn an_error_names_the_key() {
        check(
            By::Flag("push.topic.quotes.last_values", "yes"),
            Err("push.topic.quotes.last_values: \"yes\""),
        );
        check(By::Flag("push.topic.quotes.last_value", "true"), Err("did you mean `last_values`?"));
        check(
            By::Flag("push.topic.\"a b\".last_values", "true"),
            Err("push.topic: \"a b\" is not a valid topic name: "),
        );
        check(By::Toml("[push.topic.quotes]"), Err("push.topic.quotes.last_values is not set"));
    }
}
