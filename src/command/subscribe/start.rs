//! Parses `--from`: where subscriptions start.

mod time;

use std::{
    collections::{HashMap, HashSet},
    str::FromStr,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tailcast_client::Subscription;
use tailcast_proto::{Channel, Position};

use self::time::{is_time_of_day, parse_time};

/// Where a subscription starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Start {
    /// At the next record.
    Live,
    /// At the oldest record.
    Earliest,
    /// With a snapshot: the latest record of each key.
    Snapshot,
    /// At a position.
    Position(Position),
    /// At the first record with this timestamp or a later one.
    At(SystemTime),
    /// At the first record that is not older than this.
    Ago(Duration),
}

/// A start, of one channel or of all of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StartOf {
    /// The channel. `None`: all channels without a start of their own.
    pub(super) channel: Option<Channel>,
    /// The start.
    pub(super) start: Start,
}

/// Why text is not a start.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum StartError {
    /// It has none of the valid forms.
    #[error(
        "{found:?} is not a start; a start is `live` (or `latest`), `earliest`, `snapshot`, a position (0:123 or \
         EPOCH/4@0:123,3:77), a time (2026-11-21T08:00:00Z or …+01:00), or how long ago (5m)"
    )]
    Form {
        /// The text.
        found: String,
    },
    /// It may be a position or a time of day.
    #[error(
        "{found:?} is ambiguous: write 2026-11-21T{found}:00Z for a time, or @{found} for offset {offset} of partition \
         {partition}"
    )]
    Ambiguous {
        /// The text.
        found: String,
        /// Its first number.
        partition: String,
        /// Its second number.
        offset: String,
    },
    /// The text before the `=` is not a channel.
    #[error("in CHANNEL=START: {0}")]
    Channel(#[from] tailcast_proto::ChannelError),
}

/// Why the starts do not fit the channels.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum StartsError {
    /// A channel, or all channels, have two starts.
    #[error("--from is given twice for {0}")]
    Twice(String),
    /// A start names another channel.
    #[error("--from {0}=…: {0} is not one of the channels of this command")]
    Other(Channel),
    /// A channel is given twice.
    #[error("{0} is given twice")]
    Channel(Channel),
    /// A position is given for several channels.
    #[error("--from {0} is a position, which applies to one channel: write --from CHANNEL={0}")]
    Position(Position),
}

/// Returns the subscriptions: each channel with its own start, or the common one, or live.
pub(super) fn subscriptions(
    channels: &[Channel],
    starts: &[StartOf],
    now: SystemTime,
) -> Result<Vec<Subscription>, StartsError> {
    let mut own = HashMap::new();
    for StartOf { channel, start } in starts {
        match (channel, start) {
            (Some(channel), _) if !channels.contains(channel) => {
                return Err(StartsError::Other(channel.clone()));
            }
            (None, Start::Position(position)) if channels.len() > 1 => {
                return Err(StartsError::Position(position.clone()));
            }
            _ => {}
        }
        if own.insert(channel.as_ref(), start).is_some() {
            let whose = channel.as_ref().map_or_else(|| "all channels".to_owned(), Channel::to_string);
            return Err(StartsError::Twice(whose));
        }
    }
    let mut seen = HashSet::new();
    let subscription = |channel: &Channel| {
        if !seen.insert(channel.clone()) {
            return Err(StartsError::Channel(channel.clone()));
        }
        let start = own.get(&Some(channel)).or_else(|| own.get(&None)).map(|start| start.resolve(now));
        Ok(Subscription::to(channel.clone()).from(start.unwrap_or_default()))
    };
    channels.iter().map(subscription).collect()
}

impl Start {
    /// Returns the client's form of the start; `now` is the reference of "5m".
    fn resolve(&self, now: SystemTime) -> tailcast_client::Start {
        match self {
            Self::Live => tailcast_client::Start::Live,
            Self::Earliest => tailcast_client::Start::Earliest,
            Self::Snapshot => tailcast_client::Start::Snapshot,
            Self::Position(position) => tailcast_client::Start::Position(position.clone()),
            Self::At(time) => tailcast_client::Start::Timestamp(timestamp_ms(*time)),
            Self::Ago(ago) => {
                let time = now.checked_sub(*ago).unwrap_or(UNIX_EPOCH);
                tailcast_client::Start::Timestamp(timestamp_ms(time))
            }
        }
    }
}

