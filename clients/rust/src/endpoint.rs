//! The address of a push node.

use std::{fmt, str::FromStr};

use http::Uri;

/// The address of a push node: `ws://HOST:PORT/v1/connect`. Port and path are optional.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    host: String,
    port: u16,
    path: String,
}

/// Why text is not an endpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// It is not a WebSocket URL with a host.
    #[error("{0:?} is not a WebSocket URL; expected ws://HOST:PORT/v1/connect")]
    Form(String),
    /// It requires TLS.
    #[error("{0:?} requires TLS, which is not supported yet; use ws://")]
    Tls(String),
}

impl Endpoint {
    /// Returns the host, a name or an address.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Returns the port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns host and port in the form of a URL or `Host` header, with brackets around an IPv6
    /// address.
    #[must_use]
    pub fn authority(&self) -> String {
        let Self { host, port, .. } = self;
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
    }
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        let form = || EndpointError::Form(text.to_owned());
        let uri: Uri = text.parse().map_err(|_| form())?;
        match uri.scheme_str() {
            Some("ws") => {}
            Some("wss") => return Err(EndpointError::Tls(text.to_owned())),
            _ => return Err(form()),
        }
        let host = uri.host().filter(|host| !host.is_empty()).ok_or_else(form)?;
        let path = match uri.path_and_query().map(|path| path.as_str()) {
            None | Some("" | "/") => "/v1/connect",
            Some(path) => path,
        };
        Ok(Self {
            host: host.trim_matches(['[', ']']).to_owned(),
            port: uri.port_u16().unwrap_or(80),
            path: path.to_owned(),
        })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ws://{}{}", self.authority(), self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let found = match text.parse::<Endpoint>() {
            Ok(endpoint) => endpoint.to_string(),
            Err(error) => error.to_string(),
        };
        assert!(found.contains(expected), "{text:?}: expected {expected:?}, found {found:?}");
    }

    #[test]
    fn an_endpoint_is_a_web_socket_url() {
        check("ws://127.0.0.1:8080/v1/connect", "ws://127.0.0.1:8080/v1/connect");
        check("ws://push.example:8080", "ws://push.example:8080/v1/connect");
        check("ws://push.example/", "ws://push.example:80/v1/connect");
        check("ws://[::1]:8080/other", "ws://[::1]:8080/other");
    }

    #[test]
    fn an_invalid_endpoint_is_refused_with_the_reason() {
        check("127.0.0.1:8080", "expected ws://HOST:PORT/v1/connect");
        check("http://127.0.0.1:8080", "expected ws://HOST:PORT/v1/connect");
        check("wss://push.example", "use ws://");
        check("", "expected ws://HOST:PORT/v1/connect");
    }
}
