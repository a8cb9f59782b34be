//! Checks before a subscription starts, and the errors of those that fail.

use std::time::Duration;

use tailcast_proto::{PartitionId, Position, TopicName, push::v1::ErrorCode};
use tailcast_services::topics::{LookupError, Topic};

use super::super::request::{CommandError, Request, Start};
use crate::{log::last_values::LastValuesError, node::hub::Lease};

/// Timeout for a start while last values are being loaded.
const LAST_VALUES_WITHIN: Duration = Duration::from_secs(10);

/// Checks a position against the topic's partitions.
pub(super) fn check_partitions(
    position: &Position,
    topic: &Topic,
    request: &Request,
) -> Result<(), CommandError> {
    let refuse = |index: usize, detail: String| {
        let field = format!("start.position.offsets[{index}].partition");
        Err(CommandError { field, ..CommandError::new(ErrorCode::UnknownPartition, detail) })
    };
    let own = request.channel.partition(topic.partitions);
    for (index, partition) in request.named.iter().enumerate() {
        if partition.get() >= topic.partitions {
            let (name, count) = (&topic.name, topic.partitions);
            return refuse(
                index,
                format!("topic {name} has {count} partitions, and no partition {partition}"),
            );
        }
        // The partition of a key depends on the number of partitions, which may have been any lower
        // number.
        let was_own = |count: u32| request.channel.partition(count) == Some(*partition);
        if let Some(own) = own
            && !(1..=topic.partitions).any(was_own)
        {
            return refuse(index, format!("the records of {} are in partition {own}", request.channel));
        }
    }
    let Some(count) = position.partition_count else { return Ok(()) };
    let is_missing = |id: &u32| !position.offsets.contains_key(&PartitionId::new(*id));
    let missing = match own {
        // A key may have moved when partitions were added; otherwise its partition has to be there.
        Some(own) => (count >= topic.partitions && is_missing(&own.get())).then_some(own.get()),
        None => (0..count.min(topic.partitions)).find(is_missing),
    };
    match missing {
        Some(missing) => {
            let detail = format!("the position has no offset for partition {missing} of {count}");
            Err(CommandError::invalid("start.position.offsets", detail))
        }
        None => Ok(()),
    }
}

/// Waits until a partition's last values are loaded.
pub(super) async fn last_values(lease: &Lease, topic: &TopicName) -> Result<(), CommandError> {
    let field = "start.snapshot".to_owned();
    let refuse = |detail| CommandError { field, ..CommandError::new(ErrorCode::NoLastValues, detail) };
    let Some(kept) = lease.partition.last_values() else {
        return Err(refuse(format!(
            "this node keeps no last values of topic {topic}; set push.topic.{topic}.last_values = true"
        )));
    };
    match tokio::time::timeout(LAST_VALUES_WITHIN, kept.loaded()).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(LastValuesError::TooLarge)) => Err(refuse(format!(
            "the last values of topic {topic} exceed the limit push.last_values.bytes_max"
        ))),
        Ok(Err(LastValuesError::Closed)) => {
            Err(CommandError::unavailable(format!("topic {topic} is changing")))
        }
        Err(_) => {
            Err(CommandError::unavailable(format!("the last values of topic {topic} are still being loaded")))
        }
    }
}

/// The error for a topic that was not found; `field` named it.
pub(super) fn not_found(error: &LookupError, field: &str) -> CommandError {
    match error {
        LookupError::Unknown { .. } => {
            let detail = format!("{error}; a topic that was just created is known within a second");
            CommandError { field: field.to_owned(), ..CommandError::new(ErrorCode::UnknownTopic, detail) }
        }
        LookupError::Unavailable { .. } => CommandError::unavailable(error.to_string()),
    }
}

/// Returns the topic if the position belongs to this incarnation of it.
pub(super) fn check_epoch(topic: Topic, request: &Request) -> Result<Topic, CommandError> {
    let Start::Position(Position { epoch: Some(epoch), .. }) = &request.start else { return Ok(topic) };
    if *epoch == topic.epoch {
        return Ok(topic);
    }
    let detail = format!(
        "the position is of topic id {epoch}; topic {} has id {} now: it was deleted and created again",
        topic.name, topic.epoch
    );
    Err(CommandError {
        field: "start.position.epoch".to_owned(),
        ..CommandError::new(ErrorCode::OtherEpoch, detail)
    })
}
