//! The trace that a call belongs to, carried into the headers of its records.
//!
//! W3C Trace Context: a publisher that is traced sends `traceparent` (and `tracestate`) as gRPC metadata. A record whose
//! publisher set a `traceparent` header itself keeps it. A malformed `traceparent` is ignored, as the W3C says.
//!
//! Bound: one call's context is copied into up to 500 records, so it is short, and it counts like the record's own
//! headers. A trace is a help and no part of the message: where there is no room for it, the record goes without.

use bytes::Bytes;
use tonic::metadata::MetadataMap;

use crate::validation::Record;

const TRACEPARENT: &str = "traceparent";
const TRACESTATE: &str = "tracestate";

/// How long a `traceparent` of version 00 is, in bytes.
const TRACEPARENT_LEN: usize = 55;
/// The longest `tracestate` that is passed on, in bytes: what the W3C asks of everybody.
const TRACESTATE_BYTES_MAX: usize = 512;

/// The trace context of a call; empty when its caller is not traced.
#[derive(Debug, Clone, Default)]
pub(crate) struct TraceContext {
    parent: Option<Bytes>,
    state: Option<Bytes>,
}

impl TraceContext {
    /// The most that a record gets, in bytes.
    pub(crate) const BYTES_MAX: usize =
        TRACEPARENT.len() + TRACEPARENT_LEN + TRACESTATE.len() + TRACESTATE_BYTES_MAX;

    /// Reads the trace context of a call.
    pub(crate) fn of(metadata: &MetadataMap) -> Self {
        let read = |name| metadata.get(name).map(|value| value.as_bytes());
        match read(TRACEPARENT).filter(|parent| is_traceparent(parent)) {
            Some(parent) => {
                let state = read(TRACESTATE).filter(|state| state.len() <= TRACESTATE_BYTES_MAX);
                Self { parent: Some(of_version_00(parent)), state: state.map(Bytes::copy_from_slice) }
            }
            None => Self::default(),
        }
    }

    /// Adds the headers to a record that has no trace of its own, as far as it stays a message of at most so many bytes.
    pub(crate) fn inject(&self, record: &mut Record, message_bytes_max: usize) {
        if self.parent.is_none() || record.has_header(TRACEPARENT) {
            return;
        }
        // A state without its parent says nothing, so the first that has no room is the last.
        for (name, value) in [(TRACEPARENT, &self.parent), (TRACESTATE, &self.state)] {
            let Some(value) = value else { break };
            let bytes = record.bytes + name.len() + value.len();
            if bytes > message_bytes_max {
                break;
            }
            record.headers.push((name.to_owned(), Some(value.clone())));
            record.bytes = bytes;
        }
    }
}

/// What version 00 knows of a `traceparent`: the W3C has later versions passed on as the one that is known.
fn of_version_00(parent: &[u8]) -> Bytes {
    [b"00", &parent[2..TRACEPARENT_LEN]].concat().into()
}

/// Whether the text is `version-trace-parent-flags` in lower-case hexadecimal, with ids that are not all zero. Later
/// versions than 00 may have more after the flags.
fn is_traceparent(text: &[u8]) -> bool {
    let hex = |part: &[u8]| part.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let nonzero = |part: &[u8]| part.iter().any(|&byte| byte != b'0');
    let (Some(version), Some(rest)) = (text.get(..2), text.get(TRACEPARENT_LEN..)) else { return false };
    let (trace, parent, flags) = (&text[3..35], &text[36..52], &text[53..55]);
    let dashes = [2, 35, 52].iter().all(|&at| text[at] == b'-');
    let length = rest.is_empty() || (version != b"00" && rest[0] == b'-');
    let valid = [version, trace, parent, flags].into_iter().all(hex);
    dashes && length && valid && version != b"ff" && nonzero(trace) && nonzero(parent)
}

