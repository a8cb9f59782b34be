//! Finds where a subscription starts, asking Kafka where necessary.

mod checks;

use std::{collections::BTreeSet, sync::Arc};

use tailcast_proto::{
    Epoch, Offset, PartitionId,
    push::v1::{self, ErrorCode, Outcome, UnsubscribeReason},
};
use tailcast_services::topics::{Topic, Topics};
use tokio::time::sleep;

use self::checks::{check_epoch, check_partitions, last_values, not_found};
use super::request::{CommandError, Request, Start};
use crate::{
    cursor::StartAt,
    kafka::offsets::{OffsetsError, confirmed_watermarks},
    node::hub::{Hub, Lease, LeaseError, TimeLookupError},
    record::channel::NodeChannel,
};

/// Finds where subscriptions start.
#[derive(Debug, Clone)]
pub(crate) struct Starter {
    pub(crate) hub: Arc<Hub>,
    pub(crate) topics: Topics,
}

/// A subscription that can start.
#[derive(Debug)]
pub(crate) struct Started {
    pub(crate) channel: Arc<NodeChannel>,
    pub(crate) epoch: Epoch,
    /// How many partitions the topic has.
    pub(crate) partition_count: u32,
    /// Each partition of the channel, with where it starts.
    pub(crate) partitions: Vec<(Lease, StartAt)>,
    pub(crate) outcome: Outcome,
    pub(crate) lost: Vec<v1::LostRange>,
}

/// Where one partition starts, and with which outcome.
struct PartitionStart {
    lease: Lease,
    from: StartAt,
    outcome: Outcome,
    lost: Option<v1::LostRange>,
}

/// Why a start was not found.
enum Obstacle {
    Refused(CommandError),
    /// This node tails the topic as another incarnation.
    OtherEpoch {
        found: Epoch,
    },
    /// This node tails the topic as one with another number of partitions.
    OtherCount {
        found: u32,
    },
}

/// Maximum number of attempts while the topic changes.
const TRIES_MAX: u32 = 3;

impl Starter {
    /// Finds where a subscription starts. Waits for Kafka where it has to; cancel safe.
    ///
    /// # Errors
    ///
    /// The error that answers the command.
    pub(super) async fn start(&self, request: &Request) -> Result<Started, CommandError> {
        let mut topic = self.topic(request).await?;
        for _ in 0..TRIES_MAX {
            let found = self.find_in(&topic, request).await;
            // Kafka's answer may concern a topic that was created in between, under the same name.
            let is_certain = found.as_ref().is_ok_and(|started| started.lost.is_empty());
            let now = if is_certain { self.topics.cached(&topic.name) } else { self.ask(request).await.ok() };
            let now = now.unwrap_or_else(|| topic.clone());
            match found {
                Err(Obstacle::OtherEpoch { found }) if found != now.epoch => {
                    // This node has just learnt that the topic was recreated, and its subscriptions
                    // do not know yet.
                    self.hub.close_topic(&topic.name, found, UnsubscribeReason::TopicRecreated);
                }
                Err(Obstacle::OtherCount { found }) if found < now.partitions => {
                    // The same for partitions that were added.
                    self.hub.grow_topic(&Topic { partitions: found, ..now.clone() });
                }
                Ok(started) if now == topic => return Ok(started),
                Err(Obstacle::Refused(refusal)) if now == topic => return Err(refusal),
                _ => {}
            }
            topic = check_epoch(now, request)?;
        }
        Err(CommandError::unavailable(format!("topic {} is changing", topic.name)))
    }

    async fn find_in(&self, topic: &Topic, request: &Request) -> Result<Started, Obstacle> {
        if let Start::Position(position) = &request.start {
            check_partitions(position, topic, request)?;
        }
        let home = request.channel.partition(topic.partitions);
        let starts = self
            .partitions(topic, request, home)
            .into_iter()
            .map(|partition| self.start_partition(topic, (partition, home), &request.start));
        let starts = futures_util::future::try_join_all(starts).await?;

        let outcome = starts.iter().map(|start| start.outcome).max_by_key(|outcome| severity(*outcome));
        let lost = starts.iter().filter_map(|start| start.lost).collect();
        Ok(Started {
            channel: self.hub.channel(&request.channel, home),
            epoch: topic.epoch,
            partition_count: topic.partitions,
            partitions: starts.into_iter().map(|start| (start.lease, start.from)).collect(),
            outcome: outcome.unwrap_or(Outcome::Live),
            lost,
        })
    }

    /// Returns the partitions that a channel spans. For one key: the one that it belongs to, and
    /// those that it belonged to before partitions were added, as far as this node has seen that or
    /// the position says so. Producers that have not heard of the new partitions still write there.
    fn partitions(&self, topic: &Topic, request: &Request, home: Option<PartitionId>) -> Vec<PartitionId> {
        let Some(home) = home else { return (0..topic.partitions).map(PartitionId::new).collect() };
        let seen = self.hub.earlier_counts(topic).into_iter();
        let seen = seen.filter_map(|count| request.channel.partition(count));
        let earlier: BTreeSet<_> =
            seen.chain(request.named.iter().copied()).filter(|id| *id != home).collect();
        // The key's own partition comes last, because of two last values its value is most likely
        // the newer one.
        earlier.into_iter().chain([home]).collect()
    }

