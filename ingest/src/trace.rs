//! The trace that a call belongs to, carried into the headers of its records.
//!
//! W3C Trace Context: a publisher that is traced sends `traceparent` (and `tracestate`) as gRPC metadata. A record whose
//! publisher set a `traceparent` header itself keeps it. A malformed `traceparent` is ignored, as the W3C says.

use bytes::Bytes;
use tonic::metadata::MetadataMap;

use crate::validation::Record;

const TRACEPARENT: &str = "traceparent";
const TRACESTATE: &str = "tracestate";

/// The trace context of a call; empty when its caller is not traced.
#[derive(Debug, Clone, Default)]
pub(crate) struct TraceContext {
    parent: Option<Bytes>,
    state: Option<Bytes>,
}

impl TraceContext {
    /// Reads the trace context of a call.
    pub(crate) fn of(metadata: &MetadataMap) -> Self {
        let read = |name| metadata.get(name).map(|value| Bytes::copy_from_slice(value.as_bytes()));
        match read(TRACEPARENT).filter(|parent| is_traceparent(parent)) {
            Some(parent) => Self { parent: Some(parent), state: read(TRACESTATE) },
            None => Self::default(),
        }
    }

    /// Adds the headers to a record that has no trace of its own.
    pub(crate) fn inject(&self, mut record: Record) -> Record {
        let Some(parent) = self.parent.as_ref().filter(|_| !record.has_header(TRACEPARENT)) else {
            return record;
        };
        record.headers.push((TRACEPARENT.to_owned(), Some(parent.clone())));
        if let Some(state) = &self.state {
            record.headers.push((TRACESTATE.to_owned(), Some(state.clone())));
        }
        record
    }
}

/// Whether the text is `version-trace-parent-flags` in lower-case hexadecimal, with ids that are not all zero. Later
/// versions than 00 may have more after the flags.
fn is_traceparent(text: &[u8]) -> bool {
    let hex = |part: &[u8]| part.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let nonzero = |part: &[u8]| part.iter().any(|&byte| byte != b'0');
    let (Some(version), Some(rest)) = (text.get(..2), text.get(55..)) else { return false };
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

    #[track_caller]
    fn check(metadata: &[(&'static str, &str)], own: &[&str], expected: &[&str]) {
        let mut map = MetadataMap::new();
        for (name, value) in metadata {
            map.insert(*name, value.parse().expect("a metadata value"));
        }
        let record = Record {
            topic: TopicName::parse("quotes").expect("a topic name"),
            key: None,
            value: None,
            headers: own.iter().map(|name| ((*name).to_owned(), None)).collect(),
            timestamp_ms: None,
            bytes: 0,
        };
        let record = TraceContext::of(&map).inject(record);
        let names: Vec<_> = record.headers.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, expected);
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
