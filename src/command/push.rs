//! `tailcast push`: Kafka to WebSockets.

use tailcast_services::topics::Epochs;

use crate::{
    config::{Overrides, PushFlags},
    exit::{Exit, Failure, OrExit},
    process::{Process, Remedies},
};

/// Runs a push node: delivers the records of Kafka topics to WebSocket clients.
///
/// The configuration is the defaults, overridden by a file, by environment variables and by flags,
/// in this order.
#[derive(Debug, clap::Args)]
#[command(after_help = crate::exit::HELP)]
pub(super) struct Push {
    #[command(flatten)]
    overrides: Overrides<PushFlags>,
}

const REMEDIES: Remedies =
    Remedies { admin: "--admin-listen chooses another address", service: "--listen chooses another address" };

impl Push {
    /// Serves until a signal arrives.
    pub(super) async fn run(self) -> Result<Exit, Failure> {
        let config = self.overrides.layers().load().or_exit(Exit::Usage)?;
        config.check_push().or_exit(Exit::Usage)?;
        let mut process = Process::begin(&config, REMEDIES).await?;
        let push = process.push(&config, Epochs::Kafka, REMEDIES).await?;
        push.serve();
        process.run().await
    }
}
