//! Whether a client reconnects after its WebSocket was closed.
//!
//! 44xx: a new connection would be refused too, except after 4408, a timeout. 45xx, and the codes
//! of a restart or a broken network: resume at another node.

use std::fmt;

/// How a node closed a WebSocket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Close {
    /// The close code; 1005 if the close frame had none.
    pub code: u16,
    /// The reason, for people.
    pub reason: String,
}

/// What a client does after its connection was closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// End: reconnecting is of no use until something is changed.
    End,
    /// Reconnect with back-off, and resume.
    Resume,
}

impl Close {
    /// Returns the right reaction to this close code.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        match self.code {
            // `Connect` arrived too late: the node or the network was slow.
            4408 => Verdict::Resume,
            // The node rejected a message of this client as malformed, unsupported, forbidden or
            // too large, and would again.
            1002 | 1003 | 1007..=1010 | 4400..=4499 => Verdict::End,
            // 1000, 1001, 1005, 1006, 1011 to 1014, 45xx, and unknown codes.
            _ => Verdict::Resume,
        }
    }
}

impl fmt::Display for Close {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.code)?;
        if self.reason.is_empty() { Ok(()) } else { write!(f, " {}", self.reason) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(codes: &[u16], expected: Verdict) {
        for code in codes {
            let close = Close { code: *code, reason: String::new() };
            assert_eq!(close.verdict(), expected, "{code}");
        }
    }

    #[test]
    fn a_client_resumes_after_a_drain_a_restart_or_a_broken_network() {
        check(&[1000, 1001, 1005, 1006, 1011, 1012, 1013], Verdict::Resume);
        check(&[4501, 4503, 4508, 4510, 4512, 4529], Verdict::Resume);
    }

    #[test]
    fn a_client_resumes_after_a_timeout() {
        // It ended: one slow handshake ended a client that had been subscribed for days.
        check(&[4408], Verdict::Resume);
    }

    #[test]
    fn a_client_ends_when_reconnecting_is_of_no_use() {
        check(&[4401, 4403, 4406, 4409, 4413, 4429], Verdict::End);
        check(&[1002, 1003, 1007, 1008, 1009, 1010], Verdict::End);
    }
}
