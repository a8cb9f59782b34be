//! Only the page itself may publish to the chat, and no page of another origin.
//!
//! Every page in a browser can send requests to loopback, so `Origin` must be the origin of this
//! page. A site whose name resolves to loopback (DNS rebinding) has an `Origin` that matches its
//! `Host`, so `Host` must be a name of loopback.

use http::{
    HeaderMap, HeaderName,
    header::{HOST, ORIGIN},
    uri::Authority,
};

/// Why a request may not publish.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum OriginError {
    /// The request is for another host.
    #[error("the Host is {found:?}; the chat accepts 127.0.0.1, localhost and [::1] only")]
    Host {
        /// The value of the header.
        found: String,
    },
    /// The request is from another page, or not from a page.
    #[error(
        "the Origin is {found:?}, and the chat accepts {expected:?} only; publish with `tailcast pub chat lobby …` instead"
    )]
    Origin {
        /// The value of the header.
        found: String,
        /// The expected value.
        expected: String,
    },
}

/// Checks that a request is from the page itself.
pub(super) fn check(headers: &HeaderMap) -> Result<(), OriginError> {
    let host = header(headers, HOST);
    let authority = host.parse::<Authority>().ok();
    let name = authority.as_ref().map(Authority::host).unwrap_or_default();
    if !matches!(name, "127.0.0.1" | "localhost" | "[::1]") {
        return Err(OriginError::Host { found: host });
    }
    let (found, expected) = (header(headers, ORIGIN), format!("http://{host}"));
    if found == expected { Ok(()) } else { Err(OriginError::Origin { found, expected }) }
}

/// Returns a header's value; an empty one if it is absent, repeated or not text.
fn header(headers: &HeaderMap, name: HeaderName) -> String {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().unwrap_or_default().to_owned(),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[track_caller]
    fn check_request(host: Option<&'static str>, origin: Option<&'static str>, expected: &str) {
        let mut headers = HeaderMap::new();
        for (name, value) in [(HOST, host), (ORIGIN, origin)] {
            if let Some(value) = value {
                headers.append(name, HeaderValue::from_static(value));
            }
        }
        let found = check(&headers).map_or_else(|error| error.to_string(), |()| "ok".to_owned());
        assert!(found.contains(expected), "{host:?} {origin:?}: expected {expected:?}, found {found:?}");
    }

    #[test]
    fn the_page_itself_may_publish() {
        check_request(Some("127.0.0.1:8080"), Some("http://127.0.0.1:8080"), "ok");
        check_request(Some("localhost:18080"), Some("http://localhost:18080"), "ok");
        check_request(Some("[::1]:8080"), Some("http://[::1]:8080"), "ok");
    }

    #[test]
    fn a_page_of_another_origin_may_not_publish() {
        check_request(Some("127.0.0.1:8080"), Some("http://evil.example"), "the Origin is");
        check_request(Some("127.0.0.1:8080"), Some("http://127.0.0.1:3000"), "the Origin is");
        check_request(Some("127.0.0.1:8080"), Some("null"), "the Origin is");
        check_request(Some("127.0.0.1:8080"), None, "tailcast pub chat lobby");
    }

    #[test]
    fn another_name_that_resolves_to_loopback_may_not_publish() {
        check_request(Some("evil.example:8080"), Some("http://evil.example:8080"), "the Host is");
        check_request(Some("127.0.0.1.evil.example"), Some("http://127.0.0.1.evil.example"), "the Host is");
        check_request(None, Some("http://127.0.0.1:8080"), "the Host is");
    }
}
