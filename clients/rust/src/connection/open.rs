//! Opens a WebSocket to a push node.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use http::{
    HeaderValue, Request, StatusCode,
    header::{
        AUTHORIZATION, CONNECTION, HOST, RETRY_AFTER, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
        SEC_WEBSOCKET_VERSION, UPGRADE,
    },
};
use tokio::{
    net::{TcpSocket, TcpStream, lookup_host},
    time::timeout,
};
use tokio_tungstenite::{
    client_async_with_config,
    tungstenite::{self, error::ProtocolError, handshake::client::generate_key, protocol::WebSocketConfig},
};

use super::{Connection, Subprotocol};
use crate::Endpoint;

/// The options of a WebSocket.
#[derive(Debug, Clone)]
pub struct ConnectionOptions {
    /// The form of messages.
    pub subprotocol: Subprotocol,
    /// The bearer token for the `Authorization` header of the upgrade.
    pub token: Option<String>,
    /// The address to connect from. `None`: the kernel chooses.
    pub source: Option<IpAddr>,
    /// Size of the read buffer, which stays allocated.
    pub read_buffer_bytes: usize,
    /// Maximum size of a received message, in bytes.
    pub message_bytes_max: usize,
    /// Timeout for name lookup, connecting and the upgrade together.
    pub timeout: Duration,
}

/// Why a WebSocket could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The name has no address, or no address accepts a connection.
    #[error("cannot reach {endpoint}: {source}")]
    Unreachable {
        /// The endpoint.
        endpoint: String,
        /// The cause.
        source: io::Error,
    },
    /// The node did not answer in time.
    #[error("{endpoint} did not answer within {} ms", .after.as_millis())]
    Timeout {
        /// The endpoint.
        endpoint: String,
        /// The timeout.
        after: Duration,
    },
    /// The server answered the upgrade with an HTTP status.
    #[error("{endpoint} answered {status} {body}")]
    Refused {
        /// The endpoint.
        endpoint: String,
        /// The status.
        status: StatusCode,
        /// The value of `Retry-After`.
        retry_after: Option<Duration>,
        /// The beginning of the body.
        body: String,
    },
    /// The server does not speak the subprotocol.
    #[error("{endpoint} does not speak {subprotocol}")]
    Subprotocol {
        /// The endpoint.
        endpoint: String,
        /// The requested subprotocol.
        subprotocol: &'static str,
    },
    /// The token is not a valid header value.
    #[error("the token has characters that are not allowed in an HTTP header")]
    Token,
    /// The server does not speak WebSocket.
    #[error("{endpoint} does not speak WebSocket: {source}")]
    Handshake {
        /// The endpoint.
        endpoint: String,
        /// The cause.
        source: Box<tungstenite::Error>,
    },
}

impl Default for ConnectionOptions {
    fn default() -> Self {
        Self {
            subprotocol: Subprotocol::Proto,
            token: None,
            source: None,
            read_buffer_bytes: 16 * 1024,
            // Kafka's default `message.max.bytes` is 1 MiB; a node batches several records into a
            // message.
            message_bytes_max: 64 << 20,
            timeout: Duration::from_secs(10),
        }
    }
}

impl OpenError {
    /// Returns whether a later attempt can succeed without a change.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Timeout { .. } | Self::Handshake { .. } => true,
            Self::Refused { status, .. } => {
                let later = [
                    StatusCode::REQUEST_TIMEOUT,
                    // 425: a proxy rejected early data.
                    StatusCode::TOO_EARLY,
                    StatusCode::TOO_MANY_REQUESTS,
                ];
                status.is_server_error() || later.contains(status)
            }
            Self::Subprotocol { .. } | Self::Token => false,
        }
    }

    /// Returns the wait that the server requests before the next attempt.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        if let Self::Refused { retry_after, .. } = self { *retry_after } else { None }
    }
}

impl Connection {
    /// Opens a WebSocket. The session begins with the `Connect` that the caller sends.
    ///
    /// Cancel safe: a dropped attempt leaves nothing behind.
    ///
    /// # Errors
    ///
    /// When the server cannot be reached in time, or does not upgrade.
    pub async fn open(endpoint: &Endpoint, options: &ConnectionOptions) -> Result<Self, OpenError> {
        let attempt = Box::pin(Self::attempt(endpoint, options));
        timeout(options.timeout, attempt).await.unwrap_or_else(|_| {
            Err(OpenError::Timeout { endpoint: endpoint.to_string(), after: options.timeout })
        })
    }

