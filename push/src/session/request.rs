//! Commands of a client, parsed into values that cannot be wrong.
//!
//! A malformed message ends the session: nothing after it can be trusted. A command with an invalid
//! field is answered with an error, and the session continues.

use std::{ops::RangeInclusive, time::Duration};

use bytes::Bytes;
use prost::Message as _;
use tailcast_proto::{
    Channel, ChannelError, PartitionId, Position, PositionError,
    delivery::Format,
    push::v1::{self, ErrorCode, client_message},
};

use crate::cursor::DeliveryMode;

/// A subscription that a client requests.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Request {
    /// The id of the command.
    pub(crate) id: u32,
    /// Which of `Connect`'s subscriptions it is; 0 for `Subscribe`.
    pub(crate) index: u32,
    pub(crate) channel: Channel,
    /// The field that named the topic, for errors that come later.
    pub(crate) topic_field: &'static str,
    pub(crate) start: Start,
    pub(crate) mode: DeliveryMode,
    /// The partitions that the position names, in the client's order: errors say which of them is
    /// wrong.
    pub(crate) named: Vec<PartitionId>,
    /// Whether deliveries carry headers.
    pub(crate) headers: bool,
}

/// Where a subscription starts.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Start {
    Live,
    Earliest,
    Position(Position),
    /// Milliseconds since the Unix epoch.
    Timestamp(i64),
    /// With the last values of the topic.
    Snapshot,
}

/// The target of an `Unsubscribe`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    Alias(u32),
    Channel(Channel),
}

/// The error that answers a command.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct CommandError {
    pub(crate) code: ErrorCode,
    pub(crate) detail: String,
    pub(crate) field: String,
    /// When to retry, in milliseconds; 0: not without a change.
    pub(crate) retry_after_ms: u32,
}

/// Maximum number of commands in one message. A reply may be longer than its command.
const LINES_MAX: usize = 128;
/// Allowed rate limits of a conflated subscription, in deliveries per key and second. Above a
/// thousand a limit has no effect. Below one in ten seconds a delayed record would leave the window
/// of a busy partition, and would have to be read from Kafka again for a client that keeps up.
const MAX_RATES: RangeInclusive<f64> = 0.1..=1_000.0;
/// Maximum length of a client's name and version, in bytes.
const CLIENT_TEXT_BYTES_MAX: usize = 128;

/// Decodes the commands in a WebSocket message of the subprotocol.
///
/// # Errors
///
/// When the message is malformed; the text is for the client.
pub(crate) fn decode(format: Format, message: &Bytes) -> Result<Vec<v1::ClientMessage>, String> {
    match format {
        Format::Proto => {
            // As a slice, so that keys are copied: a part of the message would keep all of it for
            // as long as its channel is known.
            let message = v1::ClientMessage::decode(&**message);
            message.map(|message| vec![message]).map_err(|error| format!("not a ClientMessage: {error}"))
        }
        Format::Json => {
            let text = str::from_utf8(message).map_err(|error| format!("not UTF-8: {error}"))?;
            let lines = text.lines().filter(|line| !line.trim().is_empty());
            if lines.clone().nth(LINES_MAX).is_some() {
                return Err(format!("a message has more than {LINES_MAX} lines"));
            }
            let messages: Result<Vec<_>, _> = lines.map(serde_json::from_str).collect();
            messages.map_err(|error| format!("not a ClientMessage in ProtoJSON: {error}"))
        }
    }
}

/// Checks the fields of `Connect` other than its subscriptions.
///
/// # Errors
///
/// When a field is invalid.
pub(crate) fn check_connect(connect: &v1::Connect, subscriptions_max: usize) -> Result<(), CommandError> {
    if connect.subscriptions.len() > subscriptions_max {
        // One answer, not one for each: they would be many times as long as the question.
        let detail =
            format!("subscription limit exceeded ({subscriptions_max} per session); open several sessions");
        let refusal = CommandError::new(ErrorCode::TooManySubscriptions, detail);
        return Err(CommandError { field: "subscriptions".to_owned(), ..refusal });
    }
    let fields = [("client_name", &connect.client_name), ("client_version", &connect.client_version)];
    match fields.iter().find(|(_, text)| text.len() > CLIENT_TEXT_BYTES_MAX) {
        Some((field, text)) => {
            let detail =
                format!("length limit exceeded: {} bytes, limit {CLIENT_TEXT_BYTES_MAX}", text.len());
            Err(CommandError::invalid(*field, detail))
        }
        None => Ok(()),
    }
}

