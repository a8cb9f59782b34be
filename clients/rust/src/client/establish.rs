//! Opens a session: WebSocket, `Connect`, `Connected`.

use std::collections::VecDeque;

use tailcast_proto::push::v1::{ClientMessage, Connected, Frame, frame};
use tokio::time::timeout;

use crate::{
    Close, Connection, ConnectionOptions, Endpoint, EndpointError, OpenError, ReceiveError, SendError,
    Verdict,
};

/// An open session.
#[derive(Debug)]
pub(crate) struct Established {
    pub(crate) connection: Connection,
    pub(crate) connected: Connected,
    /// The frames in the same message as `Connected`.
    pub(crate) early: VecDeque<Frame>,
}

/// Why a session could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The URL is invalid.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// The WebSocket could not be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// `Connect` could not be sent.
    #[error(transparent)]
    Send(#[from] SendError),
    /// The node closed the connection instead of answering.
    #[error("{endpoint} closed the connection: {close}")]
    Closed {
        /// The node.
        endpoint: String,
        /// The close frame.
        close: Close,
    },
    /// The connection broke before the node answered.
    #[error("{endpoint}: {source}")]
    Receive {
        /// The node.
        endpoint: String,
        /// The cause.
        source: ReceiveError,
    },
    /// The node answered with another frame than `Connected`, or not in time.
    #[error("{endpoint} did not answer Connect")]
    NotConnected {
        /// The node.
        endpoint: String,
    },
}

impl ConnectError {
    /// Returns whether a later attempt can succeed without a change.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::Endpoint(_) => false,
            Self::Open(error) => error.is_temporary(),
            Self::Closed { close, .. } => close.verdict() == Verdict::Resume,
            Self::Send(_) | Self::Receive { .. } | Self::NotConnected { .. } => true,
        }
    }
}

/// Opens a session. Cancel safe: a dropped attempt leaves nothing behind.
pub(crate) async fn establish(
    endpoint: &Endpoint,
    options: &ConnectionOptions,
    messages: Vec<ClientMessage>,
) -> Result<Established, ConnectError> {
    let mut connection = Connection::open(endpoint, options).await?;
    let answer = timeout(options.timeout, Box::pin(connect(&mut connection, endpoint, messages))).await;
    let (connected, early) =
        answer.unwrap_or_else(|_| Err(ConnectError::NotConnected { endpoint: endpoint.to_string() }))?;
    Ok(Established { connection, connected, early })
}

async fn connect(
    connection: &mut Connection,
    endpoint: &Endpoint,
    messages: Vec<ClientMessage>,
) -> Result<(Connected, VecDeque<Frame>), ConnectError> {
    for message in &messages {
        // A node that refuses closes while messages are being sent; its close frame is more
        // informative than the failed write.
        if let Err(error) = connection.send(message).await {
            return Err(connection
                .receive()
                .await
                .err()
                .map_or(ConnectError::Send(error), |source| ended(endpoint, source)));
        }
    }
    let received = connection.receive().await.map_err(|source| ended(endpoint, source))?;
    let mut frames: VecDeque<_> = received.message.frames.into();
    match frames.pop_front().and_then(|frame| frame.frame) {
        Some(frame::Frame::Connected(connected)) => Ok((connected, frames)),
        _ => Err(ConnectError::NotConnected { endpoint: endpoint.to_string() }),
    }
}

fn ended(endpoint: &Endpoint, source: ReceiveError) -> ConnectError {
    let endpoint = endpoint.to_string();
    match source {
        ReceiveError::Closed(close) => ConnectError::Closed { endpoint, close },
        source => ConnectError::Receive { endpoint, source },
    }
}
