//! The table of every librdkafka property that Tailcast sets or owns.

use std::fmt;

use super::names;

/// One property, with the reason for its value.
#[derive(Clone, Copy, Debug)]
pub struct Property {
    /// librdkafka's name.
    pub name: &'static str,
    /// The value; `None` if operators must not set the property, and Tailcast sets it elsewhere or
    /// never.
    pub value: Option<&'static str>,
    /// Whether operators may change it.
    pub standing: Standing,
    /// The clients that use it.
    pub roles: &'static [Role],
    /// The reason for the value; for an owned property, the promise that would break.
    pub reason: &'static str,
}

/// Whether operators may change a property in `[kafka.properties]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// A default, which may be changed.
    Preset,
    /// A promise depends on the value: setting it is an error.
    Owned,
}

/// The role of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Writes the messages of `ingest`.
    Producer,
    /// Reads partitions as they grow.
    Tail,
    /// Reads a range of old records.
    Reader,
    /// Queries metadata of topics.
    Directory,
}

impl Role {
    /// Whether librdkafka's kind of client for this role has a property of this name.
    pub(super) fn has(self, canonical: &str) -> bool {
        match self {
            Self::Producer => names::of_producers(canonical),
            Self::Tail | Self::Reader | Self::Directory => names::of_consumers(canonical),
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Producer => "producer",
            Self::Tail => "tail",
            Self::Reader => "reader",
            Self::Directory => "directory",
        })
    }
}

/// Every property that Tailcast sets or owns, in the order of the documentation.
pub fn properties() -> &'static [Property] {
    PROPERTIES
}

/// The reason why operators must not set this property, if it is owned.
pub(super) fn owned(canonical: &str) -> Option<&'static str> {
    let owned = |property: &&Property| property.name == canonical && property.standing == Standing::Owned;
    PROPERTIES.iter().find(owned).map(|property| property.reason)
}

const ALL: &[Role] = &[Role::Producer, Role::Tail, Role::Reader, Role::Directory];
const CONSUMERS: &[Role] = &[Role::Tail, Role::Reader, Role::Directory];
const READING: &[Role] = &[Role::Tail, Role::Reader];
const PRODUCER: &[Role] = &[Role::Producer];
const TAIL: &[Role] = &[Role::Tail];
const READER: &[Role] = &[Role::Reader];

const fn preset(
    name: &'static str,
    value: &'static str,
    roles: &'static [Role],
    reason: &'static str,
) -> Property {
    Property { name, value: Some(value), standing: Standing::Preset, roles, reason }
}

const fn owned_as(
    name: &'static str,
    value: &'static str,
    roles: &'static [Role],
    reason: &'static str,
) -> Property {
    Property { name, value: Some(value), standing: Standing::Owned, roles, reason }
}

const fn refused(name: &'static str, reason: &'static str) -> Property {
    Property { name, value: None, standing: Standing::Owned, roles: &[], reason }
}

