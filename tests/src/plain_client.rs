//! Clients of Kafka without any setting of Tailcast's.

use rdkafka::ClientConfig;
use rdkafka::admin::AdminClient;
use rdkafka::client::DefaultClientContext;

/// Returns the configuration of a client that has only its `bootstrap.servers`.
pub(crate) fn plain_client(bootstrap: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap);
    config
}

/// Starts an admin client.
pub(crate) fn admin(bootstrap: &str) -> AdminClient<DefaultClientContext> {
    plain_client(bootstrap).create().expect("an admin client starts")
}
