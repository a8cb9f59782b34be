//! Where the starts and pages of sessions come from.

use std::sync::Arc;

use super::{
    request::{CommandError, Request},
    rules::{PageAnswer, subscriptions::PageRequest},
    start::{Started, Starter},
};
use crate::kafka::catch_up::CatchUp;

/// Finds starts and pages.
#[derive(Debug)]
pub(crate) struct Sources {
    starter: Starter,
    catch_up: CatchUp,
}

impl Sources {
    pub(crate) fn new(starter: Starter, catch_up: CatchUp) -> Arc<Self> {
        Arc::new(Self { starter, catch_up })
    }

    /// Finds where a subscription starts. Waits for Kafka where it has to; cancel safe.
    pub(super) async fn start(self: Arc<Self>, request: Request) -> (Request, Result<Started, CommandError>) {
        let started = self.starter.start(&request).await;
        (request, started)
    }

    /// Reads a page. Cancel safe.
    pub(super) async fn page(self: Arc<Self>, request: PageRequest) -> PageAnswer {
        let PageRequest { cursor, serial, partition, offset } = request;
        PageAnswer { cursor, serial, page: self.catch_up.page(partition, offset).await }
    }
}
