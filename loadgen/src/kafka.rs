//! Direct access to Kafka: topics, bare consumers, and producers that count delivery reports.

mod consumer;

mod producer;

mod topic;

pub(crate) use self::{
    consumer::Consumer,
    producer::Producer,
    topic::{Topic, create_topic},
};
