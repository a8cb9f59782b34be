//! Draining of the server.
//!
//! The listener closes and every connection receives an HTTP/2 GOAWAY. Calls that have begun wait
//! for Kafka; streams end after their last outcome. After `within`, the producer is purged: the
//! remaining messages end refused or unknown, and calls return that. The producer's thread ends
//! last, when nothing is in flight.

use std::{future::Future, pin::Pin, time::Duration};

use tailcast_services::lifecycle::Lifecycle;
use tokio_util::sync::CancellationToken;

use crate::producer::{Producer, ProducerGuard};

/// The time for calls to send their final responses after the purge.
const FINAL_RESPONSES_WITHIN: Duration = Duration::from_millis(500);

/// Why serving ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum ServeError {
    #[error("the gRPC server failed")]
    Transport(#[from] tonic::transport::Error),
}

/// The parts that end with the server.
pub(super) struct Drain {
    pub(super) lifecycle: Lifecycle,
    pub(super) producer: Producer,
    /// Keeps the producer's thread running until it is dropped.
    pub(super) _producer_guard: ProducerGuard,
    pub(super) overdue: CancellationToken,
    pub(super) within: Duration,
}

impl Drain {
    /// Serves until the process drains, then waits for the calls that have begun, at most `within`.
    pub(super) async fn run(
        self,
        serving: impl Future<Output = Result<(), ServeError>>,
    ) -> Result<(), ServeError> {
        let served = async {
            serving.await?;
            // Messages of calls that ended early may still be in flight.
            self.producer.flushed().await;
            Ok(())
        };
        tokio::pin!(served);
        let overdue = async {
            self.lifecycle.draining().await;
            tokio::time::sleep(self.within).await;
        };
        let ended = tokio::select! {
            ended = &mut served => Some(ended),
            () = overdue => None,
        };
        match ended {
            Some(ended) => ended,
            None => self.give_up(served.as_mut()).await,
        }
    }

    /// Ends the messages in flight and lets calls return the outcomes; then ends streams whose
    /// callers do not read.
    async fn give_up(
        &self,
        mut served: Pin<&mut impl Future<Output = Result<(), ServeError>>>,
    ) -> Result<(), ServeError> {
        tracing::warn!(within = ?self.within, "drain timeout: ending the remaining messages and calls");
        self.producer.give_up();
        if let Ok(ended) = tokio::time::timeout(FINAL_RESPONSES_WITHIN, served.as_mut()).await {
            return ended;
        }
        self.overdue.cancel();
        // The callers of the remaining connections do not read.
        tokio::time::timeout(FINAL_RESPONSES_WITHIN, served).await.unwrap_or(Ok(()))
    }
}
