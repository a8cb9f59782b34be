//! A chat message: parsed from the body of a request, and published with the key `lobby`.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, header::CONTENT_TYPE};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use serde::{Deserialize, Serialize};
use tailcast_proto::ingest::v1::{Message, PublishRequest, outcome};
use tokio::time::timeout;

use crate::{
    dev::{CHAT, LOBBY},
    publisher::Publisher,
};

/// Maximum size of a body: 532 characters of at most 12 bytes each (`\ud83d\ude00`) fit.
const BODY_BYTES_MAX: usize = 8 << 10;

/// Timeout for receiving a body.
const BODY_WITHIN: Duration = Duration::from_secs(5);

/// Maximum length of a name and of a text, in characters.
const NAME_MAX: usize = 32;
const TEXT_MAX: usize = 500;

/// A chat message, as the page sends it and as it is published.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ChatMessage {
    /// The author's name.
    name: String,
    /// The text.
    text: String,
}

/// Why a body is not a chat message.
#[derive(Debug, thiserror::Error)]
pub(super) enum ChatError {
    /// A form of another site can send text but not JSON.
    #[error("the content type is not application/json")]
    ContentType,
    /// The body is too large or incomplete.
    #[error("the body exceeds {BODY_BYTES_MAX} bytes, or is incomplete")]
    Body,
    /// The body did not arrive in time.
    #[error("the body did not arrive within {} s", BODY_WITHIN.as_secs())]
    Slow,
    /// The body is not a chat message in JSON.
    #[error("the body is not {{\"name\": …, \"text\": …}}: {0}")]
    Form(#[from] serde_json::Error),
    /// A field is empty or too long.
    #[error("{field} has {found} characters; it must have 1 to {most}")]
    Length {
        /// The field.
        field: &'static str,
        /// Its length.
        found: usize,
        /// Its maximum length.
        most: usize,
    },
}

/// Why a chat message was not published.
#[derive(Debug, thiserror::Error)]
pub(super) enum PublishError {
    /// The call failed.
    #[error("cannot publish the message: {}", .0.message())]
    Call(#[from] Box<tonic::Status>),
    /// The message was not acknowledged.
    #[error("the message was not acknowledged: {0}")]
    NotAcknowledged(String),
}

/// Reads a chat message from a request.
pub(super) async fn read(request: Request<Incoming>) -> Result<ChatMessage, ChatError> {
    let json = request.headers().get(CONTENT_TYPE).is_some_and(|found| found == "application/json");
    if !json {
        return Err(ChatError::ContentType);
    }
    let body = Limited::new(request.into_body(), BODY_BYTES_MAX).collect();
    let body = timeout(BODY_WITHIN, body).await.map_err(|_| ChatError::Slow)?.map_err(|_| ChatError::Body)?;
    ChatMessage::parse(&body.to_bytes())
}

impl ChatMessage {
    fn parse(body: &[u8]) -> Result<Self, ChatError> {
        let message: Self = serde_json::from_slice(body)?;
        for (field, value, most) in [("name", &message.name, NAME_MAX), ("text", &message.text, TEXT_MAX)] {
            let found = value.trim().chars().count();
            if found == 0 || value.chars().count() > most {
                return Err(ChatError::Length { field, found, most });
            }
        }
        Ok(message)
    }

    /// Publishes it, and returns when Kafka has acknowledged it.
    pub(super) async fn publish(&self, publisher: &Publisher) -> Result<(), PublishError> {
        let message = Message {
            topic: CHAT.to_owned(),
            key: Some(Bytes::from_static(LOBBY.as_bytes())),
            value: Some(serde_json::to_vec(self).expect("two strings always serialize").into()),
            content_type: "application/json".to_owned(),
            ..Message::default()
        };
        let answer = publisher.publish(PublishRequest { messages: vec![message] }).await.map_err(Box::new)?;
        match answer.outcomes.into_iter().next().and_then(|outcome| outcome.result) {
            Some(outcome::Result::Acknowledged(_)) => Ok(()),
            Some(outcome::Result::Refused(refused)) => Err(PublishError::NotAcknowledged(refused.detail)),
            Some(outcome::Result::Unknown(unknown)) => Err(PublishError::NotAcknowledged(unknown.detail)),
            None => Err(PublishError::NotAcknowledged("ingest returned no outcome".to_owned())),
        }
    }
}

impl ChatError {
    /// Returns the HTTP status of the error.
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::ContentType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Body => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Slow => StatusCode::REQUEST_TIMEOUT,
            Self::Form(_) | Self::Length { .. } => StatusCode::BAD_REQUEST,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(body: &str, expected: &str) {
        let found = match ChatMessage::parse(body.as_bytes()) {
            Ok(message) => format!("{}: {}", message.name, message.text),
            Err(error) => error.to_string(),
        };
        assert!(found.contains(expected), "expected {expected:?}, found {found:?}");
    }

    #[test]
    fn a_chat_message_has_a_name_and_a_text() {
        check(r#"{"name":"Ada","text":"hello"}"#, "Ada: hello");
        check(r#"{"name":"Ada"}"#, "missing field `text`");
        check(r#"{"name":"Ada","text":"a","key":"other"}"#, "unknown field");
        check("hello", "the body is not");
    }

    #[test]
    fn names_and_texts_are_neither_empty_nor_too_long() {
        check(r#"{"name":" ","text":"hello"}"#, "name has 0 characters; it must have 1 to 32");
        check(r#"{"name":"Ada","text":""}"#, "text has 0 characters; it must have 1 to 500");
        check(&format!(r#"{{"name":"Ada","text":"{}"}}"#, "ü".repeat(501)), "text has 501 characters");
        check(&format!(r#"{{"name":"Ada","text":"{}"}}"#, "ü".repeat(500)), "Ada: üü");
    }

    #[test]
    fn the_longest_message_fits_into_a_body() {
        let longest = |characters: usize| "\\ud83d\\ude00".repeat(characters);
        let body = format!(r#"{{"name":"{}","text":"{}"}}"#, longest(NAME_MAX), longest(TEXT_MAX));
        assert!(body.len() <= BODY_BYTES_MAX, "{} bytes", body.len());
        ChatMessage::parse(body.as_bytes()).expect("it has the maximum length");
    }
}
