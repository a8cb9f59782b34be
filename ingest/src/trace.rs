//! Trace context: from the metadata of a gRPC call into the headers of its records.
//!
//! This is the only code in ingest that knows how traces travel. [`Propagator`] has the two verbs
//! of OpenTelemetry's propagators, and the two carriers are all that an OpenTelemetry propagator
//! needs to take its place.
//!
//! The format is W3C Trace Context: a traced caller sends `traceparent` and optionally
//! `tracestate`. As the specification demands, a malformed `traceparent` is ignored, with its
//! `tracestate`.
//!
//! Bound: a context is copied into up to 500 records of a call, so its length is limited, and it
//! counts towards the size of each message. Trace context is optional: a header that would make a
//! message too large is left out.

mod carrier;

use bytes::Bytes;

pub(crate) use self::carrier::{CallMetadata, RecordHeaders};

/// The header with the ids of trace and parent, and the flags.
const TRACEPARENT: &str = "traceparent";
/// The header with vendor-specific data.
const TRACESTATE: &str = "tracestate";

/// The length of a `traceparent` of version 00, in bytes.
const TRACEPARENT_BYTES: usize = 55;
/// The maximum length of a `tracestate` that is propagated, in bytes: the minimum that the
/// specification demands.
const TRACESTATE_BYTES_MAX: usize = 512;

/// The trace context of a call; empty if the call is not traced.
#[derive(Debug, Clone, Default)]
pub(crate) struct TraceContext {
    traceparent: Option<Bytes>,
    tracestate: Option<Bytes>,
}

/// Propagates W3C Trace Context.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Propagator;

impl Propagator {
    /// The maximum size of the headers that a record gets, in bytes.
    pub(crate) const RECORD_BYTES_MAX: usize =
        TRACEPARENT.len() + TRACEPARENT_BYTES + TRACESTATE.len() + TRACESTATE_BYTES_MAX;

    /// Reads the trace context of a call.
    pub(crate) fn extract(self, call: CallMetadata<'_>) -> TraceContext {
        let Some(traceparent) = call.get(TRACEPARENT).filter(|text| is_traceparent(text)) else {
            return TraceContext::default();
        };
        let tracestate = call.get(TRACESTATE).filter(|state| state.len() <= TRACESTATE_BYTES_MAX);
        TraceContext {
            traceparent: Some(as_version_00(traceparent)),
            tracestate: tracestate.map(Bytes::copy_from_slice),
        }
    }

    /// Adds the context to a record, unless the record has a trace context of its own.
    pub(crate) fn inject(self, context: &TraceContext, mut record: RecordHeaders<'_>) {
        if context.traceparent.is_none() || record.has(TRACEPARENT) {
            return;
        }
        // `tracestate` has no meaning without `traceparent`, so the first header that does not fit
        // is the last.
        for (name, value) in [(TRACEPARENT, &context.traceparent), (TRACESTATE, &context.tracestate)] {
            let Some(value) = value else { break };
            if !record.set(name, value.clone()) {
                break;
            }
        }
    }
}

/// Cuts a `traceparent` down to version 00: the specification demands that later versions are
/// passed on as the version that the sender knows.
fn as_version_00(traceparent: &[u8]) -> Bytes {
    [b"00", &traceparent[2..TRACEPARENT_BYTES]].concat().into()
}

/// Returns whether the text is `version-traceid-parentid-flags` in lower-case hexadecimal, with ids
/// that are not all zero. Versions after 00 may have more fields behind the flags.
fn is_traceparent(text: &[u8]) -> bool {
    let hex = |part: &[u8]| part.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let nonzero = |part: &[u8]| part.iter().any(|&byte| byte != b'0');
    let (Some(version), Some(rest)) = (text.get(..2), text.get(TRACEPARENT_BYTES..)) else { return false };
    let (trace, parent, flags) = (&text[3..35], &text[36..52], &text[53..55]);
    let dashes = [2, 35, 52].iter().all(|&at| text[at] == b'-');
    let length = rest.is_empty() || (version != b"00" && rest[0] == b'-');
    let valid = [version, trace, parent, flags].into_iter().all(hex);
    dashes && length && valid && version != b"ff" && nonzero(trace) && nonzero(parent)
}

#[cfg(test)]
mod tests {
    use tailcast_proto::TopicName;
    use tonic::metadata::MetadataMap;

    use super::*;
    use crate::validation::Record;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn context(metadata: &[(&'static str, &str)]) -> TraceContext {
        let mut map = MetadataMap::new();
        for (name, value) in metadata {
            map.insert(*name, value.parse().expect("a metadata value"));
        }
        Propagator.extract(CallMetadata(&map))
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
        Propagator.inject(&context(metadata), RecordHeaders::new(&mut record, 1_000));
        assert_eq!(names(&record), expected);
    }

    #[test]
    fn a_traced_call_propagates_its_context() {
        check(&[("traceparent", PARENT), ("tracestate", "a=b")], &["x"], &["x", "traceparent", "tracestate"]);
        check(&[("traceparent", PARENT)], &[], &["traceparent"]);
    }

    #[test]
    fn a_message_with_its_own_trace_context_keeps_it() {
        check(&[("traceparent", PARENT), ("tracestate", "a=b")], &["traceparent"], &["traceparent"]);
    }

    #[test]
    fn a_long_tracestate_is_dropped() {
        // It was copied into all 500 records of a request.
        let state = |len: usize| "a=".to_owned() + &"b".repeat(len - 2);
        check(&[("traceparent", PARENT), ("tracestate", &state(512))], &[], &["traceparent", "tracestate"]);
        check(&[("traceparent", PARENT), ("tracestate", &state(513))], &[], &["traceparent"]);
    }

    #[test]
    fn a_later_version_is_propagated_as_version_00() {
        let later = PARENT.replacen("00-", "cc-", 1) + "-" + &"more".repeat(1_000);
        let mut record = record(&[], 0);
        let context = context(&[("traceparent", &later)]);
        Propagator.inject(&context, RecordHeaders::new(&mut record, 1_000));
        assert_eq!(record.headers[0].1.as_deref(), Some(PARENT.as_bytes()));
    }

    #[test]
    fn the_headers_count_towards_the_message_size_and_never_exceed_it() {
        // They counted neither for the in-flight limit nor for ingest.message_bytes_max.
        let traced = context(&[("traceparent", PARENT), ("tracestate", &"a".repeat(512))]);
        let check = |message_bytes_max: usize, bytes: usize, expected: &[&str]| {
            let mut record = record(&[], 10);
            Propagator.inject(&traced, RecordHeaders::new(&mut record, message_bytes_max));
            assert_eq!((names(&record).as_slice(), record.bytes), (expected, bytes));
        };
        check(
            10 + Propagator::RECORD_BYTES_MAX,
            10 + Propagator::RECORD_BYTES_MAX,
            &["traceparent", "tracestate"],
        );
        check(10 + Propagator::RECORD_BYTES_MAX - 1, 10 + 11 + 55, &["traceparent"]);
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
    fn a_traceparent_is_valid_as_the_w3c_specifies() {
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
