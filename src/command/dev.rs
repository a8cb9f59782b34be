//! `tailcast dev`: everything on this machine, without anything else to install.

use std::env;

use tailcast_services::config::FlagValue;

use crate::{
    config::{Layers, LoadError, NoFlags, Overrides},
    dev::{self, Kafka},
    exit::{Exit, Failure, OrExit},
    output::report,
};

/// The key of the Kafka brokers.
const BROKERS: &str = "kafka.brokers";

/// Maximum trades per second and symbol: 20 symbols at this rate are 2,000 records per second.
const RATE_MAX: f64 = 100.0;

/// Runs everything on this machine: ingest, push, a Kafka broker in this process, a simulated
/// market, and a page.
///
/// Listens on 127.0.0.1: push and the page on 8080, ingest on 9090, admin on 9100. Data is in
/// memory and lost on exit.
#[derive(Debug, clap::Args)]
#[command(after_help = crate::exit::HELP)]
pub(super) struct Dev {
    /// Add N to the three ports.
    #[arg(long, value_name = "N", default_value_t = 0)]
    port_offset: u16,
    /// Use this Kafka instead of the in-process broker; kafka.brokers in a configuration does the
    /// same. The topics quotes and chat are created if they do not exist.
    #[arg(long, value_name = "HOST:PORT,…")]
    kafka: Option<String>,
    /// Create this topic, with 1 partition by default; may be repeated. With last-values,
    /// subscriptions can start with the latest record of each key. An existing topic of an external
    /// Kafka is not changed.
    #[arg(long = "topic", value_name = "NAME[:PARTITIONS][,last-values]")]
    topics: Vec<dev::Topic>,
    /// Trades per second of each of the 20 symbols; 0 stops the market.
    #[arg(long, value_name = "N", default_value_t = 2.0, value_parser = rate, allow_negative_numbers = true)]
    rate: f64,
    #[command(flatten)]
    overrides: Overrides<NoFlags>,
}

impl Dev {
    /// Runs until a signal arrives.
    pub(super) async fn run(self) -> Result<Exit, Failure> {
        let layers = layers(self.overrides.layers(), self.kafka);
        let config = layers.load().or_exit(Exit::Usage)?;
        let kafka = kafka(&layers).or_exit(Exit::Usage)?;
        let options =
            dev::Options { port_offset: self.port_offset, kafka, rate: self.rate, topics: self.topics };
        report(match kafka {
            Kafka::InProcess => "tailcast: starting a Kafka broker, ingest and push …".to_owned(),
            Kafka::Configured => {
                format!("tailcast: connecting to Kafka at {} …", config.kafka.brokers.join(","))
            }
        });
        let dev = dev::Dev::start(config, &options).await?;
        let command = env::args_os().next().unwrap_or_default();
        report(dev.welcome(&command.to_string_lossy()));
        dev.run().await
    }
}

/// Applies `--kafka` to the configuration.
fn layers(mut layers: Layers, brokers: Option<String>) -> Layers {
    let flag = |value| FlagValue { flag: "--kafka", key: BROKERS.to_owned(), value };
    layers.flags.extend(brokers.map(flag));
    layers
}

/// Returns which Kafka is used: the in-process broker, unless any layer configures brokers.
fn kafka(layers: &Layers) -> Result<Kafka, LoadError> {
    Ok(if layers.set(BROKERS)? { Kafka::Configured } else { Kafka::InProcess })
}

/// Parses a rate.
fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if (0.0..=RATE_MAX).contains(&rate) => Ok(rate),
        _ => Err(format!("a rate is a number from 0 to {RATE_MAX}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(variable: Option<&str>, flag: Option<&str>, expected: Option<&[&str]>) {
        let variable = variable.map(|brokers| ("TAILCAST__KAFKA__BROKERS".to_owned(), brokers.to_owned()));
        let environment = variable.into_iter().collect();
        let layers = layers(Layers { environment, ..Layers::default() }, flag.map(str::to_owned));
        let found = kafka(&layers).map_err(|error| error.to_string()).expect("these are brokers");
        assert_eq!(found == Kafka::Configured, expected.is_some());
        if let Some(brokers) = expected {
            let config = layers.load().map_err(|error| error.to_string()).expect("these are brokers");
            assert_eq!(config.kafka.brokers, brokers);
        }
    }

    #[test]
    fn a_configured_kafka_is_used() {
        // The in-process broker silently replaced the configured one.
        check(Some("a:9092,b:9092"), None, Some(&["a:9092", "b:9092"]));
        check(Some("127.0.0.1:9092"), None, Some(&["127.0.0.1:9092"]));
        check(None, Some("c:9092"), Some(&["c:9092"]));
        check(Some("a:9092"), Some("c:9092"), Some(&["c:9092"]));
        check(None, None, None);
    }
}
