//! The options of a client.

use std::time::Duration;

use tailcast_proto::push::v1;

use crate::{Backoff, ConnectionOptions, Endpoint};

/// The options of a client.
#[derive(Debug, Clone)]
pub struct Options {
    /// How its connections are opened.
    pub connection: ConnectionOptions,
    /// The client's name in the node's logs. At most 128 bytes.
    pub client_name: String,
    /// The client's version in the node's logs. At most 128 bytes.
    pub client_version: String,
    /// Other nodes: each attempt goes to the next one. Any node can resume any position. Behind a
    /// load balancer one endpoint is enough.
    pub other_endpoints: Vec<Endpoint>,
    /// The bound of the first wait before a reconnect, which doubles for each further attempt. A
    /// wait is uniformly distributed below its bound. A wait that the server requests takes
    /// precedence, up to 5 minutes; from the second attempt on, only if it is at least this.
    pub backoff_first: Duration,
    /// The maximum bound of a wait before a reconnect.
    pub backoff_max: Duration,
    /// Capacity of the event queue. When it is full the client stops reading, TCP blocks the node,
    /// and the subscription's mode decides whether records are skipped.
    pub events_max: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            connection: ConnectionOptions::default(),
            client_name: env!("CARGO_PKG_NAME").to_owned(),
            client_version: env!("CARGO_PKG_VERSION").to_owned(),
            other_endpoints: Vec::new(),
            backoff_first: Duration::from_millis(500),
            backoff_max: Duration::from_secs(20),
            events_max: 1024,
        }
    }
}

impl Options {
    pub(crate) fn backoff(&self) -> Backoff {
        Backoff::new(self.backoff_first, self.backoff_max)
    }

    pub(crate) fn connect(&self) -> v1::Connect {
        v1::Connect {
            // The token is in the upgrade request, where proxies expect it.
            token: String::new(),
            client_name: self.client_name.clone(),
            client_version: self.client_version.clone(),
            subscriptions: Vec::new(),
        }
    }
}
