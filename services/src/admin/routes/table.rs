//! The table of routes, and the lookup of a request's route.

use bytes::Bytes;
use http::{Method, Response};
use http_body_util::Full;

use super::Routes;

/// One endpoint.
pub(super) struct Route {
    pub(super) method: Method,
    /// The path, which a request must match exactly.
    pub(super) path: &'static str,
    /// One line for the list of endpoints.
    pub(super) help: &'static str,
    /// Makes the response, given the request's `Accept` header.
    pub(super) answer: fn(&Routes, &str) -> Response<Full<Bytes>>,
}

/// The outcome of looking a request up.
pub(super) enum Found<'a> {
    /// The endpoint to call.
    Route(&'a Route),
    /// No row has the path.
    NoPath,
    /// The path has only other methods, listed for the `Allow` header.
    OtherMethods(String),
}

/// Looks a request up. `HEAD` is `GET` here.
pub(super) fn find<'a>(table: &'a [Route], method: &Method, path: &str) -> Found<'a> {
    let wanted = if *method == Method::HEAD { &Method::GET } else { method };
    let mut allowed = Vec::new();
    for route in table.iter().filter(|route| route.path == path) {
        if route.method == *wanted {
            return Found::Route(route);
        }
        allowed.push(route.method.as_str());
        if route.method == Method::GET {
            allowed.push("HEAD");
        }
    }
    if allowed.is_empty() { Found::NoPath } else { Found::OtherMethods(allowed.join(", ")) }
}

/// The list of endpoints, a line for each.
pub(super) fn list(table: &[Route]) -> String {
    let width = table.iter().map(|route| route.path.len()).max().unwrap_or_default();
    table
        .iter()
        .map(|Route { method, path, help, .. }| format!("{method:<4} {path:<width$}  {help}\n"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(method: Method, path: &'static str) -> Route {
        Route { method, path, help: "", answer: Routes::livez }
    }

    #[track_caller]
    fn check(method: &Method, path: &str, expected: &str) {
        let table = [
            route(Method::GET, "/"),
            route(Method::GET, "/log"),
            route(Method::PUT, "/log"),
            route(Method::POST, "/drain"),
        ];
        let found = match find(&table, method, path) {
            Found::Route(route) => format!("{} {}", route.method, route.path),
            Found::NoPath => "404".to_owned(),
            Found::OtherMethods(allow) => format!("405 {allow}"),
        };
        assert_eq!(found, expected, "{method} {path}");
    }

    #[test]
    fn a_request_finds_its_row_or_the_reason_why_there_is_none() {
        check(&Method::GET, "/", "GET /");
        check(&Method::HEAD, "/log", "GET /log");
        check(&Method::PUT, "/log", "PUT /log");
        check(&Method::POST, "/drain", "POST /drain");
        check(&Method::DELETE, "/log", "405 GET, HEAD, PUT");
        check(&Method::GET, "/drain", "405 POST");
        check(&Method::HEAD, "/drain", "405 POST");
        check(&Method::GET, "/log/", "404");
        check(&Method::POST, "/nowhere", "404");
    }
}
