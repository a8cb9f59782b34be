//! The deadline of a call.
//!
//! tonic enforces `grpc-timeout` itself: it answers CANCELLED and drops the method, without the
//! outcome of the messages. So this node answers slightly earlier, with DEADLINE_EXCEEDED and the
//! outcome. The response then also reaches the caller before the caller's own clock cancels the
//! call.

use std::time::Duration;

use tokio::time::Instant;

/// The time by which a call must be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Deadline(Instant);

/// The `grpc-timeout` is malformed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("grpc-timeout is {0:?} (expected: 1 to 8 digits and one of H, M, S, m, u, n, for example 500m)")]
pub(crate) struct TimeoutError(String);

impl Deadline {
    /// The deadline of a call that arrived `now` with this timeout, minus a margin of a tenth: at
    /// least 2 ms, because tokio's timers are accurate to 1 ms and tonic's must not fire first, and
    /// at most 50 ms.
    pub(crate) fn after(now: Instant, timeout: Duration) -> Self {
        let margin = (timeout / 10).clamp(Duration::from_millis(2), Duration::from_millis(50));
        Self(now + timeout.saturating_sub(margin))
    }

    /// Waits for the deadline. Cancel safe.
    pub(crate) async fn passed(self) {
        tokio::time::sleep_until(self.0).await;
    }

    /// Waits for a future, but not past the deadline.
    pub(crate) async fn limit<F: Future>(self, future: F) -> Option<F::Output> {
        // `timeout_at` polls the future first, so a result that is ready is not late.
        tokio::time::timeout_at(self.0, future).await.ok()
    }
}

/// Reads a `grpc-timeout`, as gRPC over HTTP/2 defines it.
pub(crate) fn parse_timeout(header: &[u8]) -> Result<Duration, TimeoutError> {
    let error = || TimeoutError(String::from_utf8_lossy(header).into_owned());
    let (unit, digits) = header.split_last().ok_or_else(error)?;
    if !(1..=8).contains(&digits.len()) || !digits.iter().all(u8::is_ascii_digit) {
        return Err(error());
    }
    let value = digits.iter().fold(0_u64, |value, digit| value * 10 + u64::from(digit - b'0'));
    match unit {
        b'H' => Ok(Duration::from_secs(value * 3_600)),
        b'M' => Ok(Duration::from_secs(value * 60)),
        b'S' => Ok(Duration::from_secs(value)),
        b'm' => Ok(Duration::from_millis(value)),
        b'u' => Ok(Duration::from_micros(value)),
        b'n' => Ok(Duration::from_nanos(value)),
        _ => Err(error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(header: &str, expected: Option<Duration>) {
        assert_eq!(parse_timeout(header.as_bytes()).ok(), expected, "{header:?}");
    }

    #[test]
    fn a_timeout_is_digits_and_a_unit() {
        check("1H", Some(Duration::from_secs(3_600)));
        check("2M", Some(Duration::from_secs(120)));
        check("3S", Some(Duration::from_secs(3)));
        check("4m", Some(Duration::from_millis(4)));
        check("5u", Some(Duration::from_micros(5)));
        check("6n", Some(Duration::from_nanos(6)));
        check("99999999H", Some(Duration::from_secs(99_999_999 * 3_600)));
        check("0m", Some(Duration::ZERO));
    }

    #[test]
    fn anything_else_is_rejected() {
        for header in ["", "m", "5", "5x", "-5m", "5.5S", "123456789m", "5 m", "é"] {
            check(header, None);
        }
    }

    #[test]
    fn a_call_is_answered_a_little_before_its_deadline() {
        let now = Instant::now();
        for (timeout, at) in [(10_000, 9_950), (500, 450), (100, 90), (10, 8), (2, 0), (1, 0), (0, 0)] {
            let deadline = Deadline::after(now, Duration::from_millis(timeout));
            assert_eq!(deadline, Deadline(now + Duration::from_millis(at)), "{timeout} ms");
        }
    }
}
