//! The end of the server, from the outside in.
//!
//! The listener closes and every connection is told to go away (HTTP/2 GOAWAY); calls that were begun wait for Kafka;
//! streams end after their last acknowledgement. What still waits after `within` is given up: the producer is purged,
//! which ends every message as refused or unknown, and calls answer with that. The producer's thread ends last, when
//! nothing is in flight.

use std::{future::Future, pin::Pin, time::Duration};

use tailcast_services::lifecycle::Lifecycle;
use tokio_util::sync::CancellationToken;

use crate::producer::{Producer, ProducerGuard};

/// How long calls have to send their last answers once everything has ended.
const FINAL_RESPONSES_WITHIN: Duration = Duration::from_millis(500);

/// Why serving ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum ServeError {
    #[error("the gRPC server failed")]
    Transport(#[from] tonic::transport::Error),
}

/// What ends with the server.
pub(super) struct Drain {
    pub(super) lifecycle: Lifecycle,
    pub(super) producer: Producer,
    /// Lets the producer's thread end, when this is dropped.
    pub(super) _producer_guard: ProducerGuard,
    pub(super) overdue: CancellationToken,
    pub(super) within: Duration,
}

impl Drain {
    /// Serves, and once the process drains, waits for the calls that were begun, but not for ever.
    pub(super) async fn run(
        self,
        serving: impl Future<Output = Result<(), ServeError>>,
    ) -> Result<(), ServeError> {
        let served = async {
            serving.await?;
            // Calls that went away have left their messages to Kafka.
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

    /// Ends what waits for Kafka, and gives calls the time to answer with that; then ends streams that nobody reads.
    async fn give_up(
        &self,
        mut served: Pin<&mut impl Future<Output = Result<(), ServeError>>>,
    ) -> Result<(), ServeError> {
        tracing::warn!(within = ?self.within, "messages still wait for Kafka, or callers for the end; they are given up");
        self.producer.give_up();
        if let Ok(ended) = tokio::time::timeout(FINAL_RESPONSES_WITHIN, served.as_mut()).await {
            return ended;
        }
        self.overdue.cancel();
        // Connections that outlast this have callers who read nothing.
        tokio::time::timeout(FINAL_RESPONSES_WITHIN, served).await.unwrap_or(Ok(()))
    }
}
