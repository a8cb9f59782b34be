//! `grpc.health.v1`: `SERVING` while the process is ready, `NOT_SERVING` while it drains.

use std::convert::Infallible;

use tailcast_proto::ingest::v1::ingest_service_server::SERVICE_NAME;
use tailcast_services::{lifecycle::Lifecycle, readiness::Readiness};
use tonic_health::{ServingStatus, server::HealthReporter};

/// The service names with a health status; the empty one is the whole process.
const NAMES: [&str; 2] = ["", SERVICE_NAME];

/// Reports the process's readiness to the health service.
pub(crate) struct Health {
    pub(crate) reporter: HealthReporter,
    pub(crate) readiness: Readiness,
    pub(crate) lifecycle: Lifecycle,
}

impl Health {
    /// Sets the status before the first request: tonic's default is `SERVING`.
    pub(crate) async fn begin(&self) {
        self.report(self.readiness.state().is_ready()).await;
    }

    /// Follows the readiness until the process drains.
    pub(crate) async fn run(mut self) -> Result<(), Infallible> {
        let mut states = self.readiness.watch();
        loop {
            let ready = states.borrow_and_update().is_ready();
            self.report(ready).await;
            tokio::select! {
                () = self.lifecycle.draining() => break,
                // The sender lives in `self.readiness`.
                _changed = states.changed() => {}
            }
        }
        self.report(false).await;
        // Watchers receive `NOT_SERVING`, and then their streams end; otherwise they would keep
        // their connections open.
        for name in NAMES {
            self.reporter.clear_service_status(name).await;
        }
        Ok(())
    }

    async fn report(&self, ready: bool) {
        let status = if ready { ServingStatus::Serving } else { ServingStatus::NotServing };
        for name in NAMES {
            self.reporter.set_service_status(name, status).await;
        }
    }
}
