//! The page of `tailcast dev`, and its only request to the server: to publish a chat message.
//!
//! Push passes on every request that is not a WebSocket upgrade. The page itself is one file in the
//! binary.
//!
//! Invariant: nothing is published for a page of another origin (see [`origin`]). The size of a
//! body and the time to receive it are limited.

mod chat;

mod origin;

use std::{future::Future, pin::Pin};

use bytes::Bytes;
use http::{
    HeaderName, HeaderValue, Method, Request, Response, StatusCode,
    header::{
        ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
    },
};
use http_body_util::Full;
use hyper::body::Incoming;
use tailcast_push::HttpFallback;

use crate::publisher::Publisher;

/// The page.
const PAGE: &str = include_str!("page.html");

/// The page may run its own scripts and connect to its own origin.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:; connect-src 'self'; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);

const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// Answers the requests of a browser.
#[derive(Debug, Clone)]
pub(super) struct Page {
    publisher: Publisher,
}

/// A response.
type Answer = Response<Full<Bytes>>;

impl Page {
    /// Returns a page that publishes its chat with `publisher`.
    pub(super) fn new(publisher: Publisher) -> Self {
        Self { publisher }
    }

    async fn route(self, request: Request<Incoming>) -> Answer {
        let head = request.method() == Method::HEAD;
        match (request.uri().path(), request.method()) {
            ("/", &Method::GET | &Method::HEAD) => page(head),
            ("/", _) => not_allowed("GET, HEAD"),
            ("/dev/chat", &Method::POST) => self.chat(request).await,
            ("/dev/chat", _) => not_allowed("POST"),
            _ => text(StatusCode::NOT_FOUND, "There is a page at / and a WebSocket at /v1/connect."),
        }
    }

    async fn chat(self, request: Request<Incoming>) -> Answer {
        if let Err(error) = origin::check(request.headers()) {
            return text(StatusCode::FORBIDDEN, error);
        }
        let message = match chat::read(request).await {
            Ok(message) => message,
            Err(error) => return text(error.status(), error),
        };
        match message.publish(&self.publisher).await {
            Ok(()) => text(StatusCode::ACCEPTED, ""),
            Err(error) => text(StatusCode::SERVICE_UNAVAILABLE, error),
        }
    }
}

impl HttpFallback for Page {
    fn answer(&self, request: Request<Incoming>) -> Pin<Box<dyn Future<Output = Answer> + Send>> {
        Box::pin(self.clone().route(request))
    }
}

fn page(head: bool) -> Answer {
    // hyper sends the length of the body and not the body for HEAD.
    let body = if head { Bytes::new() } else { Bytes::from_static(PAGE.as_bytes()) };
    let mut answer = answer(StatusCode::OK, HTML, body);
    answer.headers_mut().insert(CONTENT_SECURITY_POLICY, POLICY);
    answer
}

fn not_allowed(allowed: &'static str) -> Answer {
    let mut answer = text(StatusCode::METHOD_NOT_ALLOWED, format_args!("Allowed: {allowed}."));
    answer.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    answer
}

fn text(status: StatusCode, text: impl std::fmt::Display) -> Answer {
    answer(status, TEXT, Bytes::from(text.to_string()))
}

fn answer(status: StatusCode, content_type: HeaderValue, body: Bytes) -> Answer {
    const COMMON: [(HeaderName, &str); 3] =
        [(X_CONTENT_TYPE_OPTIONS, "nosniff"), (CACHE_CONTROL, "no-store"), (REFERRER_POLICY, "no-referrer")];
    let mut answer = Response::new(Full::new(body));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, content_type);
    for (name, value) in COMMON {
        headers.insert(name, HeaderValue::from_static(value));
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_needs_nothing_from_outside() {
        for outside in ["src=\"http", "href=\"http", "@import", "url(", "//cdn", "import(", "importScripts"] {
            assert!(!PAGE.contains(outside), "the page has {outside}");
        }
    }

    #[test]
    fn the_page_may_not_be_framed_nor_call_other_origins() {
        let answer = page(false);
        let policy = answer.headers()[CONTENT_SECURITY_POLICY].to_str().expect("it is text");
        for directive in ["default-src 'none'", "connect-src 'self'", "frame-ancestors 'none'"] {
            assert!(policy.contains(directive), "{policy}");
        }
    }
}
