//! The progress and lag of a session's subscriptions, for heartbeats and for the lag limit.

use std::collections::BTreeMap;

use tailcast_proto::{Offset, PartitionId, TopicName, push::v1};

use super::Subscriptions;
use crate::partition::Lag;

impl Subscriptions {
    /// Returns the partitions that moved since the last call, and up to where everything was
    /// delivered.
    ///
    /// True once all messages gathered before have arrived: the heartbeat is written behind them.
    pub(crate) fn progress(&mut self) -> Vec<v1::Progress> {
        struct Partition {
            next: Option<Offset>,
            has_moved: bool,
            behind: Vec<u32>,
        }
        let mut partitions: BTreeMap<(TopicName, PartitionId), Partition> = BTreeMap::new();
        for (_, held) in &mut self.cursors {
            let partition = held.cursor.partition();
            let key = (partition.topic.clone(), partition.id);
            let entry = partitions.entry(key).or_insert(Partition {
                next: None,
                has_moved: false,
                behind: Vec::new(),
            });
            if held.cursor.is_catching_up() || held.is_ready || held.delayed_until.is_some() {
                entry.behind.push(held.alias);
                continue;
            }
            entry.has_moved |= held.cursor.progress().is_some();
            let next = held.cursor.next();
            entry.next = Some(entry.next.map_or(next, |least| least.min(next)));
        }
        let moved = partitions.into_iter().filter(|(_, partition)| partition.has_moved);
        moved
            .filter_map(|((topic, id), partition)| {
                Some(v1::Progress {
                    topic: topic.to_string(),
                    partition: id.get(),
                    next_offset: partition.next?.get(),
                    except_aliases: partition.behind,
                })
            })
            .collect()
    }

    /// Whether a lossless subscription is more than `most` offsets behind what this node has read
    /// of a partition.
    ///
    /// Only records that the client has to get count. A channel without news is not behind,
    /// wherever its cursor is, and neither is a subscription that has not reached the end of its
    /// partition since its start.
    pub(crate) fn is_behind(&self, most: u64) -> bool {
        self.cursors.iter().any(|(_, held)| {
            let waits = held.is_ready || held.cursor.is_catching_up();
            let behind = held.cursor.partition().head().since(held.cursor.next());
            held.cursor.is_lossless() && held.was_live && waits && behind > most
        })
    }

    /// Returns the greatest lag among the partitions.
    pub(crate) fn lag(&self, now_ms: i64) -> Lag {
        let lags = self.cursors.iter().map(|(_, held)| held.cursor.partition().lag(now_ms));
        lags.fold(Lag::default(), |worst, lag| Lag {
            ms: worst.ms.max(lag.ms),
            records: worst.records.max(lag.records),
        })
    }
}
