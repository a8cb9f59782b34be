//! The origins whose pages may connect: `push.origins`.
//!
//! Origins are compared by scheme, case-insensitive host, and port (RFC 6454); the scheme's default
//! port may be omitted.
//!
//! Invariant: every configured entry can match a request. An entry with a path, without a scheme,
//! or with a scheme that no page has is rejected when the configuration is read.

use std::net::{Ipv4Addr, Ipv6Addr};

use serde::Deserialize;

/// The origins whose pages may connect.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Vec<String>")]
pub struct Origins(Vec<AllowedOrigin>);

/// One entry of `push.origins`.
#[derive(Debug, Clone, PartialEq, Eq)]
enum AllowedOrigin {
    /// `*`: every page.
    Any,
    /// `null`: pages without an origin of their own, such as files and sandboxed frames.
    Null,
    /// One origin.
    Exact(Origin),
    /// `https://*.shop.example`: one label in front of the host.
    Subdomain(Origin),
    /// Any page served from a loopback address.
    Loopback,
}

/// A scheme, a host and a port.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Origin {
    scheme: String,
    host: String,
    /// `None` if the entry has no port and the scheme's default port is not known.
    port: Option<u16>,
}

/// Why an entry of `push.origins` cannot match any page.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{entry:?} cannot match any page: {fault}")]
pub struct OriginError {
    entry: String,
    fault: OriginFault,
}

/// What is wrong with an origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum OriginFault {
    #[error("an origin starts with a scheme, as in https://shop.example")]
    Scheme,
    #[error("the origin of a page starts with http:// or https://, also when the page opens a ws:// URL")]
    WebSocket,
    #[error("an origin ends after the host or the port, without a slash or a path")]
    Path,
    #[error("an origin must not contain a user name")]
    User,
    #[error("the host is missing or invalid; write international names in ASCII (xn--…)")]
    Host,
    #[error("the port is not a number from 1 to 65535")]
    Port,
    #[error("`*` stands for one whole label in front of a name: https://*.shop.example")]
    Wildcard,
}

impl Origins {
    /// Also allows pages served from a loopback address, on any port.
    pub fn allow_loopback(&mut self) {
        self.0.push(AllowedOrigin::Loopback);
    }

    /// Returns whether a page of `origin` may connect. `host` is the request's `Host`, whose own
    /// pages are always allowed.
    pub(crate) fn allow(&self, origin: &str, host: Option<&str>) -> bool {
        let parsed = Origin::parse(origin).ok();
        // A proxy may terminate TLS, so the page's scheme gives the default port of a `Host`
        // without one.
        let own = parsed.as_ref().zip(host).is_some_and(|(origin, host)| {
            Origin::parse(&format!("{}://{host}", origin.scheme)).as_ref() == Ok(origin)
        });
        own || self.0.iter().any(|allowed| allowed.matches(origin, parsed.as_ref()))
    }
}

impl TryFrom<Vec<String>> for Origins {
    type Error = OriginError;

    fn try_from(entries: Vec<String>) -> Result<Self, OriginError> {
        let parse =
            |entry: String| AllowedOrigin::parse(&entry).map_err(|fault| OriginError { entry, fault });
        entries.into_iter().map(parse).collect::<Result<_, _>>().map(Self)
    }
}

impl AllowedOrigin {
    fn parse(entry: &str) -> Result<Self, OriginFault> {
        match entry {
            "*" => return Ok(Self::Any),
            "null" => return Ok(Self::Null),
            _ => {}
        }
        let lower = entry.to_ascii_lowercase();
        if lower.starts_with("ws://") || lower.starts_with("wss://") {
            return Err(OriginFault::WebSocket);
        }
        if let Some((scheme, suffix)) = entry.split_once("://*.") {
            let origin = Origin::parse(&format!("{scheme}://{suffix}"))?;
            let is_address = origin.host.starts_with('[') || origin.host.parse::<Ipv4Addr>().is_ok();
            return if is_address { Err(OriginFault::Wildcard) } else { Ok(Self::Subdomain(origin)) };
        }
        if entry.contains('*') {
            return Err(OriginFault::Wildcard);
        }
        Origin::parse(entry).map(Self::Exact)
    }

    fn matches(&self, text: &str, origin: Option<&Origin>) -> bool {
        match self {
            Self::Any => true,
            Self::Null => text == "null",
            Self::Exact(allowed) => origin == Some(allowed),
            Self::Subdomain(parent) => origin.is_some_and(|origin| origin.is_child_of(parent)),
            Self::Loopback => origin.is_some_and(Origin::is_loopback),
        }
    }
}

impl Origin {
    fn parse(text: &str) -> Result<Self, OriginFault> {
        let (scheme, rest) = text.split_once("://").ok_or(OriginFault::Scheme)?;
        let is_scheme_char = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
        if !scheme.starts_with(|c: char| c.is_ascii_alphabetic()) || !scheme.chars().all(is_scheme_char) {
            return Err(OriginFault::Scheme);
        }
        if rest.contains(['/', '?', '#', '\\']) {
            return Err(OriginFault::Path);
        }
        if rest.contains('@') {
            return Err(OriginFault::User);
        }
        let scheme = scheme.to_ascii_lowercase();
        let (host, port) = split_port(rest)?;
        let default = match scheme.as_str() {
            "http" => Some(80),
            "https" => Some(443),
            _ => None,
        };
        let port = match port {
            None => default,
            Some(port) => Some(port.parse().ok().filter(|port| *port != 0).ok_or(OriginFault::Port)?),
        };
        Ok(Self { host: parse_host(host)?, scheme, port })
    }

    /// Whether the host is the parent's host with one more label in front.
    fn is_child_of(&self, parent: &Self) -> bool {
        let label = self.host.strip_suffix(&parent.host).and_then(|rest| rest.strip_suffix('.'));
        self.scheme == parent.scheme
            && self.port == parent.port
            && label.is_some_and(|label| !label.is_empty() && !label.contains('.'))
    }

    fn is_loopback(&self) -> bool {
        let is_web = self.scheme == "http" || self.scheme == "https";
        let is_local = self.host == "localhost"
            || self.host == "[::1]"
            || self.host.parse::<Ipv4Addr>().is_ok_and(|address| address.is_loopback());
        is_web && is_local
    }
}

/// Splits `host:port`. The host may be an IPv6 address in brackets.
fn split_port(authority: &str) -> Result<(&str, Option<&str>), OriginFault> {
    let end = authority.rfind(']').map_or(0, |bracket| bracket + 1);
    match authority[end..].find(':') {
        None => Ok((authority, None)),
        Some(colon) => {
            let (host, port) = authority.split_at(end + colon);
            let port = &port[1..];
            let is_number = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
            if is_number { Ok((host, Some(port))) } else { Err(OriginFault::Port) }
        }
    }
}

/// Normalizes a host as browsers do.
fn parse_host(host: &str) -> Result<String, OriginFault> {
    if let Some(address) = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        return address
            .parse::<Ipv6Addr>()
            .map(|address| format!("[{address}]"))
            .map_err(|_| OriginFault::Host);
    }
    let is_host_char = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    let is_host = !host.is_empty() && !host.starts_with('.') && host.chars().all(is_host_char);
    if is_host { Ok(host.to_ascii_lowercase()) } else { Err(OriginFault::Host) }
}

#[cfg(test)]
mod tests;
