//! A single HTTP GET request to a node.

use anyhow::{Context as _, Result};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// The largest response that is read.
const ANSWER_BYTES_MAX: u64 = 4 << 20;

/// Returns the status and the body of a response. Requests HTTP/1.0, so that the body is not
/// chunked.
pub(crate) async fn get(authority: &str, path: &str) -> Result<(String, String)> {
    let mut stream = TcpStream::connect(authority).await?;
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: {authority}\r\n\r\n").as_bytes()).await?;
    let mut answer = String::new();
    stream.take(ANSWER_BYTES_MAX).read_to_string(&mut answer).await?;
    let (head, body) = answer.split_once("\r\n\r\n").context("the answer is not HTTP")?;
    let status = head.split_whitespace().nth(1).unwrap_or_default();
    Ok((status.to_owned(), body.to_owned()))
}
