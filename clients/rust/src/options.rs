//! How a client behaves.

use std::time::Duration;

use tailcast_proto::push::v1;

use crate::{Backoff, ConnectionOptions, Endpoint};

/// How a client behaves.
#[derive(Debug, Clone)]
pub struct Options {
    /// How its connections are opened.
    pub connection: ConnectionOptions,
    /// The client's name in the node's logs. At most 128 bytes.
    pub client_name: String,
    /// Its version there. At most 128 bytes.
    pub client_version: String,
    /// Other nodes: each attempt goes to the next one, and any node resumes any position. With one endpoint that is a load
    /// balancer, the same is asked again.
    pub other_endpoints: Vec<Endpoint>,
    /// The longest first wait before a reconnect; any shorter one is as likely. Later ones double it. A wait that the server
    /// asks for goes before that, up to 5 minutes, and from the second attempt on if it is at least this.
    pub backoff_first: Duration,
    /// The longest wait before a reconnect.
    pub backoff_max: Duration,
    /// How many events wait for the application. At the bound the client stops reading, TCP holds the node back, and the
    /// subscription's mode decides what that means.
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