#[rustfmt::skip]
const PROPERTIES: &[Property] = &[
    // Every client.
    refused("bootstrap.servers", "set kafka.brokers instead"),
    refused("log.queue", "librdkafka's log is written to Tailcast's log"),
    refused("enabled_events", "the client library chooses the events it polls for"),
    owned_as("allow.auto.create.topics", "false", ALL,
        "a misspelt name must not create a topic, and a publish must not recreate a deleted one"),
    preset("client.id", "tailcast", ALL, "names Tailcast in the brokers' logs, metrics and quotas"),
    preset("socket.keepalive.enable", "true", ALL,
        "detects connections that a firewall dropped silently"),
    preset("socket.timeout.ms", "10000", ALL,
        "abandons a silent broker after 10 s; the default of 60 s exceeds the timeouts of clients"),
    preset("socket.connection.setup.timeout.ms", "5000", ALL,
        "tries the next address after 5 s without an answer; the default is 30 s"),
    preset("reconnect.backoff.max.ms", "2000", ALL,
        "uses a recovered broker within 2 s; the default is 10 s"),
    preset("topic.metadata.refresh.interval.ms", "10000", ALL,
        "detects new partitions and moved leaders within 10 s; the default is 5 minutes"),
    preset("log.connection.close", "false", ALL, "brokers close idle connections, which is normal"),
    preset("enable.metrics.push", "false", ALL, "Tailcast has its own metrics; brokers need not collect librdkafka's"),

    // Producer.
    owned_as("acks", "all", PRODUCER, "an acknowledged publish survives the loss of any one broker (P1)"),
    owned_as("enable.idempotence", "true", PRODUCER,
        "a retry after a lost answer must neither repeat nor reorder records (P2, P3)"),
    owned_as("partitioner", "murmur2_random", PRODUCER,
        "push nodes compute a key's partition as Java producers do; librdkafka's own default differs"),
    owned_as("delivery.report.only.error", "false", PRODUCER, "the acknowledgement carries the offset"),
    refused("transactional.id", "messages are acknowledged one by one, and nothing would commit the transaction"),
    preset("linger.ms", "1", PRODUCER,
        "records within 1 ms share a request: at 5,000/s this halves the brokers' work and adds up to 1 ms of latency"),
    preset("message.timeout.ms", "30000", PRODUCER,
        "reports the outcome of a record after 30 s of retries; the default is 5 minutes"),
    preset("topic.metadata.propagation.max.ms", "5000", PRODUCER,
        "fails records for a deleted topic after 5 s; the default is 30 s"),
    preset("message.max.bytes", "1000000", PRODUCER,
        "the size limit of a record; by default, brokers allow batches of 1,048,588 bytes"),
    refused("queue.buffering.max.messages",
        "set ingest.in_flight_messages_max instead; ingest keeps this queue larger than that limit"),
    refused("queue.buffering.max.kbytes",
        "set ingest.in_flight_bytes_max instead; ingest keeps this queue larger than that limit"),

    // Consumers.
    owned_as("group.id", "tailcast", READING,
        "assigning partitions requires a group id, but no group is joined and no offset is committed"),
    owned_as("enable.auto.commit", "false", CONSUMERS, "positions belong to clients, not to a group"),
    owned_as("enable.auto.offset.store", "false", CONSUMERS, "positions belong to clients, not to a group"),
    owned_as("auto.offset.reset", "error", CONSUMERS,
        "a position deleted by retention is reported to the client, never moved silently (P5)"),
    refused("group.instance.id", "no group is joined"),
    refused("group.protocol", "no group is joined"),
    refused("partition.assignment.strategy", "no group is joined: partitions are assigned by interest"),
    owned_as("fetch.error.backoff.ms", "500", READING,
        "the pause after a topic disappeared: a partition that delivers within this time was not recreated"),
    owned_as("enable.partition.eof", "true", READER, "a catch-up ends where the partition ends"),
    owned_as("statistics.interval.ms", "1000", TAIL, "the lag that nodes report is taken from these statistics"),
    preset("fetch.wait.max.ms", "10", READING,
        "a new subscription waits for the fetch in flight, by default 500 ms; 10 ms cost 2 % of a core when idle"),
    preset("fetch.queue.backoff.ms", "10", READING,
        "resumes fetching 10 ms after the local queue was full; the default is 1 s"),
    preset("check.crcs", "true", READING, "detects records that were corrupted in transit"),
    preset("isolation.level", "read_committed", READING, "records of aborted transactions are not delivered"),
    preset("queued.max.messages.kbytes", "32768", TAIL, "limits fetched records that are not in a window yet to 32 MiB"),
    preset("queued.min.messages", "10000", TAIL, "prefetch per partition; queued.max.messages.kbytes limits its size"),
    preset("queued.max.messages.kbytes", "4096", READER, "catch-up reads short pages, and records beyond a page are discarded"),
    preset("queued.min.messages", "1000", READER, "catch-up reads short pages, and records beyond a page are discarded"),
];
