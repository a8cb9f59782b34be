//! `tailcast dev`: everything on this machine, with nothing to install.

use std::env;

use super::{
    exit::{Exit, Failure, OrExit},
    output::say,
};
use crate::{
    config::{NoFlags, Overrides},
    dev,
};

/// The most trades per second and symbol: 20 symbols at this rate are 2,000 records per second.
const RATE_MAX: f64 = 100.0;

/// Runs everything on this machine: ingest, push, a Kafka broker in this process, a simulated market, and a page.
///
/// Listens on 127.0.0.1: push and the page on 8080, ingest on 9090, admin on 9100. Data is in memory and lost on exit.
#[derive(Debug, clap::Args)]
#[command(after_help = super::exit::HELP)]
pub(super) struct Dev {
    /// Add N to the three ports.
    #[arg(long, value_name = "N", default_value_t = 0)]
    port_offset: u16,
    /// Use this Kafka instead of a broker in this process; the topics quotes and chat are created where they do not exist.
    #[arg(long, value_name = "HOST:PORT,…")]
    kafka: Option<String>,
    /// Trades per second of each of the 20 symbols; 0 closes the market.
    #[arg(long, value_name = "N", default_value_t = 2.0, value_parser = rate, allow_negative_numbers = true)]
    rate: f64,
    #[command(flatten)]
    overrides: Overrides<NoFlags>,
}

impl Dev {
    /// Runs until a signal comes.
    pub(super) async fn run(self) -> Result<Exit, Failure> {
        let config = self.overrides.layers().load().or_exit(Exit::Usage)?;
        let options = dev::Options { port_offset: self.port_offset, kafka: self.kafka, rate: self.rate };
        let dev = dev::Dev::start(config, &options).await?;
        let command = env::args_os().next().unwrap_or_default();
        say(dev.welcome(&command.to_string_lossy()));
        dev.run().await
    }
}

/// Parses a rate.
fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if (0.0..=RATE_MAX).contains(&rate) => Ok(rate),
        _ => Err(format!("a rate is a number from 0 to {RATE_MAX}")),
    }
}