/// Parses a subscription.
///
/// # Errors
///
/// When a field is invalid, or requests something that this node does not offer.
pub(crate) fn parse_subscribe(
    id: u32,
    index: u32,
    subscribe: v1::Subscribe,
) -> Result<Request, CommandError> {
    let mode = parse_mode(&subscribe)?;
    let (channel, topic_field) = match subscribe.target {
        None => return Err(CommandError::invalid("channel", ChannelError::Missing.to_string())),
        Some(v1::subscribe::Target::Channel(channel)) => (parse_channel(channel)?, "channel.topic"),
        Some(v1::subscribe::Target::Name(name)) => (parse_name(&name)?, "name"),
    };
    let mut named = Vec::new();
    let start = match subscribe.start.unwrap_or_default().at {
        None | Some(v1::start::At::Live(v1::Live {})) => Start::Live,
        Some(v1::start::At::Earliest(v1::Earliest {})) => Start::Earliest,
        Some(v1::start::At::Position(position)) => {
            named.extend(position.offsets.iter().filter_map(|at| PartitionId::try_from(at.partition).ok()));
            Start::Position(Position::try_from(position)?)
        }
        Some(v1::start::At::TimestampMs(timestamp)) if timestamp >= 0 => Start::Timestamp(timestamp),
        Some(v1::start::At::TimestampMs(timestamp)) => {
            let detail =
                format!("{timestamp} is not a time; it is milliseconds since the Unix epoch, 0 or more");
            return Err(CommandError::invalid("start.timestamp_ms", detail));
        }
        Some(v1::start::At::Snapshot(v1::Snapshot {})) => Start::Snapshot,
    };
    Ok(Request { id, index, channel, topic_field, start, mode, named, headers: subscribe.headers })
}

/// Parses the delivery mode and the rate limit.
fn parse_mode(subscribe: &v1::Subscribe) -> Result<DeliveryMode, CommandError> {
    let mode = v1::DeliveryMode::try_from(subscribe.mode)
        .map_err(|_| CommandError::invalid("mode", format!("{} is not a delivery mode", subscribe.mode)))?;
    let rate = subscribe.max_rate;
    match mode {
        v1::DeliveryMode::Unspecified | v1::DeliveryMode::Lossless if rate == 0.0 => {
            Ok(DeliveryMode::Lossless)
        }
        v1::DeliveryMode::Unspecified | v1::DeliveryMode::Lossless => {
            let detail = "max_rate requires mode CONFLATED, because it skips records";
            Err(CommandError::invalid("max_rate", detail))
        }
        v1::DeliveryMode::Conflated if rate == 0.0 => Ok(DeliveryMode::Conflated { interval: None }),
        v1::DeliveryMode::Conflated if MAX_RATES.contains(&rate) => {
            Ok(DeliveryMode::Conflated { interval: Some(Duration::from_secs_f64(1.0 / rate)) })
        }
        v1::DeliveryMode::Conflated => {
            let (least, most) = MAX_RATES.into_inner();
            let detail = format!(
                "invalid rate {rate}; expected {least} to {most} deliveries per key and second, or 0 for no limit"
            );
            Err(CommandError::invalid("max_rate", detail))
        }
    }
}

/// Parses the target of an `Unsubscribe`.
///
/// # Errors
///
/// When the target is missing or is not a channel.
pub(crate) fn parse_unsubscribe(unsubscribe: v1::Unsubscribe) -> Result<Target, CommandError> {
    Ok(match unsubscribe.target {
        None => {
            return Err(CommandError::invalid(
                "target",
                "missing target; expected `alias`, `name` or `channel`",
            ));
        }
        Some(v1::unsubscribe::Target::Alias(alias)) => Target::Alias(alias),
        Some(v1::unsubscribe::Target::Name(name)) => Target::Channel(parse_name(&name)?),
        Some(v1::unsubscribe::Target::Channel(channel)) => Target::Channel(parse_channel(channel)?),
    })
}

