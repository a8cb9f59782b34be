//! Channels: the sets of keys that clients subscribe to.

use std::{
    borrow::Cow,
    fmt,
    str::{self, FromStr},
};

use bytes::Bytes;
use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, percent_encode};

use crate::{Key, KeyError, PartitionId, TopicName, TopicNameError, partition_of_key, push::v1};

/// A set of keys of a topic, to which a client subscribes.
///
/// The text form is `topic/key`, `topic/prefix*` or `topic/*`; a key's `*`, `%`, `/`, controls, and
/// bytes that are not UTF-8 are percent-encoded. Every channel has exactly one text form, and
/// parsing it gives the channel back.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Channel {
    /// The topic.
    pub topic: TopicName,
    /// The keys of the topic.
    pub keys: Keys,
}

/// A set of keys of a topic.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Keys {
    /// One key.
    Exact(Key),
    /// The keys that start with these bytes.
    Prefix(Key),
    /// Every key, and records without a key.
    All,
}

/// Why a channel is invalid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChannelError {
    /// There is no channel.
    #[error("the channel is missing; set `channel`, or `name` to topic/key, topic/prefix* or topic/*")]
    Missing,
    /// There is no `/` between topic and key.
    #[error("{name:?} is not a channel; a channel is topic/key, topic/prefix* or topic/*")]
    NoKey {
        /// The text found, shortened.
        name: String,
    },
    /// The keys are missing.
    #[error("the channel has no keys; set one of `key`, `prefix` and `all`")]
    NoKeys,
    /// The topic name is invalid.
    #[error(transparent)]
    Topic(#[from] TopicNameError),
    /// The key or prefix is invalid.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A `*` that is not the last character, a `/` in a key, or a `%` without two hexadecimal
    /// digits.
    #[error("the key in {name:?} has an unescaped {found:?}; write %2A for *, %2F for / and %25 for %")]
    Escape {
        /// The text found, shortened.
        name: String,
        /// The character.
        found: char,
    },
}

/// Characters that are percent-encoded in the text form of a key, besides bytes that are not UTF-8.
const ESCAPED: &AsciiSet = &CONTROLS.add(b'*').add(b'%').add(b'/');

impl Channel {
    /// Returns whether records with this key belong to the channel.
    #[must_use]
    pub fn matches(&self, key: Option<&[u8]>) -> bool {
        match &self.keys {
            Keys::Exact(own) => key == Some(own.as_ref()),
            Keys::Prefix(prefix) => key.is_some_and(|key| key.starts_with(prefix.as_ref())),
            Keys::All => true,
        }
    }

    /// Returns the partition of the channel's records, or `None` if they may be in any partition.
    #[must_use]
    pub fn partition(&self, partitions: u32) -> Option<PartitionId> {
        match &self.keys {
            Keys::Exact(key) => Some(partition_of_key(key.as_ref(), partitions)),
            Keys::Prefix(_) | Keys::All => None,
        }
    }

    /// Returns whether the channel spans several keys, so that deliveries must contain their key.
    #[must_use]
    pub fn spans_keys(&self) -> bool {
        !matches!(self.keys, Keys::Exact(_))
    }
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/", self.topic)?;
        match &self.keys {
            Keys::Exact(key) => f.write_str(&escape(key.as_ref())),
            Keys::Prefix(prefix) => write!(f, "{}*", escape(prefix.as_ref())),
            Keys::All => f.write_str("*"),
        }
    }
}

impl FromStr for Channel {
    type Err = ChannelError;

    fn from_str(name: &str) -> Result<Self, ChannelError> {
        let (topic, key) = name.split_once('/').ok_or_else(|| ChannelError::NoKey { name: shorten(name) })?;
        let topic = TopicName::parse(topic)?;
        let keys = match key.strip_suffix('*') {
            Some("") => Keys::All,
            Some(prefix) => Keys::Prefix(unescape(name, prefix)?),
            None => Keys::Exact(unescape(name, key)?),
        };
        Ok(Self { topic, keys })
    }
}

impl TryFrom<v1::Channel> for Channel {
    type Error = ChannelError;

    fn try_from(channel: v1::Channel) -> Result<Self, ChannelError> {
        let topic = TopicName::parse(&channel.topic)?;
        let keys = match channel.keys.ok_or(ChannelError::NoKeys)? {
            v1::channel::Keys::Key(key) => Keys::Exact(Key::new(key)?),
            v1::channel::Keys::Prefix(prefix) => Keys::Prefix(Key::new(prefix)?),
            v1::channel::Keys::All(v1::AllKeys {}) => Keys::All,
        };
        Ok(Self { topic, keys })
    }
}

