//! The command line.

use std::{path::PathBuf, time::Duration};

use clap::{ArgGroup, Parser, ValueEnum, error::ErrorKind};
use tailcast_client::{Endpoint, Subprotocol};
use tailcast_proto::TopicName;

use crate::payload;

/// Puts verified load on Tailcast: publishes events at a fixed rate, receives them on many WebSockets, and checks that each
/// connection got every event of its keys once and in order.
///
/// An open loop: the schedule is fixed before the first event, and latency counts from the moment an event was due, so
/// that a pause anywhere shows in full.
#[derive(Debug, Parser)]
#[command(
    name = "loadgen",
    version,
    group(ArgGroup::new("way in").args(["ingest", "kafka"]).required(true).multiple(true)),
    after_help = "Exit codes: 0 clean; 1 something was lost, repeated, out of order or corrupt, or the run could not be \
                  completed; 2 the command line is wrong.\n\n\
                  Example:\n  loadgen --ingest 127.0.0.1:9090 --kafka 127.0.0.1:9092 --create-topic 12 \
                  --connections 5000 --keys 1000 --rate 1000 --payload 512 --duration 60s --server-pid 4711"
)]
pub(crate) struct Cli {
    /// Where to connect; may be given several times, connections go round. Without it:
    /// ws://127.0.0.1:8080/v1/connect.
    #[arg(long = "url", value_name = "WS_URL")]
    pub(crate) urls: Vec<Endpoint>,

    /// Publish through the ingest service at this address (gRPC).
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) ingest: Option<String>,

    /// How to publish through ingest: by PublishStream, or by Publish calls of up to 500 events.
    #[arg(long, value_enum, default_value_t = Publishers::Stream, value_name = "KIND")]
    pub(crate) publishers: Publishers,

    /// How many publishers work at the same time, each with its own keys [default: 2 streams, 16 unary, 1 with --kafka].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) publisher_count: Option<u32>,

    /// A Kafka broker: for --create-topic, and, without --ingest, to publish straight to (acks=all, murmur2 partitioner).
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) kafka: Option<String>,

    /// The topic.
    #[arg(long, default_value = "loadgen")]
    pub(crate) topic: TopicName,

    /// Create the topic first, with so many partitions and the cluster's default replication; one that exists stays as it is.
    #[arg(long, value_name = "PARTITIONS", requires = "kafka", value_parser = clap::value_parser!(u16).range(1..=10_000))]
    pub(crate) create_topic: Option<u16>,

    /// How many WebSocket connections.
    #[arg(long, default_value_t = 1000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=200_000))]
    pub(crate) connections: u32,

    /// How many keys. Events go round them; connection i subscribes to key number i modulo N.
    #[arg(long, default_value_t = 100, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub(crate) keys: u32,

    /// How many channels (consecutive keys) each connection subscribes to.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) channels_per_connection: u32,

    /// Events per second, over all keys.
    #[arg(long, default_value_t = 1000, value_name = "EVENTS/S", value_parser = clap::value_parser!(u32).range(1..=2_000_000))]
    pub(crate) rate: u32,

    /// The size of an event's value, in bytes; at least 36, which hold what is verified.
    #[arg(long, default_value_t = 512, value_name = "BYTES", value_parser = payload_bytes)]
    pub(crate) payload: usize,

    /// How long to measure: 500ms, 30s, 5m, …
    #[arg(long, default_value = "30s", value_name = "TIME", value_parser = humantime::parse_duration)]
    pub(crate) duration: Duration,

    /// How long to publish before measuring begins. Verified, not measured.
    #[arg(long, default_value = "5s", value_name = "TIME", value_parser = humantime::parse_duration)]
    pub(crate) warmup: Duration,

    /// How long to leave the connections idle before their memory is measured.
    #[arg(long, default_value = "3s", value_name = "TIME", value_parser = humantime::parse_duration)]
    pub(crate) idle: Duration,

    /// How long to wait at the end for what is still on its way. What has not come by then is lost.
    #[arg(long, default_value = "30s", value_name = "TIME", value_parser = humantime::parse_duration)]
    pub(crate) drain: Duration,

    /// Connections opened per second.
    #[arg(long, default_value_t = 1000, value_name = "N/S", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) connect_rate: u32,

    /// The form of WebSocket messages.
    #[arg(long, value_enum, default_value_t = Form::Proto, value_name = "FORM")]
    pub(crate) subprotocol: Form,

    /// The process id of a server whose CPU time and memory are measured; may be given several times.
    #[arg(long = "server-pid", value_name = "PID")]
    pub(crate) server_pids: Vec<u32>,

    /// Threads of this process. Without it: one per CPU.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) threads: Option<u16>,

    /// Write the results as JSON to a file, or to standard output with `-`; the summary then goes to standard error.
    #[arg(long, value_name = "FILE|-")]
    pub(crate) json: Option<PathBuf>,
}

