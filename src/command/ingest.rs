//! `tailcast ingest`: gRPC to Kafka.

use tailcast_services::topics::Epochs;

use crate::{
    config::{IngestFlags, Overrides},
    exit::{Exit, Failure, OrExit},
    process::{Process, Remedies},
};

/// Runs an ingest node: receives messages over gRPC and writes them to Kafka.
///
/// A message is acknowledged after Kafka has acknowledged it. The configuration is the defaults,
/// overridden by a file, by environment variables and by flags, in this order.
#[derive(Debug, clap::Args)]
#[command(after_help = crate::exit::HELP)]
pub(super) struct Ingest {
    #[command(flatten)]
    overrides: Overrides<IngestFlags>,
}

const REMEDIES: Remedies =
    Remedies { admin: "--admin-listen chooses another address", service: "--listen chooses another address" };

impl Ingest {
    /// Serves until a signal arrives.
    pub(super) async fn run(self) -> Result<Exit, Failure> {
        let config = self.overrides.layers().load().or_exit(Exit::Usage)?;
        config.check_ingest().or_exit(Exit::Usage)?;
        let mut process = Process::begin(&config, REMEDIES).await?;
        let ingest = process.ingest(&config, Epochs::Kafka, REMEDIES).await?;
        ingest.serve(process.lifecycle());
        process.run().await
    }
}
