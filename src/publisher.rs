//! A connection to ingest, for the commands that publish.

use std::{collections::HashMap, error::Error as _, io, time::Duration};

use futures_util::Stream;
use tailcast_proto::ingest::v1::{
    PublishRequest, PublishResponse, PublishStreamRequest, PublishStreamResponse,
    ingest_service_client::IngestServiceClient,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tonic::{
    Code, Request, Status, Streaming,
    transport::{Channel, Endpoint},
};
use tonic_types::{ErrorDetails, StatusExt};

/// Detects that ingest has disappeared while a call is open. Without keepalive a stream would wait
/// until the kernel gives up the connection: for a quarter of an hour, or for ever if nothing is
/// sent.
const KEEPALIVE: Keepalive =
    Keepalive { interval: Duration::from_secs(15), timeout: Duration::from_secs(10) };

/// The reason in the error details of calls to a server that does not speak gRPC.
pub(crate) const NOT_GRPC: &str = "NOT_GRPC";

/// Timeout of the probe for a server's protocol.
const PROBE_WITHIN: Duration = Duration::from_secs(2);

/// A connection to ingest. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Publisher {
    client: IngestServiceClient<Channel>,
    address: String,
    timeout: Duration,
}

/// Keepalive by HTTP/2 PING.
#[derive(Debug, Clone, Copy)]
struct Keepalive {
    /// Interval of probes.
    interval: Duration,
    /// Timeout of a probe; then the connection is closed and its calls fail.
    timeout: Duration,
}

/// Why there is no connection to ingest.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    /// The address is invalid.
    #[error("{address:?} is not an address; the form is HOST:PORT")]
    Address {
        /// The address.
        address: String,
    },
    /// No server answers.
    #[error("cannot reach ingest at {address}; is it running, and is --ingest its address?")]
    Unreachable {
        /// The address.
        address: String,
        /// The cause.
        source: tonic::transport::Error,
    },
}

impl Publisher {
    /// Connects to `address`, with a timeout for that and later for each unary call.
    pub(crate) async fn connect(address: &str, timeout: Duration) -> Result<Self, ConnectError> {
        Self::connect_with(address, timeout, KEEPALIVE).await
    }

    async fn connect_with(
        address: &str,
        timeout: Duration,
        keepalive: Keepalive,
    ) -> Result<Self, ConnectError> {
        let endpoint = endpoint(address, timeout, keepalive)?;
        let unreachable = |source| ConnectError::Unreachable { address: address.to_owned(), source };
        let channel = endpoint.connect().await.map_err(unreachable)?;
        Ok(Self { client: IngestServiceClient::new(channel), address: address.to_owned(), timeout })
    }

    /// Connects at the first publish, and again after a disconnect.
    pub(crate) fn connect_lazily(address: &str, timeout: Duration) -> Result<Self, ConnectError> {
        let channel = endpoint(address, timeout, KEEPALIVE)?.connect_lazy();
        Ok(Self { client: IngestServiceClient::new(channel), address: address.to_owned(), timeout })
    }

    /// Publishes a batch.
    pub(crate) async fn publish(&self, batch: PublishRequest) -> Result<PublishResponse, Status> {
        let mut request = Request::new(batch);
        request.set_timeout(self.timeout);
        let answer = self.client.clone().publish(request).await;
        match answer {
            Ok(answer) => Ok(answer.into_inner()),
            Err(status) => Err(self.explained(status).await),
        }
    }

    /// Opens a stream of messages.
    pub(crate) async fn publish_stream<S>(
        &self,
        requests: S,
    ) -> Result<Streaming<PublishStreamResponse>, Status>
    where
        S: Stream<Item = PublishStreamRequest> + Send + 'static,
    {
        let answer = self.client.clone().publish_stream(requests).await;
        match answer {
            Ok(answer) => Ok(answer.into_inner()),
            Err(status) => Err(self.explained(status).await),
        }
    }

    /// Replaces the error for a server that does not speak HTTP/2, which is "transport error" or
    /// "canceled".
    async fn explained(&self, status: Status) -> Status {
        let address = &self.address;
        if status.get_details_error_info().is_some() {
            return status;
        }
        if !speaks_another_protocol(address).await {
            return match connection_error(&status) {
                Some(error) => Status::unavailable(format!("the connection to {address} broke: {error}")),
                None => status,
            };
        }
        let why = format!("{address} does not speak gRPC; ingest listens on port 9090 by default");
        // The server read no request, so nothing was published.
        let outcome = HashMap::from([("outcome".to_owned(), "refused".to_owned())]);
        let details = ErrorDetails::with_error_info(NOT_GRPC, "tailcast", outcome);
        Status::with_error_details(Code::InvalidArgument, why, details)
    }
}

/// Returns whether a server speaks another protocol than HTTP/2. One that is unreachable or silent
/// may be an ingest that has just ended.
async fn speaks_another_protocol(address: &str) -> bool {
    // The client's preface: RFC 9113, section 3.4. A server's first frame is SETTINGS, of type 4.
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    if let Some([_, _, _, kind, _]) = first_bytes(address, preface).await {
        return kind != 4;
    }
    // Many HTTP/1 servers close a connection with that preface without an answer.
    first_bytes(address, b"GET / HTTP/1.1\r\nhost: tailcast\r\n\r\n").await.as_ref() == Some(b"HTTP/")
}