/// How to publish through ingest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Publishers {
    /// By PublishStream.
    Stream,
    /// By Publish, one call of each publisher at a time.
    Unary,
}

/// The form of WebSocket messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Form {
    /// Protobuf in binary messages.
    Proto,
    /// ProtoJSON in text messages.
    Json,
}

impl Cli {
    /// Reads the command line; ends the process with code 2 where it is wrong.
    pub(crate) fn read() -> Self {
        let mut cli = Self::parse();
        if cli.urls.is_empty() {
            cli.urls = vec!["ws://127.0.0.1:8080/v1/connect".parse().expect("it is a WebSocket URL")];
        }
        if let Err(text) = cli.check() {
            <Self as clap::CommandFactory>::command().error(ErrorKind::ValueValidation, text).exit();
        }
        cli
    }

    fn check(&self) -> Result<(), String> {
        if self.channels_per_connection > self.keys {
            return Err(format!(
                "--channels-per-connection {} needs as many keys, and --keys is {}",
                self.channels_per_connection, self.keys
            ));
        }
        if self.duration.is_zero() {
            return Err("--duration 0s measures nothing; give at least 1s".into());
        }
        let events = u128::from(self.rate) * (self.warmup + self.duration).as_secs() as u128;
        // Two bits are kept for every event.
        if events > 4_000_000_000 {
            return Err(format!(
                "{events} events are more than the 4,000,000,000 that one run can account for"
            ));
        }
        Ok(())
    }

    /// Returns how many publishers work at the same time.
    pub(crate) fn publisher_count(&self) -> u32 {
        let default = match (&self.ingest, self.publishers) {
            (None, _) => 1,
            (Some(_), Publishers::Stream) => 2,
            (Some(_), Publishers::Unary) => 16,
        };
        self.publisher_count.unwrap_or(default)
    }
}

impl From<Form> for Subprotocol {
    fn from(form: Form) -> Self {
        match form {
            Form::Proto => Self::Proto,
            Form::Json => Self::Json,
        }
    }
}

fn payload_bytes(text: &str) -> Result<usize, String> {
    let bytes: usize = text.parse().map_err(|_| "not a number of bytes".to_owned())?;
    if (payload::BYTES_MIN..=1_000_000).contains(&bytes) {
        Ok(bytes)
    } else {
        Err(format!("a value has {} to 1000000 bytes", payload::BYTES_MIN))
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_way_in_has_to_be_given() {
        let error = Cli::try_parse_from(["loadgen"]).expect_err("neither --ingest nor --kafka");
        assert_eq!(error.exit_code(), 2);
        Cli::try_parse_from(["loadgen", "--ingest", "127.0.0.1:9090", "--kafka", "127.0.0.1:9092"])
            .expect("both are fine");
    }

    #[test]
    fn a_value_too_small_for_what_is_verified_is_refused() {
        let error =
            Cli::try_parse_from(["loadgen", "--kafka", "k:1", "--payload", "35"]).expect_err("35 bytes");
        assert!(error.to_string().contains("36 to 1000000"), "{error}");
    }
}
