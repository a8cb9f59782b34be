//! Values with several spellings: addresses by name, and sizes with a unit.
//!
//! For `#[serde(deserialize_with)]`, so that fields keep the types that the code works with.

use std::fmt;
use std::marker::PhantomData;
use std::net::{SocketAddr, ToSocketAddrs as _};

use serde::de::{Deserialize as _, Deserializer, Error, Unexpected, Visitor};

/// Units of sizes, by their factor. Binary and decimal ones, as Kubernetes and Kafka's
/// documentation write them.
const UNITS: [(&str, u64); 7] = [
    ("B", 1),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
];

/// Reads `HOST:PORT`. A name is resolved here, once; of several addresses the first IPv4 one is
/// taken.
///
/// # Errors
/// When the text is no `HOST:PORT`, or the host cannot be resolved.
pub fn address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
    let text = String::deserialize(deserializer)?;
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let is_host_and_port = text
        .rsplit_once(':')
        .is_some_and(|(host, port)| !host.is_empty() && !host.contains(':') && port.parse::<u16>().is_ok());
    if !is_host_and_port {
        return Err(Error::custom("expected HOST:PORT"));
    }
    let resolved =
        text.to_socket_addrs().map_err(|error| Error::custom(format!("cannot resolve: {error}")))?;
    let mut resolved: Vec<SocketAddr> = resolved.collect();
    resolved.sort_by_key(|address| !address.is_ipv4());
    resolved.first().copied().ok_or_else(|| Error::custom("cannot resolve: the host has no address"))
}

/// Reads a number of bytes: an integer, or text such as `"256MiB"`.
///
/// # Errors
/// When it is neither, or does not fit the field's type.
pub fn bytes<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: TryFrom<u64>,
{
    deserializer.deserialize_any(Bytes(PhantomData))
}

/// Reads a size with its unit, such as `256MiB`, or without one.
pub(super) fn size(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    let unit = unit.trim_start();
    if unit.is_empty() {
        return Some(number);
    }
    let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit)?;
    number.checked_mul(*factor)
}

struct Bytes<T>(PhantomData<T>);

impl<T: TryFrom<u64>> Visitor<'_> for Bytes<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number of bytes, or a size such as \"256MiB\" (B, kB, MB, GB, KiB, MiB, GiB)")
    }

    fn visit_u64<E: Error>(self, bytes: u64) -> Result<T, E> {
        T::try_from(bytes).map_err(|_| E::invalid_value(Unexpected::Unsigned(bytes), &self))
    }

    fn visit_i64<E: Error>(self, bytes: i64) -> Result<T, E> {
        let value = u64::try_from(bytes).ok().and_then(|bytes| T::try_from(bytes).ok());
        value.ok_or_else(|| E::invalid_value(Unexpected::Signed(bytes), &self))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        let value = size(text).and_then(|bytes| T::try_from(bytes).ok());
        value.ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_binary_and_decimal_units() {
        let sizes = [
            ("0", Some(0)),
            ("1024", Some(1024)),
            ("64KiB", Some(65_536)),
            ("256MiB", Some(268_435_456)),
            ("2GiB", Some(2_147_483_648)),
            ("10kB", Some(10_000)),
            ("1 MB", Some(1_000_000)),
            ("1KB", None),
            ("1mib", None),
            ("1.5MiB", None),
            ("MiB", None),
            ("-1", None),
            ("", None),
            ("99999999999GiB", None),
        ];
        for (text, expected) in sizes {
            assert_eq!(size(text), expected, "{text:?}");
        }
    }

    #[test]
    fn an_address_may_be_a_name() {
        #[derive(Debug, serde::Deserialize)]
        struct Config {
            #[serde(deserialize_with = "address")]
            listen: SocketAddr,
        }
        let load = |listen: &str| {
            serde_json::from_value::<Config>(serde_json::json!({ "listen": listen }))
                .map(|config| config.listen.to_string())
                .map_err(|error| error.to_string())
        };
        assert_eq!(load("localhost:18080"), Ok("127.0.0.1:18080".to_owned()));
        assert_eq!(load("127.0.0.1:1"), Ok("127.0.0.1:1".to_owned()));
        assert_eq!(load("[::1]:1"), Ok("[::1]:1".to_owned()));
        for wrong in ["localhost", ":8080", "localhost:http", "::1:8080"] {
            assert_eq!(load(wrong), Err("expected HOST:PORT".to_owned()), "{wrong}");
        }
        let unresolved = load("no-such-host.invalid:1").expect_err("it does not resolve");
        assert!(unresolved.starts_with("cannot resolve: "), "{unresolved}");
    }
}