impl From<&Channel> for v1::Channel {
    fn from(channel: &Channel) -> Self {
        let keys = match &channel.keys {
            Keys::Exact(key) => v1::channel::Keys::Key(key.as_bytes().clone()),
            Keys::Prefix(prefix) => v1::channel::Keys::Prefix(prefix.as_bytes().clone()),
            Keys::All => v1::channel::Keys::All(v1::AllKeys {}),
        };
        Self { topic: channel.topic.as_str().to_owned(), keys: Some(keys) }
    }
}

/// Percent-encodes a key. Valid UTF-8 stays readable.
fn escape(key: &[u8]) -> String {
    let mut text = String::with_capacity(key.len());
    for chunk in key.utf8_chunks() {
        for character in chunk.valid().split_inclusive(|_: char| true) {
            if character.is_ascii() {
                text.extend(percent_encode(character.as_bytes(), ESCAPED));
            } else {
                text.push_str(character);
            }
        }
        text.extend(percent_encode(chunk.invalid(), ESCAPED));
    }
    text
}

/// Decodes a key of the text form; `name` is the whole channel name, for the error.
fn unescape(name: &str, key: &str) -> Result<Key, ChannelError> {
    let escape = |found| ChannelError::Escape { name: shorten(name), found };
    if let Some(found) = key.chars().find(|c| matches!(c, '*' | '/')) {
        return Err(escape(found));
    }
    let digits = |text: &str| text.len() >= 2 && text.as_bytes()[..2].iter().all(u8::is_ascii_hexdigit);
    if !key.split('%').skip(1).all(digits) {
        return Err(escape('%'));
    }
    let bytes = Cow::from(percent_decode_str(key));
    Ok(Key::new(Bytes::from(bytes.into_owned()))?)
}

/// Shortens text from a client for an error.
fn shorten(name: &str) -> String {
    name.chars().take(64).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Strategy, any, prop_oneof, proptest};

    use super::*;

    #[track_caller]
    fn check(name: &str, expected: &str) {
        let found = match name.parse::<Channel>() {
            Ok(channel) => format!("{:?}", channel.keys),
            Err(error) => error.to_string(),
        };
        assert!(found.contains(expected), "{name:?}: expected {expected:?}, found {found:?}");
    }

    #[test]
    fn a_channel_is_written_as_text() {
        check("quotes/AAPL", r#"Exact(Key(b"AAPL"))"#);
        check("quotes/AA*", r#"Prefix(Key(b"AA"))"#);
        check("quotes/*", "All");
        check("quotes/%2A", r#"Exact(Key(b"*"))"#);
        check("quotes/a%2Fb", r#"Exact(Key(b"a/b"))"#);
        check("quotes/%ff%00*", r#"Prefix(Key(b"\xff\0"))"#);
        check("quotes/BRK.A €", r#"Exact(Key(b"BRK.A \xe2\x82\xac"))"#);
    }

    #[test]
    fn an_invalid_channel_is_rejected_with_the_reason() {
        check("quotes", "a channel is topic/key");
        check("", "a channel is topic/key");
        check("quotes/", "the key is empty");
        check("quotes/a/b", "an unescaped");
        check("quotes/a*b", "an unescaped");
        check("quotes/**", "an unescaped");
        check("quotes/100%", "an unescaped");
        check("quotes/%zz", "an unescaped");
        check("__internal/a", "internal");
        check("/a", "the topic name is empty");
        check(&format!("quotes/{}", "k".repeat(1025)), "the limit is 1024");
    }

    fn channels() -> impl Strategy<Value = Channel> {
        let key = || {
            proptest::collection::vec(any::<u8>(), 1..40)
                .prop_map(|bytes| Key::new(bytes).expect("it has 1 to 39 bytes"))
        };
        let keys = prop_oneof![
            key().prop_map(Keys::Exact),
            key().prop_map(Keys::Prefix),
            proptest::strategy::Just(Keys::All)
        ];
        ("[a-zA-Z0-9.-]{3,20}", keys).prop_map(|(topic, keys)| Channel {
            topic: TopicName::parse(&topic).expect("only allowed characters"),
            keys,
        })
    }

    proptest! {
        #[test]
        fn text_and_wire_forms_give_the_channel_back(channel in channels()) {
            assert_eq!(channel.to_string().parse(), Ok(channel.clone()));
            assert_eq!(Channel::try_from(v1::Channel::from(&channel)), Ok(channel));
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in ".*") {
            let _ = text.parse::<Channel>();
        }
    }
}
