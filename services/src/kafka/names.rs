//! Facts about the names of librdkafka's properties: their aliases, and whether only producers or
//! only consumers have them (librdkafka warns about each property that a client does not use).

/// Aliases and librdkafka's preferred names.
const ALIASES: &[(&str, &str)] = &[
    ("auto.commit.enable", "enable.auto.commit"),
    ("compression.type", "compression.codec"),
    ("delivery.timeout.ms", "message.timeout.ms"),
    ("max.in.flight", "max.in.flight.requests.per.connection"),
    ("max.partition.fetch.bytes", "fetch.message.max.bytes"),
    ("message.send.max.retries", "retries"),
    ("metadata.broker.list", "bootstrap.servers"),
    ("queue.buffering.max.ms", "linger.ms"),
    ("request.required.acks", "acks"),
    ("sasl.mechanism", "sasl.mechanisms"),
];

/// Marked `P` in librdkafka's CONFIGURATION.md, under their preferred names.
const OF_PRODUCERS: &[&str] = &[
    "acks",
    "batch.num.messages",
    "batch.size",
    "compression.codec",
    "compression.level",
    "delivery.report.only.error",
    "enable.gapless.guarantee",
    "enable.idempotence",
    "linger.ms",
    "message.timeout.ms",
    "partitioner",
    "produce.offset.report",
    "queue.buffering.backpressure.threshold",
    "queue.buffering.max.kbytes",
    "queue.buffering.max.messages",
    "queuing.strategy",
    "request.timeout.ms",
    "retries",
    "sticky.partitioning.linger.ms",
    "transaction.timeout.ms",
    "transactional.id",
];

/// Marked `C` in librdkafka's CONFIGURATION.md, under their preferred names.
const OF_CONSUMERS: &[&str] = &[
    "auto.commit.interval.ms",
    "auto.offset.reset",
    "check.crcs",
    "consume.callback.max.messages",
    "coordinator.query.interval.ms",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.partition.eof",
    "fetch.error.backoff.ms",
    "fetch.max.bytes",
    "fetch.message.max.bytes",
    "fetch.min.bytes",
    "fetch.queue.backoff.ms",
    "fetch.wait.max.ms",
    "group.id",
    "group.instance.id",
    "group.protocol",
    "group.protocol.type",
    "group.remote.assignor",
    "heartbeat.interval.ms",
    "isolation.level",
    "max.poll.interval.ms",
    "offset.store.method",
    "offset.store.path",
    "offset.store.sync.interval.ms",
    "partition.assignment.strategy",
    "queued.max.messages.kbytes",
    "queued.min.messages",
    "session.timeout.ms",
];

/// Returns librdkafka's preferred name. If a property were set under both names, the order of a
/// hash map would decide.
pub(super) fn canonical(name: &str) -> &str {
    ALIASES.iter().find(|(alias, _)| *alias == name).map_or(name, |(_, preferred)| preferred)
}

pub(super) fn of_producers(canonical: &str) -> bool {
    !OF_CONSUMERS.contains(&canonical)
}

pub(super) fn of_consumers(canonical: &str) -> bool {
    !OF_PRODUCERS.contains(&canonical)
}

/// Returns whether only one kind of client has this property.
pub(super) fn of_one_kind(canonical: &str) -> bool {
    OF_PRODUCERS.contains(&canonical) || OF_CONSUMERS.contains(&canonical)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alias_stands_for_its_preferred_name() {
        assert_eq!(canonical("queue.buffering.max.ms"), "linger.ms");
        assert_eq!(canonical("linger.ms"), "linger.ms");
        assert_eq!(canonical("debug"), "debug");
    }
}
