//! `tailcast pub`: publishes events through ingest, and prints their positions.

mod lines;

mod file;

mod outcome;

mod stream;

use std::time::Duration;

use bytes::Bytes;
use tailcast_proto::{
    Key, TopicName,
    ingest::v1::{Header, Message, PublishRequest},
};

use self::{file::ValueFile, lines::Lines, outcome::Tally};
use crate::{
    exit::{Exit, Failure, OrExit},
    output::Output,
    publisher::{ConnectError, Publisher},
};

const EXAMPLES: &str = "\
Examples:
  tailcast pub chat lobby 'hello'
  seq 1 1000 | tailcast pub counters a
  printf 'AAPL=1\\nMSFT=2\\n' | tailcast pub quotes --key-separator =
  tailcast pub invoices 4711 --file invoice.json
  tailcast pub temps berlin -5
  tailcast pub chat lobby -- '- a value that begins with a hyphen'";

/// Publishes one event, or one per line of standard input.
///
/// Prints topic/partition/offset for every message that Kafka has acknowledged, in order. Other messages are
/// named on standard error, and the exit code is 1.
#[derive(Debug, clap::Args)]
#[command(after_help = format!("{EXAMPLES}\n\n{}", crate::exit::HELP))]
pub(super) struct Publish {
    /// The topic.
    topic: TopicName,
    /// The key; it decides the partition and the channel.
    #[arg(required_unless_present_any = ["key_separator", "no_key"], allow_negative_numbers = true)]
    key: Option<String>,
    /// The value. Without it every line of standard input is one. A value that begins with a hyphen and is not a number
    /// follows `--`.
    #[arg(allow_negative_numbers = true)]
    value: Option<String>,
    /// Publish without a key: TOPIC, and then the value if it is given.
    #[arg(long, conflicts_with = "key_separator")]
    no_key: bool,
    /// Publish the whole content of this file as one value; - is standard input.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["value", "tombstone", "key_separator"])]
    file: Option<ValueFile>,
    /// Publish a tombstone, which removes the key from a compacted topic.
    #[arg(long, conflicts_with = "value")]
    tombstone: bool,
    /// Lines of standard input are KEY, this text, and the value.
    #[arg(long, value_name = "TEXT", conflicts_with_all = ["key", "value", "tombstone"])]
    key_separator: Option<String>,
    /// A header of every message; may be repeated.
    #[arg(long = "header", value_name = "NAME=VALUE", value_parser = header)]
    headers: Vec<Header>,
    /// Content type of the values, for example application/json.
    #[arg(long, value_name = "TYPE", default_value = "", hide_default_value = true)]
    content_type: String,
    /// Where ingest listens.
    #[arg(long, value_name = "HOST:PORT", env = "TAILCAST_INGEST", default_value = "127.0.0.1:9090")]
    ingest: String,
    /// How long to wait: for the connection, and for a single message's outcome.
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = humantime::parse_duration)]
    timeout: Duration,
}

impl Publish {
    /// Publishes, and prints the outcomes.
    pub(super) async fn run(mut self) -> Result<Exit, Failure> {
        self.place_value_without_key()?;
        let value = match &self.file {
            Some(file) => Some(file.read().or_exit(Exit::Usage)?),
            None => self.value.take().map(Bytes::from),
        };
        let key = match &self.key {
            Some(key) => Some(Key::new(Bytes::from(key.clone())).or_exit(Exit::Usage)?),
            None => None,
        };
        let publisher = Publisher::connect(&self.ingest, self.timeout).await.map_err(unconnected)?;
        let template = Message {
            topic: self.topic.to_string(),
            key: key.map(|key| key.as_bytes().clone()),
            value: None,
            headers: self.headers,
            content_type: self.content_type,
            timestamp_ms: None,
        };
        let mut output = Output::standard();
        if self.tombstone {
            return one(&publisher, template, &mut output).await;
        }
        if value.is_some() {
            return one(&publisher, Message { value, ..template }, &mut output).await;
        }
        let lines = Lines::of_standard_input(template, self.key_separator).or_exit(Exit::Internal)?;
        stream::publish(&publisher, self.topic.as_str(), lines, &mut output).await
    }

    /// With `--no-key` what follows the topic is the value.
    fn place_value_without_key(&mut self) -> Result<(), Failure> {
        if !self.no_key {
            return Ok(());
        }
        let value = self.key.take();
        let one_value =
            [value.is_some(), self.file.is_some(), self.tombstone].into_iter().filter(|is| *is).count();
        if self.value.is_some() || one_value > 1 {
            return Err(Failure::say(Exit::Usage, "--no-key: give the topic and one value, without a key"));
        }
        self.value = value;
        Ok(())
    }
}

/// Publishes one message.
async fn one(publisher: &Publisher, message: Message, output: &mut Output) -> Result<Exit, Failure> {
    let answer = publisher.publish(PublishRequest { messages: vec![message] }).await;
    let response = answer.map_err(|status| outcome::failed_publish(&status))?;
    let mut tally = Tally::default();
    for outcome in response.outcomes {
        tally.count("the message", outcome, output)?;
    }
    tally.finish(output)
}

fn unconnected(error: ConnectError) -> Failure {
    let exit = match &error {
        ConnectError::Address { .. } => Exit::Usage,
        ConnectError::Unreachable { .. } => Exit::Unavailable,
    };
    Failure::new(exit, error)
}

/// Parses `NAME=VALUE`.
fn header(text: &str) -> Result<Header, &'static str> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => {
            Ok(Header { name: name.to_owned(), value: Some(Bytes::from(value.to_owned())) })
        }
        _ => Err("a header is NAME=VALUE"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_a_name_and_a_value() {
        let found = header("ce_type=a=b").expect("the first = divides");
        assert_eq!((found.name.as_str(), found.value.as_deref()), ("ce_type", Some(&b"a=b"[..])));
        assert_eq!(header("empty=").expect("an empty value is one").value.as_deref(), Some(&b""[..]));
        assert!(header("=value").is_err());
        assert!(header("name").is_err());
    }
}