/// Whether a command is `Connect`, which must come first.
pub(crate) fn is_connect(command: &client_message::Command) -> bool {
    matches!(command, client_message::Command::Connect(_))
}

impl CommandError {
    pub(crate) fn new(code: ErrorCode, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into(), field: String::new(), retry_after_ms: 0 }
    }

    pub(crate) fn invalid(field: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { field: field.into(), ..Self::new(ErrorCode::InvalidArgument, detail) }
    }

    pub(crate) fn unsupported(field: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { field: field.into(), ..Self::new(ErrorCode::Unsupported, detail) }
    }

    /// Kafka cannot be reached at the moment.
    pub(crate) fn unavailable(detail: impl Into<String>) -> Self {
        Self { retry_after_ms: 1_000, ..Self::new(ErrorCode::Unavailable, detail) }
    }
}

/// Parses a channel in text.
fn parse_name(name: &str) -> Result<Channel, CommandError> {
    name.parse().map_err(|error: ChannelError| CommandError::invalid("name", error.to_string()))
}

/// Parses a channel in parts.
fn parse_channel(channel: v1::Channel) -> Result<Channel, CommandError> {
    let is_prefix = matches!(channel.keys, Some(v1::channel::Keys::Prefix(_)));
    Channel::try_from(channel).map_err(|error| {
        let field = match &error {
            ChannelError::Topic(_) => "channel.topic",
            ChannelError::Key(_) if is_prefix => "channel.prefix",
            ChannelError::Key(_) => "channel.key",
            ChannelError::NoKeys => "channel.keys",
            ChannelError::Missing | ChannelError::NoKey { .. } | ChannelError::Escape { .. } => "channel",
        };
        CommandError::invalid(field, error.to_string())
    })
}

