//! Messages about the start and the end of subscriptions.

use tailcast_client::Subscribed;
use tailcast_proto::push::v1::{Outcome, SkipReason, UnsubscribeReason};

/// Returns whether the subscription's positions belong to a log that no longer exists.
pub(super) fn is_of_another_log(reason: UnsubscribeReason) -> bool {
    match reason {
        UnsubscribeReason::TopicDeleted
        | UnsubscribeReason::TopicRecreated
        | UnsubscribeReason::LogTruncated => true,
        UnsubscribeReason::PartitionsAdded
        | UnsubscribeReason::Forbidden
        | UnsubscribeReason::Closing
        | UnsubscribeReason::Requested
        | UnsubscribeReason::Unspecified => false,
    }
}

/// Returns how a subscription has started.
pub(super) fn started(Subscribed { channel, position, outcome, .. }: &Subscribed) -> String {
    if *outcome == Outcome::Lost {
        return format!("{channel}: older records are no longer in Kafka; continuing at {position}");
    }
    let outcome = outcome.as_str_name().trim_start_matches("OUTCOME_").to_lowercase();
    format!("{channel}: {}", outcome.replace('_', " "))
}

/// Returns why a subscription has ended.
pub(super) fn end_reason(reason: UnsubscribeReason) -> &'static str {
    match reason {
        UnsubscribeReason::TopicDeleted => "the topic was deleted",
        UnsubscribeReason::TopicRecreated => "the topic was deleted and created again",
        UnsubscribeReason::LogTruncated => "Kafka's log was truncated before the position",
        UnsubscribeReason::PartitionsAdded => "the topic has more partitions",
        UnsubscribeReason::Forbidden => "reading the channel is no longer permitted",
        UnsubscribeReason::Closing => "the node closes the session",
        UnsubscribeReason::Requested | UnsubscribeReason::Unspecified => "the node gave no reason",
    }
}

/// Returns why records were skipped.
pub(super) fn skip_reason(reason: SkipReason) -> &'static str {
    match reason {
        SkipReason::Retention => "Kafka has deleted them",
        SkipReason::Conflated => "newer records of their keys follow",
        SkipReason::Truncated => "Kafka's log was truncated",
        SkipReason::Unspecified => "the node gave no reason",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_of_a_log_that_is_gone_is_not_offered() {
        // The command that continues named the position of the deleted topic, at which no
        // subscription can start.
        assert!(is_of_another_log(UnsubscribeReason::TopicRecreated));
        assert!(is_of_another_log(UnsubscribeReason::TopicDeleted));
        assert!(!is_of_another_log(UnsubscribeReason::Closing));
    }
}
