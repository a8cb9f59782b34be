//! A WebSocket client without rules: the scenario chooses the bytes of the upgrade request and of
//! every frame.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::deadline::within;
use crate::socket::{Closed, Wire};

/// A TCP connection after an upgrade to WebSocket.
pub struct RawSocket {
    stream: TcpStream,
}

/// A node's answer to an HTTP request, without its body.
#[derive(Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The headers, names in lower case.
    pub headers: Vec<(String, String)>,
}

/// Opcodes of RFC 6455.
#[derive(Debug, Clone, Copy)]
#[expect(missing_docs, reason = "the RFC's own names")]
pub enum Opcode {
    Continuation = 0,
    Text = 1,
    Binary = 2,
    Reserved = 3,
    Close = 8,
    Ping = 9,
}

/// A frame of a client.
#[derive(Debug, Clone)]
pub struct RawFrame {
    /// Whether it is the last of its message.
    pub last: bool,
    /// Its opcode.
    pub opcode: Opcode,
    /// Whether the first reserved bit is set.
    pub reserved: bool,
    /// Whether it is masked, which RFC 6455 requires of a client.
    pub masked: bool,
    /// Its payload.
    pub payload: Vec<u8>,
}

/// Returns a valid frame that is a whole message.
pub fn whole(opcode: Opcode, payload: impl Into<Vec<u8>>) -> RawFrame {
    RawFrame { last: true, opcode, reserved: false, masked: true, payload: payload.into() }
}

/// Returns a valid first frame of several.
pub fn part(opcode: Opcode, payload: impl Into<Vec<u8>>) -> RawFrame {
    RawFrame { last: false, ..whole(opcode, payload) }
}

impl RawFrame {
    /// Encodes it. The mask is all zeros, so that the payload is readable in a capture.
    pub fn encode(&self) -> Vec<u8> {
        let mask_bit = u8::from(self.masked) << 7;
        let mut out = vec![u8::from(self.last) << 7 | u8::from(self.reserved) << 6 | self.opcode as u8];
        match self.payload.len() {
            len @ ..=125 => out.push(mask_bit | u8::try_from(len).expect("at most 125")),
            len => match u16::try_from(len) {
                Ok(len) => {
                    out.push(mask_bit | 126);
                    out.extend(len.to_be_bytes());
                }
                Err(_) => {
                    out.push(mask_bit | 127);
                    out.extend((len as u64).to_be_bytes());
                }
            },
        }
        if self.masked {
            out.extend([0; 4]);
        }
        out.extend(&self.payload);
        out
    }
}

impl RawSocket {
    /// Opens a WebSocket with a valid upgrade request.
    ///
    /// # Panics
    ///
    /// When the node refuses.
    pub async fn open(node: SocketAddr, wire: Wire) -> Self {
        let (answer, stream) = Self::ask(node, &upgrade_request(wire.subprotocol())).await;
        assert_eq!(answer.status, 101, "{answer:?}");
        Self::after_upgrade(stream)
    }

    /// Wraps a connection that the node has upgraded.
    pub fn after_upgrade(stream: TcpStream) -> Self {
        Self { stream }
    }

    /// Sends an HTTP request unchanged, and returns the node's answer and the connection.
    ///
    /// # Panics
    ///
    /// When the node does not answer HTTP.
    pub async fn ask(node: SocketAddr, request: &str) -> (Answer, TcpStream) {
        let mut stream = TcpStream::connect(node).await.expect("the node listens");
        stream.write_all(request.as_bytes()).await.expect("the node reads");
        let mut head = Vec::new();
        within("an HTTP answer", async {
            while !head.ends_with(b"\r\n\r\n") {
                let byte = stream.read_u8().await;
                head.push(
                    byte.unwrap_or_else(|error| panic!("{error} after {:?}", String::from_utf8_lossy(&head))),
                );
            }
        })
        .await;
        (Answer::parse(&String::from_utf8_lossy(&head)), stream)
    }

    /// Sends bytes unchanged.
    pub async fn send(&mut self, bytes: &[u8]) {
        // A node may close the connection during the write.
        let _sent = self.stream.write_all(bytes).await;
    }

    /// Waits for a frame of the node and returns its opcode and payload; `None` at the end of the
    /// connection.
    pub async fn receive(&mut self) -> Option<(u8, Vec<u8>)> {
        let first = self.stream.read_u8().await.ok()?;
        let len = match self.stream.read_u8().await.ok()? {
            126 => u64::from(self.stream.read_u16().await.ok()?),
            127 => self.stream.read_u64().await.ok()?,
            len => u64::from(len),
        };
        let mut payload = vec![0; usize::try_from(len).expect("a frame fits memory")];
        self.stream.read_exact(&mut payload).await.ok()?;
        Some((first & 0x0f, payload))
    }

    /// Waits until the node ends the connection, and returns its close frame.
    ///
    /// # Panics
    ///
    /// When it does not end it.
    pub async fn closed(&mut self) -> Closed {
        let mut closed = Closed { code: None, reason: String::new() };
        within("the node ends the connection", async {
            while let Some((opcode, payload)) = self.receive().await {
                if let (8, [high, low, reason @ ..]) = (opcode, &payload[..]) {
                    closed.code = Some(u16::from_be_bytes([*high, *low]));
                    closed.reason = String::from_utf8_lossy(reason).into_owned();
                }
            }
        })
        .await;
        closed
    }
}

impl Answer {
    /// Returns the value of a header, by its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(of, _)| of == name).map(|(_, value)| value.as_str())
    }

    fn parse(head: &str) -> Self {
        let mut lines = head.lines();
        let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok());
        let headers = lines.filter_map(|line| line.split_once(": "));
        Self {
            status: status.unwrap_or_else(|| panic!("not an HTTP answer: {head:?}")),
            headers: headers.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect(),
        }
    }
}

/// Returns a valid upgrade request that offers these subprotocols.
pub fn upgrade_request(subprotocols: &str) -> String {
    format!(
        "GET /v1/connect HTTP/1.1\r\nHost: node\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Sec-WebSocket-Protocol: {subprotocols}\r\n\r\n"
    )
}
