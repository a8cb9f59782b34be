//! `tailcast pub`: publishes messages through ingest, and prints their positions.

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

/// Publishes one message, or one per line of standard input.
///
/// Prints topic/partition/offset of each acknowledged message, in order. Other messages are
/// reported on standard error, and the exit code is 1.
#[derive(Debug, clap::Args)]
#[command(after_help = format!("{EXAMPLES}\n\n{}", crate::exit::HELP))]
pub(super) struct Publish {
    /// The topic.
    topic: TopicName,
    /// The key; it determines the partition and the channel.
    #[arg(required_unless_present_any = ["key_separator", "no_key"], allow_negative_numbers = true)]
    key: Option<String>,
    /// The value; without it, each line of standard input is a value. Write `--` before a value
    /// that begins with a hyphen and is not a number.
    #[arg(allow_negative_numbers = true)]
    value: Option<String>,
    /// Publish without a key; the argument after TOPIC, if any, is the value.
    #[arg(long, conflicts_with = "key_separator")]
    no_key: bool,
    /// Publish the whole content of this file as one value; - is standard input.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["value", "tombstone", "key_separator"])]
    file: Option<ValueFile>,
    /// Publish a tombstone, which removes the key from a compacted topic.
    #[arg(long, conflicts_with = "value")]
    tombstone: bool,
    /// Split each line of standard input into key and value where TEXT first occurs.
    #[arg(long, value_name = "TEXT", conflicts_with_all = ["key", "value", "tombstone"])]
    key_separator: Option<String>,
    /// Add this header to every message; may be repeated.
    #[arg(long = "header", value_name = "NAME=VALUE", value_parser = header)]
    headers: Vec<Header>,
    /// Content type of the values, such as application/json.
    #[arg(long, value_name = "TYPE", default_value = "", hide_default_value = true)]
    content_type: String,
    /// Address of ingest.
    #[arg(long, value_name = "HOST:PORT", env = "TAILCAST_INGEST", default_value = "127.0.0.1:9090")]
    ingest: String,
    /// Timeout of the connection, and of the outcome of a single message.
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
        let publisher = Publisher::connect(&self.ingest, self.timeout).await.map_err(connect_failure)?;
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

    /// With `--no-key`, takes the argument after the topic as the value.
    fn place_value_without_key(&mut self) -> Result<(), Failure> {
        if !self.no_key {
            return Ok(());
        }
        let value = self.key.take();
        let one_value =
            [value.is_some(), self.file.is_some(), self.tombstone].into_iter().filter(|is| *is).count();
        if self.value.is_some() || one_value > 1 {
            return Err(Failure::message(Exit::Usage, "with --no-key, give only the topic and one value"));
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

fn connect_failure(error: ConnectError) -> Failure {
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
        let found = header("ce_type=a=b").expect("the first = separates name and value");
        assert_eq!((found.name.as_str(), found.value.as_deref()), ("ce_type", Some(&b"a=b"[..])));
        assert_eq!(header("empty=").expect("an empty value is one").value.as_deref(), Some(&b""[..]));
        assert!(header("=value").is_err());
        assert!(header("name").is_err());
    }
}
