//! A connection to ingest, for the commands that publish.

use std::time::Duration;

use futures_util::Stream;
use tailcast_proto::ingest::v1::{
    PublishRequest, PublishResponse, PublishStreamRequest, PublishStreamResponse,
    ingest_service_client::IngestServiceClient,
};
use tonic::{
    Request, Status, Streaming,
    transport::{Channel, Endpoint},
};

/// A connection to ingest. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Publisher {
    client: IngestServiceClient<Channel>,
    timeout: Duration,
}

/// Why there is no connection to ingest.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    /// The address is not one.
    #[error("{address:?} is not the address of ingest; an address is HOST:PORT")]
    Address {
        /// What was given.
        address: String,
    },
    /// Nobody answers there.
    #[error("cannot reach ingest at {address}; is it running, or does --ingest name another one?")]
    Unreachable {
        /// Where.
        address: String,
        /// Why not.
        source: tonic::transport::Error,
    },
}

impl Publisher {
    /// Connects to `address`, and waits at most `timeout` for that and later for every answer.
    pub(crate) async fn connect(address: &str, timeout: Duration) -> Result<Self, ConnectError> {
        let endpoint = endpoint(address, timeout)?;
        let unreachable = |source| ConnectError::Unreachable { address: address.to_owned(), source };
        let channel = endpoint.connect().await.map_err(unreachable)?;
        Ok(Self { client: IngestServiceClient::new(channel), timeout })
    }

    /// Connects when the first publish needs it, and again after a drop.
    pub(crate) fn connect_lazily(address: &str, timeout: Duration) -> Result<Self, ConnectError> {
        let channel = endpoint(address, timeout)?.connect_lazy();
        Ok(Self { client: IngestServiceClient::new(channel), timeout })
    }

    /// Publishes a batch.
    pub(crate) async fn publish(&self, batch: PublishRequest) -> Result<PublishResponse, Status> {
        let mut request = Request::new(batch);
        request.set_timeout(self.timeout);
        Ok(self.client.clone().publish(request).await?.into_inner())
    }

    /// Opens a stream of messages.
    pub(crate) async fn publish_stream<S>(
        &self,
        requests: S,
    ) -> Result<Streaming<PublishStreamResponse>, Status>
    where
        S: Stream<Item = PublishStreamRequest> + Send + 'static,
    {
        Ok(self.client.clone().publish_stream(requests).await?.into_inner())
    }
}

fn endpoint(address: &str, timeout: Duration) -> Result<Endpoint, ConnectError> {
    let invalid = || ConnectError::Address { address: address.to_owned() };
    let host_and_port = address
        .rsplit_once(':')
        .is_some_and(|(host, port)| !host.is_empty() && !host.contains('/') && port.parse::<u16>().is_ok());
    if !host_and_port {
        return Err(invalid());
    }
    let endpoint = Endpoint::from_shared(format!("http://{address}")).map_err(|_| invalid())?;
    Ok(endpoint.connect_timeout(timeout))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(address: &str, good: bool) {
        assert_eq!(endpoint(address, Duration::from_secs(1)).is_ok(), good, "{address:?}");
    }

    #[test]
    fn the_address_of_ingest_is_a_host_and_a_port() {
        check("127.0.0.1:9090", true);
        check("ingest.internal:9090", true);
        check("[::1]:9090", true);
        check("127.0.0.1", false);
        check("http://127.0.0.1:9090", false);
        check(":9090", false);
        check("host:99999", false);
        check("", false);
    }
}
