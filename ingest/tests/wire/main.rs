//! The way in, over the wire: a real gRPC client, a real server, and the in-process broker.
//!
//! What needs a real Kafka (durability through a crash, topic ids) is in the workspace's scenarios.

mod kafka;
mod node;

mod arriving;
mod draining;
mod publishing;
mod refusing;
mod serving;
mod streaming;
mod unread;