    /// Looks the topic up, and asks Kafka when the position is of another incarnation: the client
    /// may know of a recreation that this node has not heard of yet.
    async fn topic(&self, request: &Request) -> Result<Topic, CommandError> {
        let found = self.topics.lookup(&request.channel.topic).await;
        let topic = found.map_err(|error| not_found(&error, request.topic_field))?;
        match check_epoch(topic, request) {
            Ok(topic) => Ok(topic),
            Err(_) => check_epoch(self.ask(request).await?, request),
        }
    }

    async fn ask(&self, request: &Request) -> Result<Topic, CommandError> {
        let answer = self.topics.ask(&request.channel.topic).await;
        answer.map_err(|error| not_found(&error, request.topic_field))
    }

    async fn start_partition(
        &self,
        topic: &Topic,
        (id, home): (PartitionId, Option<PartitionId>),
        start: &Start,
    ) -> Result<PartitionStart, Obstacle> {
        let lease = self.hub.lease(topic, id).await?;
        // The node's head is a few milliseconds behind Kafka's end at most, and a record in between
        // is delivered: a live subscription may get a record that was appended just before it, and
        // never misses one appended after it.
        let head = lease.partition.head();
        match start {
            Start::Live => Ok(PartitionStart::live(lease, head)),
            Start::Earliest => {
                let low = self.hub.watermarks(&lease, false).await?.low;
                Ok(PartitionStart::at(lease, low))
            }
            Start::Timestamp(timestamp) => {
                let found = self.hub.at_time(&lease, *timestamp).await?;
                Ok(PartitionStart::at(lease, found.unwrap_or(head)))
            }
            Start::Snapshot => {
                last_values(&lease, &topic.name).await?;
                Ok(PartitionStart {
                    lease,
                    from: StartAt::LastValues,
                    outcome: Outcome::Snapshot,
                    lost: None,
                })
            }
            Start::Position(position) => match position.offsets.get(&id) {
                Some(next) => self.resume(lease, *next).await,
                // A partition that is younger than the position has nothing that the client has
                // seen, and neither has one that the channel's only key moved to since.
                None if position.partition_count.is_some_and(|count| count < topic.partitions)
                    && home.is_none_or(|home| home == id) =>
                {
                    let low = self.hub.watermarks(&lease, false).await?.low;
                    Ok(PartitionStart::at(lease, low))
                }
                // The position is complete or was written by a person, which `check_partitions` has
                // seen to; or the key belonged to this partition before the position was taken.
                None => Ok(PartitionStart::live(lease, head)),
            },
        }
    }

    async fn resume(&self, lease: Lease, next: Offset) -> Result<PartitionStart, Obstacle> {
        let partition = &lease.partition;
        if next > partition.head() {
            // A refused position needs a person, so Kafka is asked first.
            let high = confirmed_watermarks(next, || self.hub.watermarks(&lease, true), sleep).await?.high;
            if next > high {
                let id = partition.id;
                let detail = format!("offset {next} is beyond the end of partition {id}, offset {high}");
                let field = "start.position.offsets".to_owned();
                return Err(CommandError {
                    field,
                    ..CommandError::new(ErrorCode::PositionBeyondEnd, detail)
                }
                .into());
            }
        } else if next < partition.tail() {
            let low = self.hub.watermarks(&lease, false).await?.low;
            if next < low {
                let lost = v1::LostRange {
                    partition: partition.id.get(),
                    first_offset: next.get(),
                    next_offset: low.get(),
                };
                return Ok(PartitionStart {
                    lost: Some(lost),
                    outcome: Outcome::Lost,
                    ..PartitionStart::at(lease, low)
                });
            }
        }
        Ok(PartitionStart::at(lease, next))
    }
}

impl PartitionStart {
    /// Starts at the end.
    fn live(lease: Lease, head: Offset) -> Self {
        Self { lease, from: StartAt::Offset(head), outcome: Outcome::Live, lost: None }
    }

    /// Starts at an offset that Kafka has.
    fn at(lease: Lease, next: Offset) -> Self {
        let is_in_window = next >= lease.partition.tail();
        let outcome = if is_in_window { Outcome::Resumed } else { Outcome::CatchingUp };
        Self { lease, from: StartAt::Offset(next), outcome, lost: None }
    }
}

/// Orders outcomes, for a channel whose partitions had different ones: the client gets the highest.
fn severity(outcome: Outcome) -> u8 {
    match outcome {
        Outcome::Unspecified => 0,
        Outcome::Live | Outcome::Snapshot => 1,
        Outcome::Resumed => 2,
        Outcome::CatchingUp => 3,
        Outcome::Lost => 4,
    }
}

impl From<CommandError> for Obstacle {
    fn from(refusal: CommandError) -> Self {
        Self::Refused(refusal)
    }
}

impl From<OffsetsError> for Obstacle {
    fn from(error: OffsetsError) -> Self {
        Self::Refused(CommandError::unavailable(error.to_string()))
    }
}

impl From<TimeLookupError> for Obstacle {
    fn from(error: TimeLookupError) -> Self {
        Self::Refused(CommandError::unavailable(error.to_string()))
    }
}

impl From<LeaseError> for Obstacle {
    fn from(error: LeaseError) -> Self {
        match error {
            LeaseError::OtherEpoch { found } => Self::OtherEpoch { found },
            LeaseError::OtherCount { found } => Self::OtherCount { found },
            LeaseError::Offsets(_) | LeaseError::Assign(_) => {
                Self::Refused(CommandError::unavailable(error.to_string()))
            }
        }
    }
}
