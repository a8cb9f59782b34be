//! The channels of each connection, and the keys of each channel: pure arithmetic, the same in
//! every process.

use std::ops::Range;

use anyhow::Result;
use tailcast_proto::{Channel, Key, Keys, TopicName};

use crate::cli::{ChannelForm, Cli};

/// The channels of each connection.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    topic: TopicName,
    connections: u32,
    channels: u32,
    keys: u32,
    form: ChannelForm,
    /// Keys per channel.
    per_channel: u32,
}

impl Layout {
    pub(crate) fn new(cli: &Cli) -> Self {
        let keys = cli.load.keys;
        let per_channel = match cli.readers.channel_form {
            ChannelForm::Exact => 1,
            ChannelForm::Prefix => cli.readers.keys_per_prefix.min(keys),
            ChannelForm::All => keys,
        };
        Self {
            topic: cli.targets.topic.clone(),
            connections: cli.readers.connections,
            channels: cli.readers.channels_per_connection,
            keys,
            form: cli.readers.channel_form,
            per_channel,
        }
    }

    pub(crate) fn connections(&self) -> u32 {
        self.connections
    }

    /// Returns how many of the first connections have different channels; the others repeat them.
    pub(crate) fn distinct(&self) -> u32 {
        self.connections.min(self.keys.div_ceil(self.per_channel))
    }

    /// Returns a key by its number.
    pub(crate) fn key(&self, number: u32) -> String {
        match self.form {
            ChannelForm::Exact | ChannelForm::All => format!("key-{number}"),
            ChannelForm::Prefix => format!("{}{number}", self.prefix(number)),
        }
    }

    /// Returns the keys of each channel of a connection, by their numbers.
    pub(crate) fn channels_of(&self, connection: u32) -> Vec<Range<u32>> {
        let available = u64::from(self.keys.div_ceil(self.per_channel));
        let first = u64::from(connection) * u64::from(self.channels);
        let channels = (first..first + u64::from(self.channels)).map(|channel| channel % available);
        let keys = channels.filter_map(|channel| {
            let start = u32::try_from(channel * u64::from(self.per_channel)).ok()?;
            Some(start..start.saturating_add(self.per_channel).min(self.keys))
        });
        keys.collect()
    }

    /// Returns the channel that covers these keys. Fails when a key is invalid, which is impossible
    /// for keys of this layout.
    pub(crate) fn channel(&self, keys: &Range<u32>) -> Result<Channel> {
        let keys = match self.form {
            ChannelForm::Exact => Keys::Exact(Key::new(self.key(keys.start))?),
            ChannelForm::Prefix => Keys::Prefix(Key::new(self.prefix(keys.start))?),
            ChannelForm::All => Keys::All,
        };
        Ok(Channel { topic: self.topic.clone(), keys })
    }

    /// Ends in a non-digit, so that no prefix is a prefix of another.
    fn prefix(&self, key: u32) -> String {
        format!("p{}-", key / self.per_channel)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::proptest;

    use super::*;

    fn layout(arguments: &str) -> Layout {
        Layout::new(&Cli::of(arguments))
    }

    #[track_caller]
    fn check(arguments: &str, connection: u32, expected: &[(&str, Range<u32>)]) {
        let layout = layout(arguments);
        let found = layout.channels_of(connection).into_iter();
        let found: Vec<_> =
            found.map(|keys| (layout.channel(&keys).expect("the keys are keys").to_string(), keys)).collect();
        let expected: Vec<_> =
            expected.iter().map(|(name, keys)| (format!("loadgen/{name}"), keys.clone())).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn connections_take_the_channels_in_turn() {
        check("--keys 3", 1, &[("key-1", 1..2)]);
        check("--keys 3", 5, &[("key-2", 2..3)]);
        check("--keys 3 --channels-per-connection 2", 1, &[("key-2", 2..3), ("key-0", 0..1)]);
        check("--keys 25 --channel-form prefix", 1, &[("p1-*", 10..20)]);
        check("--keys 25 --channel-form prefix", 2, &[("p2-*", 20..25)]);
        check("--keys 25 --channel-form prefix", 3, &[("p0-*", 0..10)]);
        check("--keys 25 --channel-form all", 7, &[("*", 0..25)]);
    }

    proptest! {
        #[test]
        fn a_channel_matches_exactly_its_keys(
            keys in 1_u32..200, per_prefix in 1_u32..30, connection in 0_u32..50, form in 0..3_usize,
        ) {
            let form = ["exact", "prefix", "all"][form];
            let layout =
                layout(&format!("--keys {keys} --keys-per-prefix {per_prefix} --channel-form {form} --connections 200"));
            assert_eq!(layout.channels_of(connection), layout.channels_of(connection % layout.distinct().max(1)));
            for range in layout.channels_of(connection) {
                let channel = layout.channel(&range).expect("the keys are keys");
                for key in 0..keys {
                    assert_eq!(channel.matches(Some(layout.key(key).as_bytes())), range.contains(&key));
                }
            }
        }
    }
}