#[cfg(test)]
mod tests {
    use tailcast_proto::TopicName;

    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn context(metadata: &[(&'static str, &str)]) -> TraceContext {
        let mut map = MetadataMap::new();
        for (name, value) in metadata {
            map.insert(*name, value.parse().expect("a metadata value"));
        }
        TraceContext::of(&map)
    }

    fn record(own: &[&str], bytes: usize) -> Record {
        Record {
            topic: TopicName::parse("quotes").expect("a topic name"),
            key: None,
            value: None,
            headers: own.iter().map(|name| ((*name).to_owned(), None)).collect(),
            timestamp_ms: None,
            bytes,
        }
    }

    fn names(record: &Record) -> Vec<&str> {
        record.headers.iter().map(|(name, _)| name.as_str()).collect()
    }

    #[track_caller]
    fn check(metadata: &[(&'static str, &str)], own: &[&str], expected: &[&str]) {
        let mut record = record(own, 0);
        context(metadata).inject(&mut record, 1_000);
        assert_eq!(names(&record), expected);
    }

    #[test]
    fn a_traced_call_passes_its_context_on() {
        check(&[("traceparent", PARENT), ("tracestate", "a=b")], &["x"], &["x", "traceparent", "tracestate"]);
        check(&[("traceparent", PARENT)], &[], &["traceparent"]);
    }

    #[test]
    fn a_message_with_a_trace_of_its_own_keeps_it() {
        check(&[("traceparent", PARENT), ("tracestate", "a=b")], &["traceparent"], &["traceparent"]);
    }

    #[test]
    fn a_long_tracestate_is_not_passed_on() {
        // It was copied into all 500 records of a request, which its sender paid for once.
        let state = |len: usize| "a=".to_owned() + &"b".repeat(len - 2);
        check(&[("traceparent", PARENT), ("tracestate", &state(512))], &[], &["traceparent", "tracestate"]);
        check(&[("traceparent", PARENT), ("tracestate", &state(513))], &[], &["traceparent"]);
    }

    #[test]
    fn a_later_version_is_passed_on_as_the_one_that_is_known() {
        let later = PARENT.replacen("00-", "cc-", 1) + "-" + &"more".repeat(1_000);
        let mut record = record(&[], 0);
        context(&[("traceparent", &later)]).inject(&mut record, 1_000);
        assert_eq!(record.headers[0].1.as_deref(), Some(PARENT.as_bytes()));
    }

    #[test]
    fn the_headers_count_in_the_size_of_the_message_and_never_make_it_too_large() {
        // They were no part of the budget, nor of ingest.message_bytes_max.
        let traced = context(&[("traceparent", PARENT), ("tracestate", &"a".repeat(512))]);
        let check = |message_bytes_max: usize, bytes: usize, expected: &[&str]| {
            let mut record = record(&[], 10);
            traced.inject(&mut record, message_bytes_max);
            assert_eq!((names(&record).as_slice(), record.bytes), (expected, bytes));
        };
        check(10 + TraceContext::BYTES_MAX, 10 + TraceContext::BYTES_MAX, &["traceparent", "tracestate"]);
        check(10 + TraceContext::BYTES_MAX - 1, 10 + 11 + 55, &["traceparent"]);
        check(10 + 11 + 55, 10 + 11 + 55, &["traceparent"]);
        check(10 + 11 + 55 - 1, 10, &[]);
    }

    #[test]
    fn a_call_that_is_not_traced_adds_nothing() {
        check(&[], &["x"], &["x"]);
        check(&[("tracestate", "a=b")], &[], &[]);
        check(&[("traceparent", "00-xyz-1-01")], &[], &[]);
    }

    #[test]
    fn a_traceparent_is_what_the_w3c_says() {
        let mut cases = vec![(PARENT.to_owned(), true)];
        cases.push((PARENT.to_uppercase(), false));
        cases.push((PARENT.replacen("00-", "ff-", 1), false));
        cases.push((PARENT.replacen("00-", "01-", 1) + "-more", true));
        cases.push((PARENT.to_owned() + "-more", false));
        cases.push((PARENT.replace("00f067aa0ba902b7", "0000000000000000"), false));
        cases.push((PARENT[..54].to_owned(), false));
        for (text, expected) in cases {
            assert_eq!(is_traceparent(text.as_bytes()), expected, "{text}");
        }
    }
}
