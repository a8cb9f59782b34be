//! The responses of the admin listener. Plain code: no sockets, no tasks.
//!
//! The routes are a table. An unknown path is answered with 404 and the list of paths, a known path
//! with another method with 405 and `Allow`. `HEAD` is answered as `GET`; hyper leaves the body
//! out.

mod table;

use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use http_body_util::Full;
use prometheus_client::registry::Registry;

use crate::lifecycle::Lifecycle;
use crate::metrics::{Exposition, encode};
use crate::readiness::{Readiness, State};
use table::{Found, Route};

const PLAIN: &str = "text/plain; charset=utf-8";
/// Every route. A new endpoint is a row here and a method of [`Routes`].
const TABLE: &[Route] = &[
    Route { method: Method::GET, path: "/", help: "this list", answer: Routes::index },
    Route { method: Method::GET, path: "/livez", help: "200 while the process runs", answer: Routes::livez },
    Route {
        method: Method::GET,
        path: "/readyz",
        help: "200 when the process should get traffic, else 503; reasons as text or JSON (Accept)",
        answer: Routes::readyz,
    },
    Route {
        method: Method::GET,
        path: "/metrics",
        help: "metrics as OpenMetrics or Prometheus text (Accept)",
        answer: Routes::metrics,
    },
];

/// The data for responses.
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
        let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
        match table::find(TABLE, method, path) {
            Found::Route(route) => (route.answer)(self, accept),
            Found::NoPath => reply(StatusCode::NOT_FOUND, PLAIN, table::list(TABLE)),
            Found::OtherMethods(allow) => {
                let text = format!("method not allowed (allowed: {allow})\n");
                let mut response = reply(StatusCode::METHOD_NOT_ALLOWED, PLAIN, text);
                // Names of methods are valid in a header.
                response.headers_mut().extend(HeaderValue::try_from(allow).ok().map(|allow| (ALLOW, allow)));
                response
            }
        }
    }

    fn index(&self, _accept: &str) -> Response<Full<Bytes>> {
        reply(StatusCode::OK, PLAIN, table::list(TABLE))
    }

    fn livez(&self, _accept: &str) -> Response<Full<Bytes>> {
        reply(StatusCode::OK, PLAIN, "live\n")
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
            Err(_) => reply(StatusCode::INTERNAL_SERVER_ERROR, PLAIN, "a metric could not be encoded\n"),
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