impl From<PositionError> for CommandError {
    fn from(error: PositionError) -> Self {
        let field = match &error {
            PositionError::Epoch(_) => "start.position.epoch".to_owned(),
            PositionError::Partition { index, .. } | PositionError::Twice { index, .. } => {
                format!("start.position.offsets[{index}].partition")
            }
            PositionError::Offset { index, .. } => format!("start.position.offsets[{index}].offset"),
            PositionError::Form { .. } | PositionError::Count { .. } => "start.position".to_owned(),
        };
        Self::invalid(field, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(json: &str, expected: &str) {
        let found = match decode(Format::Json, &Bytes::from(json.to_owned())) {
            Err(error) => format!("close: {error}"),
            Ok(messages) => format!("{:?}", messages.into_iter().map(parse).collect::<Vec<_>>()),
        };
        assert!(found.contains(expected), "{json}\nexpected {expected:?}\n   found {found:?}");
    }

    fn parse(message: v1::ClientMessage) -> Result<String, CommandError> {
        match message.command {
            Some(client_message::Command::Subscribe(subscribe)) => parse_subscribe(message.id, 0, subscribe)
                .map(|request| format!("{} {:?} {:?}", request.channel, request.start, request.mode)),
            Some(client_message::Command::Unsubscribe(unsubscribe)) => {
                parse_unsubscribe(unsubscribe).map(|target| format!("{target:?}"))
            }
            Some(client_message::Command::Connect(connect)) => {
                check_connect(&connect, 2).map(|()| "connect".to_owned())
            }
            other => Ok(format!("{other:?}")),
        }
    }

    #[test]
    fn commands_are_written_in_json() {
        check(r#"{"subscribe":{"name":"quotes/AAPL"}}"#, r"quotes/AAPL Live");
        check(r#"{"subscribe":{"channel":{"topic":"quotes","key":"QUFQTA=="}}}"#, "quotes/AAPL Live");
        check(r#"{"subscribe":{"name":"quotes/*","start":{"earliest":{}}}}"#, "quotes/* Earliest");
        check(r#"{"subscribe":{"name":"q/a","start":{"timestampMs":"5"}}}"#, "q/a Timestamp(5)");
        check(r#"{"subscribe":{"name":"q/a","start":{"snapshot":{}}}}"#, "q/a Snapshot Lossless");
        check(
            r#"{"subscribe":{"name":"q/a","mode":"DELIVERY_MODE_CONFLATED"}}"#,
            "Live Conflated { interval: None }",
        );
        check(
            r#"{"subscribe":{"name":"q/a","mode":"DELIVERY_MODE_CONFLATED","maxRate":4}}"#,
            "Conflated { interval: Some(250ms) }",
        );
        let position =
            r#"{"subscribe":{"name":"q/a","start":{"position":{"offsets":[{"partition":1,"offset":"7"}]}}}}"#;
        check(position, "PartitionId(1): Offset(7)");
        check(r#"{"unsubscribe":{"alias":3}}"#, "Alias(3)");
        check("{\"connect\":{}}\n\n{\"pong\":{}}\n", "Pong");
    }

    #[test]
    fn a_field_that_is_wrong_is_named() {
        check(r#"{"subscribe":{}}"#, r#"field: "channel""#);
        check(r#"{"subscribe":{"name":"quotes"}}"#, r#"field: "name""#);
        check(r#"{"subscribe":{"name":"quotes/"}}"#, r#"field: "name""#);
        check(r#"{"subscribe":{"name":"__consumer_offsets/a"}}"#, r#"field: "name""#);
        check(r#"{"subscribe":{"channel":{"topic":"__a","key":"YQ=="}}}"#, r#"field: "channel.topic""#);
        check(r#"{"subscribe":{"channel":{"topic":"q","prefix":""}}}"#, r#"field: "channel.prefix""#);
        check(r#"{"subscribe":{"channel":{"topic":"q"}}}"#, r#"field: "channel.keys""#);
        check(r#"{"subscribe":{"name":"q/a","maxRate":2}}"#, r#"field: "max_rate""#);
        for rate in ["-1", "0.05", "1001", r#""NaN""#, r#""Infinity""#] {
            let conflated = format!(
                r#"{{"subscribe":{{"name":"q/a","mode":"DELIVERY_MODE_CONFLATED","maxRate":{rate}}}}}"#
            );
            check(&conflated, r#"field: "max_rate""#);
        }
        check(r#"{"subscribe":{"name":"q/a","start":{"timestampMs":-1}}}"#, r#"field: "start.timestamp_ms""#);
        let position =
            r#"{"subscribe":{"name":"q/a","start":{"position":{"offsets":[{"partition":1,"offset":-7}]}}}}"#;
        check(position, r#"field: "start.position.offsets[0].offset""#);
        check(r#"{"unsubscribe":{}}"#, r#"field: "target""#);
        let three = r#"{"connect":{"subscriptions":[{"name":"q/a"},{"name":"q/b"},{"name":"q/c"}]}}"#;
        check(three, r#"field: "subscriptions""#);
        check(&format!(r#"{{"connect":{{"clientName":"{}"}}}}"#, "n".repeat(129)), r#"field: "client_name""#);
    }

    #[test]
    fn a_channel_keeps_nothing_of_the_message_that_named_it() {
        // Each key was a part of the buffer that its message was read into: 8 KiB, or as much as a
        // message may have.
        let key = v1::channel::Keys::Key(Bytes::from_static(b"key"));
        let channel = v1::Channel { topic: "quotes".to_owned(), keys: Some(key) };
        let target = Some(v1::unsubscribe::Target::Channel(channel));
        let command = Some(client_message::Command::Unsubscribe(v1::Unsubscribe { target }));
        let message = Bytes::from(v1::ClientMessage { id: 1, command }.encode_to_vec());
        let decoded = decode(Format::Proto, &message).expect("it is a message");
        assert!(message.is_unique(), "{decoded:?}");
    }

    #[test]
    fn what_is_not_a_message_closes_with_the_reason() {
        check("hello", "close: not a ClientMessage in ProtoJSON: expected value");
        check(&"{}\n".repeat(LINES_MAX + 1), "close: a message has more than 128 lines");
        check(r#"{"subcribe":{}}"#, "close: not a ClientMessage in ProtoJSON: unknown field `subcribe`");
        let error =
            decode(Format::Proto, &Bytes::from_static(b"\x00\x01garbage")).expect_err("it is no message");
        assert!(error.contains("not a ClientMessage"), "{error}");
    }
}
