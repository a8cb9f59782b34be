//! `grpc.health.v1`: serving when the process is ready, and not while it drains.

use std::convert::Infallible;

use tailcast_proto::ingest::v1::ingest_service_server::SERVICE_NAME;
use tailcast_services::{lifecycle::Lifecycle, readiness::Readiness};
use tonic_health::{ServingStatus, server::HealthReporter};

/// The names under which the health of this process can be asked for; the empty one is the whole process.
const NAMES: [&str; 2] = ["", SERVICE_NAME];

/// Carries the process's readiness to the health service.
pub(crate) struct Health {
    pub(crate) reporter: HealthReporter,
    pub(crate) readiness: Readiness,
    pub(crate) lifecycle: Lifecycle,
}

impl Health {
    /// Sets what the health service says before anybody can ask: tonic's would say that it serves.
    pub(crate) async fn begin(&self) {
        self.say(self.readiness.state().is_ready()).await;
    }

    /// Follows the readiness until the process drains.
    pub(crate) async fn run(mut self) -> Result<(), Infallible> {
        let mut states = self.readiness.watch();
        loop {
            let ready = states.borrow_and_update().is_ready();
            self.say(ready).await;
            tokio::select! {
                () = self.lifecycle.draining() => break,
                // The sender lives in `self.readiness`.
                _changed = states.changed() => {}
            }
        }
        self.say(false).await;
        // Watchers hear that, and then their streams end: they would hold their connections open for ever.
        for name in NAMES {
            self.reporter.clear_service_status(name).await;
        }
        Ok(())
    }

    async fn say(&self, ready: bool) {
        let status = if ready { ServingStatus::Serving } else { ServingStatus::NotServing };
        for name in NAMES {
            self.reporter.set_service_status(name, status).await;
        }
    }
}
