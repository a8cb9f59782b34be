//! The command that continues from the last positions.

use std::fmt;

use tailcast_client::Mode;
use tailcast_proto::{Channel, Position};

/// The default of `--url`.
const DEFAULT_URL: &str = "ws://127.0.0.1:8080/v1/connect";

/// The command that continues from the last positions.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Resume {
    at: Vec<(Channel, Option<Position>)>,
    urls: Vec<String>,
    mode: Mode,
}

impl Resume {
    /// Takes the position of each channel. `None`: no subscription has started, so there is nothing
    /// to continue.
    pub(super) fn new<'a>(
        channels: &[Channel],
        urls: &[String],
        mode: Mode,
        position: impl Fn(&Channel) -> Option<&'a Position>,
    ) -> Option<Self> {
        let at = |channel: &Channel| (channel.clone(), position(channel).cloned());
        let at: Vec<_> = channels.iter().map(at).collect();
        let started = at.iter().any(|(_, position)| position.is_some());
        started.then(|| Self { at, urls: urls.to_vec(), mode })
    }
}

impl fmt::Display for Resume {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("tailcast sub")?;
        for (channel, _) in &self.at {
            write!(f, " {}", quoted(&channel.to_string()))?;
        }
        match self.at.as_slice() {
            [(_, Some(position))] => write!(f, " --from {}", quoted(&position.to_string()))?,
            several => {
                for (channel, position) in several {
                    if let Some(position) = position {
                        write!(f, " --from {}", quoted(&format!("{channel}={position}")))?;
                    }
                }
            }
        }
        if let Mode::Conflated { max_rate } = self.mode {
            f.write_str(" --conflated")?;
            if let Some(max_rate) = max_rate {
                write!(f, " --max-rate {}", max_rate.get())?;
            }
        }
        if self.urls != [DEFAULT_URL] {
            self.urls.iter().try_for_each(|url| write!(f, " --url {}", quoted(url)))?;
        }
        Ok(())
    }
}

/// Quotes text for a shell, if necessary.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:,@=+%".contains(c);
    if text.chars().all(plain) { text.to_owned() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(channels: &[(&str, Option<&str>)], url: &str, expected: &str) {
        check_mode(channels, url, Mode::Lossless, expected);
    }

    #[track_caller]
    fn check_mode(channels: &[(&str, Option<&str>)], url: &str, mode: Mode, expected: &str) {
        let parsed: Vec<(Channel, Option<Position>)> = channels
            .iter()
            .map(|(channel, position)| {
                let position = position.map(|position| position.parse().expect("the test writes a position"));
                (channel.parse().expect("the test names a channel"), position)
            })
            .collect();
        let urls: Vec<String> = url.split(' ').map(str::to_owned).collect();
        let names: Vec<Channel> = parsed.iter().map(|(channel, _)| channel.clone()).collect();
        let position = |channel: &Channel| {
            parsed.iter().find(|(each, _)| each == channel).and_then(|(_, position)| position.as_ref())
        };
        let found = Resume::new(&names, &urls, mode, position).map(|resume| resume.to_string());
        assert_eq!(found.as_deref().unwrap_or_default(), expected);
    }

    #[test]
    fn a_run_ends_with_the_command_that_continues() {
        check(&[("quotes/AAPL", Some("0:5"))], DEFAULT_URL, "tailcast sub quotes/AAPL --from 0:5");
        check(&[("quotes/*", Some("0:5,1:7"))], DEFAULT_URL, "tailcast sub 'quotes/*' --from 0:5,1:7");
        check(
            &[("quotes/*", Some("0:5")), ("chat/lobby", Some("0:2"))],
            "ws://127.0.0.1:8180",
            "tailcast sub 'quotes/*' chat/lobby --from 'quotes/*=0:5' --from chat/lobby=0:2 --url ws://127.0.0.1:8180",
        );
    }

    #[test]
    fn every_node_is_named_again() {
        let urls = "ws://127.0.0.1:8180 ws://127.0.0.1:8280";
        let expected = "tailcast sub t/k --from 0:5 --url ws://127.0.0.1:8180 --url ws://127.0.0.1:8280";
        check(&[("t/k", Some("0:5"))], urls, expected);
    }

    #[test]
    fn a_conflated_run_continues_conflated() {
        let at = [("quotes/AAPL", Some("0:5"))];
        let mode = Mode::Conflated { max_rate: None };
        check_mode(&at, DEFAULT_URL, mode, "tailcast sub quotes/AAPL --from 0:5 --conflated");
        let mode = Mode::Conflated { max_rate: "2.5".parse().ok() };
        check_mode(&at, DEFAULT_URL, mode, "tailcast sub quotes/AAPL --from 0:5 --conflated --max-rate 2.5");
    }

    #[test]
    fn a_subscription_that_has_not_started_has_no_position() {
        check(&[("quotes/AAPL", None)], DEFAULT_URL, "");
        check(&[("a/b", None), ("c/d", Some("0:5"))], DEFAULT_URL, "tailcast sub a/b c/d --from c/d=0:5");
    }

    #[test]
    fn a_shell_reads_every_key_unchanged() {
        check(&[("t/it's; rm", Some("0:5"))], DEFAULT_URL, r"tailcast sub 't/it'\''s; rm' --from 0:5");
    }
}
