//! The table of every librdkafka property that Tailcast sets or keeps for itself.

use std::fmt;

use super::names;

/// One property and why it is as it is.
#[derive(Clone, Copy, Debug)]
pub struct Property {
    /// librdkafka's name.
    pub name: &'static str,
    /// The value it is set to; `None` where it must not be set from outside and Tailcast sets it by other means or never.
    pub value: Option<&'static str>,
    /// Whether a person may change it.
    pub standing: Standing,
    /// The clients that get it.
    pub roles: &'static [Role],
    /// Why this value; for an owned property, what would break.
    pub reason: &'static str,
}

/// Whether a person may change a property in `[kafka.properties]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is a default that suits most.
    Preset,
    /// A promise depends on it: setting it is refused.
    Owned,
}

/// What a client is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Writes what `ingest` accepted.
    Producer,
    /// Reads partitions as they grow.
    Tail,
    /// Reads a range of old records.
    Reader,
    /// Asks which topics exist.
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

/// Every property that Tailcast sets or keeps for itself, in the order of the documentation.
pub fn properties() -> &'static [Property] {
    PROPERTIES
}

/// Why a person may not set this property, if so.
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
    refused("bootstrap.servers", "the brokers are given in kafka.brokers"),
    refused("log.queue", "librdkafka's log is written to Tailcast's log"),
    refused("enabled_events", "the client library chooses the events it polls for"),
    owned_as("allow.auto.create.topics", "false", ALL,
        "a mistyped name must not create a topic, nor a publish one that was deleted"),
    preset("client.id", "tailcast", ALL, "names Tailcast in the brokers' logs, metrics and quotas"),
    preset("socket.keepalive.enable", "true", ALL,
        "a connection that a firewall dropped in silence is noticed"),
    preset("socket.timeout.ms", "10000", ALL,
        "a broker that answers nothing is given up after 10 s; the default minute is longer than a client waits"),
    preset("socket.connection.setup.timeout.ms", "5000", ALL,
        "an address where nobody answers is left for the next after 5 s instead of 30"),
    preset("reconnect.backoff.max.ms", "2000", ALL,
        "a broker that is back is used within 2 s; the default waits up to 10"),
    preset("topic.metadata.refresh.interval.ms", "10000", ALL,
        "new partitions and moved leaders are known within 10 s; the default is 5 minutes"),
    preset("log.connection.close", "false", ALL, "brokers close idle connections, which is normal"),
    preset("enable.metrics.push", "false", ALL, "Tailcast has metrics of its own; brokers need not collect librdkafka's"),

    // What writes.
    owned_as("acks", "all", PRODUCER, "an acknowledged publish survives the loss of any one broker (P1)"),
    owned_as("enable.idempotence", "true", PRODUCER,
        "a retry after a lost answer must neither repeat nor reorder records (P2, P3)"),
    owned_as("partitioner", "murmur2_random", PRODUCER,
        "push nodes compute a key's partition as Java producers do; librdkafka's own default differs"),
    owned_as("delivery.report.only.error", "false", PRODUCER, "the acknowledgement carries the offset"),
    refused("transactional.id", "publishes are acknowledged one by one; nothing would commit the transaction"),
    preset("linger.ms", "1", PRODUCER,
        "records within 1 ms share a request: at 5,000/s that halves the brokers' work of 0, for 1 ms of 1.2 to a consumer"),
    preset("message.timeout.ms", "30000", PRODUCER,
        "a record is tried for 30 s, then its outcome is reported; the default is 5 minutes"),
    preset("topic.metadata.propagation.max.ms", "5000", PRODUCER,
        "a topic that was deleted a moment ago fails its records after 5 s instead of 30"),
    preset("message.max.bytes", "1000000", PRODUCER,
        "the largest record; brokers allow 1,048,588 bytes for a batch by default"),
    refused("queue.buffering.max.messages",
        "ingest keeps it above ingest.in_flight_messages_max, which is the bound to set, because ingest can answer at it"),
    refused("queue.buffering.max.kbytes",
        "ingest keeps it above ingest.in_flight_bytes_max, which is the bound to set, because ingest can answer at it"),

    // What reads.
    owned_as("group.id", "tailcast", READING,
        "assigning partitions needs a name, but there is no group: none is joined and nothing is committed under it"),
    owned_as("enable.auto.commit", "false", CONSUMERS, "positions belong to clients, not to a group"),
    owned_as("enable.auto.offset.store", "false", CONSUMERS, "positions belong to clients, not to a group"),
    owned_as("auto.offset.reset", "error", CONSUMERS,
        "a position that Kafka no longer has is reported to the client, never moved silently (P5)"),
    refused("group.instance.id", "no group is joined"),
    refused("group.protocol", "no group is joined"),
    refused("partition.assignment.strategy", "no group is joined: partitions are assigned by interest"),
    owned_as("fetch.error.backoff.ms", "500", READING,
        "the pause after a topic vanished: a partition that delivered within it cannot have been recreated"),
    owned_as("enable.partition.eof", "true", READER, "a catch-up ends where the partition ends"),
    owned_as("statistics.interval.ms", "1000", TAIL, "the lag that nodes report is taken from these statistics"),
    preset("fetch.wait.max.ms", "10", READING,
        "a newly watched partition waits for the request in flight: 500 ms by default; idle, 10 costs 2 % of a core"),
    preset("fetch.queue.backoff.ms", "10", READING,
        "when the local queue was full, fetching goes on 10 ms after there is room; the default is a second"),
    preset("check.crcs", "true", READING, "a record that was damaged on its way is not delivered"),
    preset("isolation.level", "read_committed", READING, "records of aborted transactions are not delivered"),
    preset("queued.max.messages.kbytes", "32768", TAIL, "bounds fetched records that are not in a window yet: 32 MiB"),
    preset("queued.min.messages", "10000", TAIL, "prefetch per partition; bounded in bytes by the line above"),
    preset("queued.max.messages.kbytes", "4096", READER, "a page is short, and records beyond it are dropped"),
    preset("queued.min.messages", "1000", READER, "a page is short, and records beyond it are dropped"),
];
