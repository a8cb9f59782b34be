//! What is answered to requests that are not for a WebSocket.

use std::{future::Future, pin::Pin};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;

/// Answers requests that are not for a WebSocket: `tailcast dev` has a page. Without one they are answered 404.
pub trait HttpFallback: Send + Sync + 'static {
    /// Answers one request. Dropped when the client leaves.
    fn answer(
        &self,
        request: Request<Incoming>,
    ) -> Pin<Box<dyn Future<Output = Response<Full<Bytes>>> + Send>>;
}