/// Returns why the connection broke, if that is why a call failed: the innermost of the causes, as
/// text.
fn connection_error(status: &Status) -> Option<String> {
    let mut error = status.source()?;
    if !error.is::<tonic::transport::Error>() {
        return None;
    }
    while let Some(cause) = error.source() {
        error = cause;
    }
    Some(error.to_string())
}

/// Returns the first bytes of a server's answer.
async fn first_bytes(address: &str, request: &[u8]) -> Option<[u8; 5]> {
    let answer = async {
        let mut socket = TcpStream::connect(address).await?;
        socket.write_all(request).await?;
        let mut head = [0; 5];
        socket.read_exact(&mut head).await?;
        io::Result::Ok(head)
    };
    timeout(PROBE_WITHIN, answer).await.ok()?.ok()
}

fn endpoint(address: &str, timeout: Duration, keepalive: Keepalive) -> Result<Endpoint, ConnectError> {
    let invalid = || ConnectError::Address { address: address.to_owned() };
    let host_and_port = address
        .rsplit_once(':')
        .is_some_and(|(host, port)| !host.is_empty() && !host.contains('/') && port.parse::<u16>().is_ok());
    if !host_and_port {
        return Err(invalid());
    }
    let endpoint = Endpoint::from_shared(format!("http://{address}")).map_err(|_| invalid())?;
    let endpoint = endpoint.connect_timeout(timeout);
    Ok(endpoint.http2_keep_alive_interval(keepalive.interval).keep_alive_timeout(keepalive.timeout))
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::stream;
    use tokio::net::TcpListener;

    #[track_caller]
    fn check(address: &str, good: bool) {
        assert_eq!(endpoint(address, Duration::from_secs(1), KEEPALIVE).is_ok(), good, "{address:?}");
    }

    #[test]
    fn the_address_of_ingest_is_a_host_and_a_port() {
        check("127.0.0.1:9090", true);
        check("ingest.internal:9090", true);
        check("[::1]:9090", true);
        check("127.0.0.1", false);
        check("http://127.0.0.1:9090", false);
        check(":9090", false);
        check("host:99999", false);
        check("", false);
    }

    #[tokio::test]
    async fn a_server_that_does_not_speak_grpc_is_reported() {
        // The error was "transport error", with the exit code of an internal error.
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let address = listener.local_addr().expect("it has an address").to_string();
        // Like hyper without HTTP/2: only HTTP/1 is answered.
        let web = async {
            loop {
                let (mut socket, _) = listener.accept().await.expect("the publisher connects");
                let mut head = [0; 3];
                socket.read_exact(&mut head).await.expect("the publisher writes");
                if head == *b"GET" {
                    socket.write_all(b"HTTP/1.1 404 Not Found\r\n\r\n").await.expect("it is taken");
                    return socket;
                }
            }
        };
        let publish = async {
            let publisher = Publisher::connect(&address, Duration::from_secs(5)).await.expect("it listens");
            publisher.publish(PublishRequest::default()).await
        };
        let (answer, _socket) = tokio::join!(publish, web);
        let failed = answer.expect_err("nobody publishes");
        assert!(failed.message().contains("does not speak gRPC"), "{failed:?}");
        assert_eq!(failed.code(), Code::InvalidArgument);
    }

    #[tokio::test]
    async fn a_connection_that_breaks_is_reported_as_that() {
        // The error was "transport error" with the code Unknown, as if ingest had answered: so it
        // was with the port of a Kafka.
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let address = listener.local_addr().expect("it has an address").to_string();
        let closing = async {
            loop {
                drop(listener.accept().await);
            }
        };
        let publish = async {
            let publisher = Publisher::connect(&address, Duration::from_secs(5)).await.expect("it listens");
            publisher.publish(PublishRequest::default()).await
        };
        let failed = tokio::select! {
            answer = publish => answer.expect_err("nobody publishes"),
            () = closing => unreachable!("it accepts for ever"),
        };
        assert_eq!(failed.code(), Code::Unavailable, "{failed:?}");
        assert!(failed.message().starts_with(&format!("the connection to {address} broke: ")), "{failed:?}");
    }

    #[tokio::test]
    async fn a_stream_to_an_ingest_that_has_vanished_fails() {
        // It waited for ever: without keepalive the loss of the connection was not noticed.
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let address = listener.local_addr().expect("it has an address").to_string();
        let silent = async {
            let (mut socket, _) = listener.accept().await.expect("the publisher connects");
            // The settings of an HTTP/2 server: an empty frame of type 4 on stream 0. Then it
            // answers nothing.
            socket.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.expect("they are taken");
            socket
        };
        let short = Keepalive { interval: Duration::from_millis(20), timeout: Duration::from_millis(20) };
        let connecting = Publisher::connect_with(&address, Duration::from_secs(5), short);
        let (publisher, _socket) = tokio::join!(connecting, silent);
        let publisher = publisher.expect("somebody listens");

        let opened = timeout(Duration::from_secs(10), publisher.publish_stream(stream::pending())).await;
        let failed = opened.expect("it is noticed soon").expect_err("nobody answers");
        assert_eq!(failed.code(), Code::Unavailable, "{failed:?}");
    }
}