/// Returns a time in milliseconds since the Unix epoch; 0 for earlier times.
fn timestamp_ms(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

impl FromStr for Start {
    type Err = StartError;

    fn from_str(text: &str) -> Result<Self, StartError> {
        match text {
            "live" | "latest" => return Ok(Self::Live),
            "earliest" => return Ok(Self::Earliest),
            "snapshot" => return Ok(Self::Snapshot),
            _ => {}
        }
        // A time has colons like a position, so it is tried first.
        if let Some(time) = parse_time(text) {
            return Ok(Self::At(time));
        }
        if let Ok(ago) = humantime::parse_duration(text) {
            return Ok(Self::Ago(ago));
        }
        if is_time_of_day(text) {
            let number = |digits: &str| digits.trim_start_matches('0').to_owned();
            let zero = |number: String| if number.is_empty() { "0".to_owned() } else { number };
            let (partition, offset) = (zero(number(&text[..2])), zero(number(&text[3..])));
            return Err(StartError::Ambiguous { found: text.to_owned(), partition, offset });
        }
        let position = text.strip_prefix('@').unwrap_or(text);
        let form = |_| StartError::Form { found: text.chars().take(80).collect() };
        position.parse().map(Self::Position).map_err(form)
    }
}

impl FromStr for StartOf {
    type Err = StartError;

    fn from_str(text: &str) -> Result<Self, StartError> {
        // A key may have a `=` and a start has none, so the last one separates them.
        match text.rsplit_once('=') {
            Some((channel, start)) => Ok(Self { channel: Some(channel.parse()?), start: start.parse()? }),
            None => Ok(Self { channel: None, start: text.parse()? }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let found = match text.parse::<StartOf>() {
            Ok(StartOf { channel, start }) => {
                let start = match start {
                    Start::Position(position) => format!("position {position}"),
                    Start::At(time) => format!("at {}", humantime::format_rfc3339(time)),
                    Start::Ago(ago) => format!("{} ago", humantime::format_duration(ago)),
                    other => format!("{other:?}"),
                };
                channel.map_or_else(|| start.clone(), |channel| format!("{channel}: {start}"))
            }
            Err(error) => error.to_string(),
        };
        assert!(found.contains(expected), "{text:?}: expected {expected:?}, found {found:?}");
    }

    #[test]
    fn a_start_is_a_name_a_position_a_time_or_an_age() {
        check("live", "Live");
        check("earliest", "Earliest");
        check("snapshot", "Snapshot");
        check("0:123,3:77", "position 0:123,3:77");
        check("ASNFZ4mrze_-3LqYdlQyEA/8@0:123", "position ASNFZ4mrze_-3LqYdlQyEA/8@0:123");
        check("2026-11-21T08:00:00Z", "at 2026-11-21T08:00:00Z");
        check("2026-11-21 08:00:00", "at 2026-11-21T08:00:00Z");
        check("5m", "5m ago");
        check("1h 30m", "1h 30m ago");
        check("latest", "Live");
    }

    #[test]
    fn a_time_may_have_an_offset() {
        check("2026-11-29T02:23:00+01:00", "at 2026-11-29T01:23:00Z");
        check("2026-11-29T02:23:00-05:30", "at 2026-11-29T07:53:00Z");
        check("2026-11-29 02:23:00.5+00:00", "at 2026-11-29T02:23:00.5");
        check("2026-11-29T02:23:00+24:00", "is not a start");
        check("2026-11-29T02:23:00+1:00", "is not a start");
        check("2026-11-29T02:23:00+é1:00", "is not a start");
        check("quotes/*=2026-11-29T02:23:00+01:00", "quotes/*: at 2026-11-29T01:23:00Z");
    }

    #[test]
    fn a_time_of_day_is_not_taken_for_a_position() {
        // 02:20 was offset 20 of partition 2.
        check("02:20", "\"02:20\" is ambiguous");
        check("12:30", "write 2026-11-21T12:30:00Z for a time, or @12:30 for offset 30 of partition 12");
        check("02:00", "or @02:00 for offset 0 of partition 2");
        check("@12:30", "position 12:30");
        check("12:75", "position 12:75");
        check("2:20", "position 2:20");
        check("0:05", "position 0:5");
    }

    #[test]
    fn a_start_may_be_of_one_channel() {
        check("quotes/AAPL=0:5", "quotes/AAPL: position 0:5");
        check("quotes/a=b=5m", "quotes/a=b: 5m ago");
        check("quotes/*=earliest", "quotes/*: Earliest");
    }

    #[test]
    fn an_invalid_start_is_refused_with_the_valid_forms() {
        check("yesterday", "is not a start; a start is `live`");
        check("0:x", "is not a start");
        check("", "is not a start");
        check("quotes=live", "a channel is topic/key");
    }

    #[track_caller]
    fn check_all(channels: &[&str], starts: &[&str], expected: &[&str]) {
        let channels: Vec<Channel> =
            channels.iter().map(|channel| channel.parse().expect("the test names a channel")).collect();
        let starts: Vec<StartOf> =
            starts.iter().map(|start| start.parse().expect("the test writes a start")).collect();
        let now = UNIX_EPOCH + Duration::from_secs(1_000);
        let found = match subscriptions(&channels, &starts, now) {
            Ok(found) => found.iter().map(|each| format!("{} {:?}", each.channel, each.start)).collect(),
            Err(error) => vec![error.to_string()],
        };
        assert_eq!(found, expected);
    }

    #[test]
    fn a_channel_starts_live_by_default() {
        check_all(&["a/b"], &[], &["a/b Live"]);
        check_all(&["a/b", "c/*"], &["earliest"], &["a/b Earliest", "c/* Earliest"]);
        check_all(&["a/b", "c/*"], &["earliest", "c/*=live"], &["a/b Earliest", "c/* Live"]);
    }

    #[test]
    fn ago_counts_from_now() {
        check_all(&["a/b"], &["5m"], &["a/b Timestamp(700000)"]);
        check_all(&["a/b"], &["1h"], &["a/b Timestamp(0)"]);
        check_all(&["a/b"], &["1970-01-01T00:00:02Z"], &["a/b Timestamp(2000)"]);
    }

    #[test]
    fn starts_that_do_not_fit_the_channels_are_refused() {
        check_all(&["a/b"], &["live", "earliest"], &["--from is given twice for all channels"]);
        check_all(&["a/b"], &["a/b=live", "a/b=live"], &["--from is given twice for a/b"]);
        check_all(&["a/b"], &["a/c=live"], &["--from a/c=…: a/c is not one of the channels of this command"]);
        check_all(&["a/b", "a/b"], &[], &["a/b is given twice"]);
        check_all(
            &["a/b", "c/d"],
            &["0:5"],
            &["--from 0:5 is a position, which applies to one channel: write --from CHANNEL=0:5"],
        );
    }
}
