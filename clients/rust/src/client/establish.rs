//! From a URL to an open session: WebSocket, `Connect`, `Connected`.

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
    /// The frames that came in the same message as `Connected`.
    pub(crate) early: VecDeque<Frame>,
}

/// Why there is no session.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The URL is not one.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// There is no WebSocket.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The node did not take `Connect`.
    #[error(transparent)]
    Send(#[from] SendError),
    /// The node closed the connection instead of answering.
    #[error("{endpoint} closed the connection: {close}")]
    Closed {
        /// Where.
        endpoint: String,
        /// How.
        close: Close,
    },
    /// The connection ended otherwise before the node answered.
    #[error("{endpoint}: {source}")]
    Receive {
        /// Where.
        endpoint: String,
        /// Why.
        source: ReceiveError,
    },
    /// The node answered with another frame than `Connected`, or not in time.
    #[error("{endpoint} did not answer Connect")]
    NotConnected {
        /// Where.
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
        // A node that refuses closes while the rest is still being sent; its close reason tells more than the failed write.
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
