//! The contract of Tailcast: the protobuf types of both services, and the values that their fields
//! are parsed into.
//!
//! Topics, keys, partitions, offsets and positions are parsed once, at the edge, into types that
//! cannot hold invalid values. The rest of the code never sees a bare string or integer for one of
//! them.
//!
//! This crate does no IO and knows neither service.

mod topic_name;

mod key;

mod channel;

mod partition;

mod epoch;

mod position;

pub mod delivery;

pub use self::{
    channel::{Channel, ChannelError, Keys},
    epoch::{Epoch, EpochError},
    key::{Key, KeyError},
    partition::{Offset, PartitionId, PartitionIdError, partition_of_key},
    position::{Position, PositionError},
    topic_name::{TopicName, TopicNameError},
};

/// The descriptors of both packages, for gRPC reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/tailcast.bin"));

/// Publishing: `tailcast.ingest.v1`.
pub mod ingest {
    /// Version 1.
    #[allow(
        missing_docs,
        clippy::all,
        clippy::pedantic,
        clippy::nursery,
        clippy::restriction,
        reason = "generated"
    )]
    pub mod v1 {
        tonic::include_proto!("tailcast.ingest.v1");
    }
}

/// Receiving: `tailcast.push.v1`.
pub mod push {
    /// Version 1.
    #[allow(
        missing_docs,
        clippy::all,
        clippy::pedantic,
        clippy::nursery,
        clippy::restriction,
        reason = "generated"
    )]
    pub mod v1 {
        tonic::include_proto!("tailcast.push.v1");
        include!(concat!(env!("OUT_DIR"), "/tailcast.push.v1.serde.rs"));
    }
}
