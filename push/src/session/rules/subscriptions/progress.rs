//! How far a session's subscriptions are, for heartbeats and for the limit of their lag.

use std::collections::BTreeMap;

use tailcast_proto::{Offset, PartitionId, TopicName, push::v1};

use super::Subscriptions;
use crate::partition::Lag;

impl Subscriptions {
    /// Returns the partitions that moved since this was last asked, and up to where everything was handed out.
    ///
    /// True once what was gathered before has arrived: it has to be written behind that.
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

    /// Whether a lossless subscription is more than so many offsets behind what this node has read of a partition.
    ///
    /// What counts is what waits for the client. A channel without news is not behind, wherever it was when it was last
    /// looked at, and neither is a subscription that has not reached the end of its partition since its start.
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