    async fn attempt(endpoint: &Endpoint, options: &ConnectionOptions) -> Result<Self, OpenError> {
        let request = request(endpoint, options)?;
        let stream = dial(endpoint, options.source)
            .await
            .map_err(|source| OpenError::Unreachable { endpoint: endpoint.to_string(), source })?;
        let config = WebSocketConfig::default()
            .read_buffer_size(options.read_buffer_bytes)
            // Each message is written at once, without a write buffer.
            .write_buffer_size(0)
            .max_message_size(Some(options.message_bytes_max))
            .max_frame_size(Some(options.message_bytes_max));
        match client_async_with_config(request, stream, Some(config)).await {
            Ok((socket, _)) => Ok(Self { socket, subprotocol: options.subprotocol }),
            Err(error) => Err(refused(endpoint, options, error)),
        }
    }
}

fn request(endpoint: &Endpoint, options: &ConnectionOptions) -> Result<Request<()>, OpenError> {
    let mut request = Request::builder()
        .uri(endpoint.to_string())
        .header(HOST, endpoint.authority())
        .header(CONNECTION, "Upgrade")
        .header(UPGRADE, "websocket")
        .header(SEC_WEBSOCKET_VERSION, "13")
        .header(SEC_WEBSOCKET_KEY, generate_key())
        .header(SEC_WEBSOCKET_PROTOCOL, options.subprotocol.name());
    if let Some(token) = &options.token {
        let value = HeaderValue::try_from(format!("Bearer {token}")).map_err(|_| OpenError::Token)?;
        request = request.header(AUTHORIZATION, value);
    }
    request.body(()).map_err(|error| OpenError::Handshake {
        endpoint: endpoint.to_string(),
        source: Box::new(error.into()),
    })
}

/// Connects to the first address that accepts.
async fn dial(endpoint: &Endpoint, source: Option<IpAddr>) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in lookup_host((endpoint.host(), endpoint.port())).await? {
        match dial_address(address, source).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

async fn dial_address(address: SocketAddr, source: Option<IpAddr>) -> io::Result<TcpStream> {
    let stream = match source {
        None => TcpStream::connect(address).await?,
        Some(source) => {
            let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
            socket.bind(SocketAddr::new(source, 0))?;
            socket.connect(address).await?
        }
    };
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn refused(endpoint: &Endpoint, options: &ConnectionOptions, error: tungstenite::Error) -> OpenError {
    let endpoint = endpoint.to_string();
    match error {
        tungstenite::Error::Http(response) => {
            let after =
                response.headers().get(RETRY_AFTER).and_then(|after| after.to_str().ok()?.parse().ok());
            let body = response.body().as_deref().unwrap_or_default();
            OpenError::Refused {
                endpoint,
                status: response.status(),
                retry_after: after.map(Duration::from_secs),
                body: String::from_utf8_lossy(body).trim().chars().take(200).collect(),
            }
        }
        tungstenite::Error::Io(source) => OpenError::Unreachable { endpoint, source },
        tungstenite::Error::Protocol(ProtocolError::SecWebSocketSubProtocolError(_)) => {
            OpenError::Subprotocol { endpoint, subprotocol: options.subprotocol.name() }
        }
        error => OpenError::Handshake { endpoint, source: Box::new(error) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(url: &str, host: &str) {
        let endpoint = url.parse().expect("an endpoint");
        let request = request(&endpoint, &ConnectionOptions::default()).expect("a request");
        assert_eq!(request.headers()[HOST], host);
    }

    #[test]
    fn the_host_of_an_ipv6_endpoint_is_in_brackets() {
        // It was `::1:8080`, which is an address without a port.
        check("ws://[::1]:8080/v1/connect", "[::1]:8080");
        check("ws://127.0.0.1:8080", "127.0.0.1:8080");
        check("ws://push.example", "push.example:80");
    }

    #[test]
    fn a_temporary_status_is_retried() {
        let is_temporary = |status: u16| {
            let status = StatusCode::from_u16(status).expect("a status");
            let (endpoint, body) = (String::new(), String::new());
            OpenError::Refused { endpoint, status, retry_after: None, body }.is_temporary()
        };
        // 408 and 425 ended the client.
        for status in [408, 425, 429, 500, 502, 503, 504] {
            assert!(is_temporary(status), "{status}");
        }
        for status in [200, 301, 400, 401, 403, 404, 426] {
            assert!(!is_temporary(status), "{status}");
        }
    }
}
