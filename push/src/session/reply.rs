//! The frames that a session sends, other than deliveries.

use std::time::Duration;

use bytes::BytesMut;
use tailcast_proto::{
    Key, PartitionId, Position,
    delivery::{Format, encode_message},
    push::v1::{self, Outcome},
};

use super::request::{CommandError, Request};
use crate::{config::SessionsConfig, cursor::DeliveryMode, record::channel::NodeChannel};

/// Encodes a frame as a message of its own.
pub(crate) fn encode(id: u32, frame: v1::frame::Frame, format: Format) -> BytesMut {
    let mut payload = BytesMut::new();
    let frames = vec![v1::Frame { id, frame: Some(frame) }];
    encode_message(&v1::ServerMessage { frames }, format, &mut payload);
    if format == Format::Json {
        // Lines are separated, not ended.
        payload.truncate(payload.len() - 1);
    }
    payload
}

pub(crate) fn connected(node: &str, session: u64, sessions: &SessionsConfig, wall_ms: i64) -> v1::Connected {
    let whole = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    v1::Connected {
        node: node.to_owned(),
        session: session.to_string(),
        server_time_ms: wall_ms,
        heartbeat_interval_ms: millis(sessions.heartbeat_interval),
        limits: Some(v1::Limits {
            message_bytes_max: whole(sessions.message_bytes_max),
            subscriptions_max: whole(sessions.subscriptions_max),
            key_bytes_max: whole(Key::LEN_MAX),
        }),
        token_expires_ms: 0,
    }
}

/// How a subscription starts.
#[derive(Debug)]
pub(crate) struct Start<'a> {
    pub(crate) channel: &'a NodeChannel,
    pub(crate) position: &'a Position,
    pub(crate) outcome: Outcome,
    pub(crate) lost: Vec<v1::LostRange>,
}

pub(crate) fn subscribed(request: &Request, start: Start<'_>) -> v1::Subscribed {
    let (mode, interval) = match request.mode {
        DeliveryMode::Lossless => (v1::DeliveryMode::Lossless, None),
        DeliveryMode::Conflated { interval } => (v1::DeliveryMode::Conflated, interval),
    };
    v1::Subscribed {
        index: request.index,
        alias: start.channel.alias,
        name: request.channel.to_string(),
        position: Some(start.position.into()),
        outcome: start.outcome.into(),
        lost: start.lost,
        mode: mode.into(),
        keys: request.channel.spans_keys(),
        home_partition: start.channel.home.map(PartitionId::get),
        max_rate: interval.map_or(0.0, |interval| interval.as_secs_f64().recip()),
    }
}

pub(crate) fn goaway(retry_after: Duration, deadline: Duration) -> v1::Goaway {
    v1::Goaway {
        retry_after_ms: millis(retry_after),
        deadline_ms: millis(deadline),
        detail: "this node is draining".to_owned(),
    }
}

pub(crate) fn error(index: u32, error: CommandError) -> v1::Error {
    v1::Error {
        code: error.code.into(),
        detail: error.detail,
        index,
        field: error.field,
        retry_after_ms: error.retry_after_ms,
    }
}

fn millis(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}
