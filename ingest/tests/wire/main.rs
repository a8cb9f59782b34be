//! Ingest over the wire: a real gRPC client, a real server, and the in-process broker.
//!
//! Tests that need a real Kafka (durability through a crash, topic ids) are scenarios of the
//! workspace.

mod kafka;
mod node;

mod arriving;
mod draining;
mod publishing;
mod refusing;
mod serving;
mod streaming;
mod unread;
