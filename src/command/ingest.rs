//! `tailcast ingest`: gRPC to Kafka.

use tailcast_services::topics::Epochs;

use crate::{
    config::{IngestFlags, Overrides},
    exit::{Exit, Failure, OrExit},
    process::{Process, Remedies},
};

/// Serves ingest: takes events over gRPC, writes them to Kafka, and acknowledges them after Kafka has.
///
/// The configuration is laid over the defaults from a file, from environment variables and from flags, in this order.
#[derive(Debug, clap::Args)]
#[command(after_help = crate::exit::HELP)]
pub(super) struct Ingest {
    #[command(flatten)]
    overrides: Overrides<IngestFlags>,
}

const REMEDIES: Remedies =
    Remedies { admin: "--admin-listen chooses another address", service: "--listen chooses another address" };

impl Ingest {
    /// Serves until a signal comes.
    pub(super) async fn run(self) -> Result<Exit, Failure> {
        let config = self.overrides.layers().load().or_exit(Exit::Usage)?;
        config.check_ingest().or_exit(Exit::Usage)?;
        let mut process = Process::begin(&config, REMEDIES).await?;
        let ingest = process.ingest(&config, Epochs::Kafka, REMEDIES).await?;
        ingest.serve(process.lifecycle());
        process.run().await
    }
}
