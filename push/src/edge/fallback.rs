//! Answers to HTTP requests that do not open a WebSocket.

use std::{future::Future, pin::Pin};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;

/// Answers HTTP requests that do not open a WebSocket. `tailcast dev` serves its page this way.
/// Without a fallback, they are answered with 404.
pub trait HttpFallback: Send + Sync + 'static {
    /// Answers a request. The future is dropped if the client disconnects.
    fn answer(
        &self,
        request: Request<Incoming>,
    ) -> Pin<Box<dyn Future<Output = Response<Full<Bytes>>> + Send>>;
}
