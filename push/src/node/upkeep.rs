//! Background tasks of the node: releasing idle partitions, recovering partitions with a rejected
//! offset, confirming topic ids for the fence, and following changes of topics.
//!
//! Each task waits for its trigger and then calls the hub. None is in the path of a record.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use tailcast_proto::push::v1::UnsubscribeReason;
use tailcast_services::{
    lifecycle::Lifecycle,
    topics::{Topic, TopicChange, Topics},
};
use tokio::{
    sync::{Notify, broadcast},
    time::MissedTickBehavior,
};

use crate::{node::hub::Hub, partition::fence::Needs};

/// Interval at which idle partitions are released.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);
/// Pause between queries for a topic id while Kafka does not answer.
const CONFIRM_PAUSE: Duration = Duration::from_millis(200);
/// Pause between recoveries. librdkafka reports a rejected offset once for each partition, in a
/// burst.
const RECOVERY_PAUSE: Duration = Duration::from_millis(200);

/// Releases idle partitions.
pub(crate) async fn sweep(hub: Arc<Hub>, linger: Duration, lifecycle: Lifecycle) {
    let mut ticks = tokio::time::interval(SWEEP_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = lifecycle.draining() => return,
            now = ticks.tick() => hub.release_idle(now.into_std(), linger),
        }
    }
}

/// Recovers partitions whose offset Kafka rejected.
pub(crate) async fn recover(hub: Arc<Hub>, topics: Topics, rejected: Arc<Notify>, lifecycle: Lifecycle) {
    let recovering = async {
        loop {
            rejected.notified().await;
            recover_rejected(&hub, &topics, &rejected).await;
        }
    };
    tokio::select! {
        () = recovering => {}
        () = lifecycle.closing() => {}
    }
}

async fn recover_rejected(hub: &Hub, topics: &Topics, rejected: &Notify) {
    let is_answered = hub.recover(topics).await;
    tokio::time::sleep(RECOVERY_PAUSE).await;
    if !is_answered {
        rejected.notify_one();
    }
}

/// Confirms topic ids for partitions whose fence holds records.
pub(crate) async fn confirm(hub: Arc<Hub>, topics: Topics, held: Arc<Notify>, lifecycle: Lifecycle) {
    tokio::select! {
        () = confirm_held(&hub, &topics, &held) => {}
        () = lifecycle.closing() => {}
    }
}

async fn confirm_held(hub: &Hub, topics: &Topics, held: &Notify) {
    loop {
        held.notified().await;
        let asking: Vec<_> =
            hub.partitions().into_iter().filter(|partition| partition.begin_confirmation()).collect();
        let names: BTreeSet<_> = asking.iter().map(|partition| partition.topic.clone()).collect();
        let asked_at = Instant::now();
        // Concurrent queries are combined into one request.
        let answers = join_all(names.iter().map(|name| topics.ask(name))).await;
        let answers: BTreeMap<_, _> = names.iter().zip(answers).collect();
        let (mut again, mut is_answered) = (false, true);
        for partition in asking {
            let is_same = match &answers[&partition.topic] {
                Ok(topic) => Some(topic.epoch == partition.epoch),
                // Kafka does not answer, or does not know the topic. If the topic is gone, `follow`
                // ends its subscriptions.
                Err(_) => None,
            };
            let needs = partition.confirmation_result(asked_at, is_same);
            if is_same == Some(false) {
                hub.close_topic(&partition.topic, partition.epoch, UnsubscribeReason::TopicRecreated);
            } else if needs == Needs::Reread {
                hub.reassign(&partition);
            }
            again |= needs == Needs::Confirmation;
            is_answered &= is_same.is_some();
        }
        if !is_answered {
            tokio::time::sleep(CONFIRM_PAUSE).await;
        }
        if again {
            held.notify_one();
        }
    }
}

/// Ends the subscriptions to topics that were deleted, recreated or given more partitions.
pub(crate) async fn follow(hub: Arc<Hub>, topics: Topics, lifecycle: Lifecycle) {
    tokio::select! {
        () = follow_changes(&hub, &topics) => {}
        () = lifecycle.closing() => {}
    }
}

async fn follow_changes(hub: &Hub, topics: &Topics) {
    let mut changes = topics.changes();
    loop {
        let change = changes.recv().await;
        let (topic, reason): (Topic, _) = match change {
            Ok(TopicChange::Deleted { topic }) => (topic, UnsubscribeReason::TopicDeleted),
            Ok(TopicChange::Recreated { old, .. }) => (old, UnsubscribeReason::TopicRecreated),
            Ok(TopicChange::Grown { from, to }) => {
                tracing::warn!(topic = %from.name, from = from.partitions, to = to.partitions, "partitions were added; ending the topic's subscriptions, clients must subscribe again");
                hub.grow_topic(&from);
                continue;
            }
            Err(broadcast::error::RecvError::Lagged(missed)) => {
                // Every client subscribes again with its position and learns what happened to its
                // topic.
                tracing::error!(missed, "topic changes were missed; closing all subscriptions");
                for partition in hub.partitions() {
                    hub.close_topic(&partition.topic, partition.epoch, UnsubscribeReason::PartitionsAdded);
                }
                continue;
            }
            Err(broadcast::error::RecvError::Closed) => return,
        };
        tracing::warn!(topic = %topic.name, ?reason, "topic deleted or recreated; closing its subscriptions");
        hub.close_topic(&topic.name, topic.epoch, reason);
    }
}
