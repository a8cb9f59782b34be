//! Parses lines of librdkafka's log about the connection to one broker.
//!
//! librdkafka has no event for it, only text:
//! `[thrd:NAME]: NAME: ERROR (after 0ms in state CONNECT)`, where NAME is
//! `PROTOCOL://HOST:PORT/ID`, without the protocol for plain text.

/// A failed connection to a broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerFailure {
    /// The broker's address, `HOST:PORT`.
    pub address: String,
    /// The error, in librdkafka's and the operating system's words.
    pub error: String,
}

impl BrokerFailure {
    /// Reads a line, if it is of a facility that reports failed connections.
    pub(super) fn parse(facility: &str, line: &str) -> Option<Self> {
        if !matches!(facility, "FAIL" | "ERROR" | "REQTMOUT") {
            return None;
        }
        let line = match line.strip_prefix("[thrd:") {
            Some(rest) => rest.split_once("]: ")?.1,
            None => line,
        };
        let (name, error) = line.split_once(": ")?;
        let (address, _id) = name.rsplit_once('/')?;
        let address = address.rsplit_once("://").map_or(address, |(_protocol, address)| address);
        // With how long ago and how often, one error would be a new text each time.
        let error = error.rsplit_once(" (after ").map_or(error, |(error, _state)| error);
        Some(Self { address: address.to_owned(), error: error.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(facility: &str, line: &str, expected: Option<(&str, &str)>) {
        let found = BrokerFailure::parse(facility, line);
        let found = found.as_ref().map(|failure| (failure.address.as_str(), failure.error.as_str()));
        assert_eq!(found, expected, "{line}");
    }

    #[test]
    fn a_line_about_a_broker_is_read_and_others_are_not() {
        check(
            "FAIL",
            "[thrd:127.0.0.1:19092/2]: 127.0.0.1:19092/2: Connect to ipv4#127.0.0.1:19092 failed: Connection refused \
             (after 0ms in state CONNECT, 4 identical error(s) suppressed)",
            Some(("127.0.0.1:19092", "Connect to ipv4#127.0.0.1:19092 failed: Connection refused")),
        );
        check(
            "FAIL",
            "[thrd:sasl_ssl://[::1]:9092/bootstrap]: sasl_ssl://[::1]:9092/bootstrap: SSL handshake failed",
            Some(("[::1]:9092", "SSL handshake failed")),
        );
        check(
            "REQTMOUT",
            "[thrd:kafka-0:9092/1]: kafka-0:9092/1: Timed out 1 in-flight, 0 retry-queued, 0 out-queue requests",
            Some(("kafka-0:9092", "Timed out 1 in-flight, 0 retry-queued, 0 out-queue requests")),
        );
        check("CONFWARN", "[thrd:app]: Configuration property linger.ms is a producer property", None);
        check("FAIL", "[thrd:main]: no broker here", None);
    }
}
