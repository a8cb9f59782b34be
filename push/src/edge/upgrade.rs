//! Whether a request is upgraded to a WebSocket, and with which subprotocol: RFC 6455, section 4.2.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use tailcast_proto::delivery::Format;

use super::{PATH, text};
use crate::config::Origins;

/// Why a request was not upgraded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum UpgradeError {
    /// The request does not ask for an upgrade.
    NoUpgrade,
    /// The WebSocket handshake is invalid, or not of version 13.
    Handshake,
    /// The page's origin is not allowed.
    Origin,
    /// The session limit is reached.
    Full,
    /// The memory limit is exceeded.
    Memory,
    /// The node is draining.
    Draining,
}

/// Checks a request and chooses the subprotocol. `Ok(None)` means that the client offered no known
/// one, which can be reported only after the upgrade.
///
/// # Errors
///
/// See [`UpgradeError`].
pub(super) fn check_upgrade<B>(
    request: &Request<B>,
    origins: &Origins,
) -> Result<Option<Format>, UpgradeError> {
    let headers = request.headers();
    if !fastwebsockets::upgrade::is_upgrade_request(request) {
        return Err(UpgradeError::NoUpgrade);
    }
    let version = headers.get(header::SEC_WEBSOCKET_VERSION).map(HeaderValue::as_bytes);
    if *request.method() != Method::GET || version != Some(b"13") || !has_nonce(headers) {
        return Err(UpgradeError::Handshake);
    }
    if !is_allowed_origin(headers, origins) {
        return Err(UpgradeError::Origin);
    }
    Ok(choose_subprotocol(headers))
}

/// Returns the name of a subprotocol.
pub(super) fn subprotocol(format: Format) -> &'static str {
    match format {
        Format::Proto => "tailcast.v1.proto",
        Format::Json => "tailcast.v1.json",
    }
}

impl UpgradeError {
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::NoUpgrade => "no_upgrade",
            Self::Handshake => "handshake",
            Self::Origin => "origin",
            Self::Full => "full",
            Self::Memory => "memory",
            Self::Draining => "draining",
        }
    }

    pub(super) fn response(self) -> Response<Full<Bytes>> {
        let (status, why) = match self {
            Self::NoUpgrade => {
                (StatusCode::UPGRADE_REQUIRED, format!("{PATH} accepts WebSocket upgrades only\n"))
            }
            Self::Handshake => {
                let why = "invalid WebSocket handshake: expected GET, Sec-WebSocket-Version: 13 and a Sec-WebSocket-Key of 16 bytes\n";
                (StatusCode::UPGRADE_REQUIRED, why.to_owned())
            }
            Self::Origin => {
                let why = "pages of this origin are not allowed to connect; push.origins lists the allowed origins\n";
                (StatusCode::FORBIDDEN, why.to_owned())
            }
            Self::Full => (
                StatusCode::SERVICE_UNAVAILABLE,
                "session limit reached; retry later or connect to another node\n".to_owned(),
            ),
            Self::Memory => (
                StatusCode::SERVICE_UNAVAILABLE,
                "memory limit exceeded; retry later or connect to another node\n".to_owned(),
            ),
            Self::Draining => (
                StatusCode::SERVICE_UNAVAILABLE,
                "this node is draining; connect to another node\n".to_owned(),
            ),
        };
        let mut response = text(status, why);
        let headers = response.headers_mut();
        match self {
            Self::NoUpgrade | Self::Handshake => {
                headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
                headers.insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
            }
            Self::Full | Self::Memory | Self::Draining => {
                drop(headers.insert(header::RETRY_AFTER, HeaderValue::from(fastrand::u32(1..=5))));
            }
            Self::Origin => {}
        }
        response
    }
}

/// Whether the request has a nonce of 16 bytes in base64.
fn has_nonce(headers: &HeaderMap) -> bool {
    let key = headers.get(header::SEC_WEBSOCKET_KEY).map(HeaderValue::as_bytes);
    key.is_some_and(|key| key.len() == 24 && key.ends_with(b"=="))
}

/// Whether the page's origin is allowed. Clients other than browsers send no origin.
fn is_allowed_origin(headers: &HeaderMap, origins: &Origins) -> bool {
    let Some(origin) = headers.get(header::ORIGIN) else { return true };
    let Ok(origin) = origin.to_str() else { return false };
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    origins.allow(origin, host)
}

/// Returns the first known subprotocol, in the client's order of preference.
fn choose_subprotocol(headers: &HeaderMap) -> Option<Format> {
    let offered =
        headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
    let mut names = offered.flat_map(|value| value.split(',')).map(str::trim);
    names.find_map(|name| {
        [Format::Proto, Format::Json].into_iter().find(|format| subprotocol(*format) == name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(headers: &[(&str, &str)], expected: Result<Option<Format>, UpgradeError>) {
        let mut request = Request::get(PATH).body(()).expect("it is a request");
        let usual = [
            ("host", "push.example:8080"),
            ("connection", "keep-alive, Upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ];
        for (name, value) in usual.iter().chain(headers) {
            let name = header::HeaderName::from_bytes(name.as_bytes()).expect("it is a name");
            request.headers_mut().insert(name, value.parse().expect("it is a value"));
        }
        let origins = vec!["https://shop.example".to_owned()].try_into().expect("it is an origin");
        assert_eq!(check_upgrade(&request, &origins), expected, "{headers:?}");
    }

    #[test]
    fn the_clients_preferred_subprotocol_is_chosen() {
        check(&[("sec-websocket-protocol", "tailcast.v1.proto")], Ok(Some(Format::Proto)));
        check(
            &[("sec-websocket-protocol", "other, tailcast.v1.json,tailcast.v1.proto")],
            Ok(Some(Format::Json)),
        );
        check(&[("sec-websocket-protocol", "tailcast.v2.proto")], Ok(None));
        check(&[], Ok(None));
    }

    #[test]
    fn an_invalid_handshake_is_refused() {
        check(&[("upgrade", "h2c")], Err(UpgradeError::NoUpgrade));
        check(&[("sec-websocket-version", "8")], Err(UpgradeError::Handshake));
        check(&[("sec-websocket-key", "short")], Err(UpgradeError::Handshake));
        assert_eq!(UpgradeError::Full.response().status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(UpgradeError::Full.response().headers().contains_key(header::RETRY_AFTER));
        assert_eq!(UpgradeError::Handshake.response().headers()[header::SEC_WEBSOCKET_VERSION], "13");
    }

    #[test]
    fn pages_of_other_origins_are_refused_unless_listed() {
        check(&[("origin", "http://push.example:8080")], Ok(None));
        check(&[("origin", "https://shop.example")], Ok(None));
        check(&[("origin", "http://push.example")], Err(UpgradeError::Origin));
        check(&[("origin", "https://evil.example")], Err(UpgradeError::Origin));
        check(&[("origin", "null")], Err(UpgradeError::Origin));
    }
}
