//! What a client does after its WebSocket was closed.
//!
//! 44xx: reconnecting would meet the same refusal, but for 4408, which says that something took too long. 45xx, and the
//! codes of a restart or a broken network: resume elsewhere.

use std::fmt;

/// How a node closed a WebSocket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Close {
    /// The close code; 1005 where the close frame had none.
    pub code: u16,
    /// The reason, for people.
    pub reason: String,
}

/// What to do after a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Do not reconnect before something is changed.
    End,
    /// Reconnect with back-off, and resume.
    Resume,
}

impl Close {
    /// Returns the right reaction to this close code.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        match self.code {
            // `Connect` came too late: the node or the network was slow, and need not be the next time.
            4408 => Verdict::Resume,
            // The node takes what this client sent for malformed, unsupported, forbidden or too large. It would be again.
            1002 | 1003 | 1007..=1010 | 4400..=4499 => Verdict::End,
            // 1000, 1001, 1005, 1006, 1011 to 1014, 45xx, and codes that this version does not know.
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
    fn a_client_comes_back_after_it_was_late() {
        // It ended, so that one slow handshake was the end of a client that had been subscribed for days.
        check(&[4408], Verdict::Resume);
    }

    #[test]
    fn a_client_ends_when_something_must_change_first() {
        check(&[4401, 4403, 4406, 4409, 4413, 4429], Verdict::End);
        check(&[1002, 1003, 1007, 1008, 1009, 1010], Verdict::End);
    }
}
