//! Kafka without a service between: topics, bare consumers, and producers that count answers.

mod consumer;

mod producer;

mod topic;

pub(crate) use self::{
    consumer::Consumer,
    producer::Producer,
    topic::{Topic, create_topic},
};
