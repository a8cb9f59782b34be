//! What the admin listener answers. Plain code: no sockets, no tasks.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use http_body_util::Full;
use prometheus_client::registry::Registry;

use crate::lifecycle::Lifecycle;
use crate::metrics::{Exposition, encode};
use crate::readiness::{Readiness, State};

const PLAIN: &str = "text/plain; charset=utf-8";
const INDEX: &str = "/livez    answers as long as the process runs\n\
                     /readyz   200 when it should get traffic, else 503; reasons as text or JSON (Accept)\n\
                     /metrics  OpenMetrics or Prometheus text (Accept)\n";

/// Everything an answer is made of.
pub(super) struct Routes {
    lifecycle: Lifecycle,
    readiness: Readiness,
    registry: Arc<Registry>,
}

impl Routes {
    pub(super) fn new(lifecycle: Lifecycle, readiness: Readiness, registry: Arc<Registry>) -> Self {
        Self { lifecycle, readiness, registry }
    }

    pub(super) fn answer(&self, method: &Method, path: &str, headers: &HeaderMap) -> Response<Full<Bytes>> {
        if method != Method::GET && method != Method::HEAD {
            let mut response = reply(StatusCode::METHOD_NOT_ALLOWED, PLAIN, "only GET and HEAD\n");
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
        match path {
            "/" => reply(StatusCode::OK, PLAIN, INDEX),
            "/livez" => reply(StatusCode::OK, PLAIN, "live\n"),
            "/readyz" => self.readyz(accept),
            "/metrics" => self.metrics(accept),
            _ => reply(StatusCode::NOT_FOUND, PLAIN, INDEX),
        }
    }

    fn readyz(&self, accept: &str) -> Response<Full<Bytes>> {
        if self.lifecycle.is_draining() {
            self.readiness.drain();
        }
        let state = self.readiness.state();
        let status = if state.is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        if accept.contains("application/json") {
            reply(status, "application/json", json(&state))
        } else {
            reply(status, PLAIN, state.to_string())
        }
    }

    fn metrics(&self, accept: &str) -> Response<Full<Bytes>> {
        let exposition = Exposition::of_accept(accept);
        match encode(&self.registry, exposition) {
            Ok(text) => reply(StatusCode::OK, exposition.content_type(), text),
            Err(_) => reply(StatusCode::INTERNAL_SERVER_ERROR, PLAIN, "a metric could not be written\n"),
        }
    }
}

fn json(state: &State) -> String {
    let conditions: serde_json::Map<String, serde_json::Value> =
        state.conditions().map(|(name, status)| (name.to_owned(), serde_json::json!(status))).collect();
    let document = serde_json::json!({
        "ready": state.is_ready(),
        "draining": state.is_draining(),
        "conditions": conditions,
    });
    format!("{document}\n")
}

fn reply(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
