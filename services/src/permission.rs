//! Permissions of principals.
//!
//! A service checks [`Permissions`] in one place on each way: ingest for each message before it
//! looks up the topic, push before it starts a subscription or reads a page for it. So a client
//! without permission cannot find out which topics exist. Nothing restricts clients yet: services
//! run with [`Permissions::unrestricted`].
//!
//! Invariant: a denial concerns one action. The other actions of the same request are not affected.

use std::{fmt, sync::Arc};

use tailcast_proto::{Channel, Key, TopicName};

use crate::principal::Principal;

/// An action that needs a permission.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action<'a> {
    /// Publish one record.
    Publish {
        /// The record's topic.
        topic: &'a TopicName,
        /// The record's key, if it has one.
        key: Option<&'a Key>,
    },
    /// Subscribe to a channel.
    Subscribe(&'a Channel),
}

/// Decides about permissions.
///
/// A policy is called for every message and every subscription, so it must not block.
pub trait Policy: Send + Sync + 'static {
    /// Returns whether the principal may take the action.
    fn allows(&self, principal: &Principal, action: Action<'_>) -> bool;
}

/// The policy of this node. Clones share it.
#[derive(Clone)]
pub struct Permissions(Arc<dyn Policy>);

/// The policy does not allow the action. The message names the topic and not the key, so it is
/// short and contains no bytes but those of a valid topic name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PermissionDenied {
    /// The record must not be published.
    #[error("permission denied: {principal} may not publish this record to topic {topic}")]
    Publish {
        /// The denied principal.
        principal: Principal,
        /// The record's topic.
        topic: TopicName,
    },
    /// The subscription must not start.
    #[error("permission denied: {principal} may not subscribe to this channel of topic {topic}")]
    Subscribe {
        /// The denied principal.
        principal: Principal,
        /// The channel's topic.
        topic: TopicName,
    },
}

/// Everybody may do everything.
struct Unrestricted;

impl Permissions {
    /// Permissions by this policy.
    #[must_use]
    pub fn new(policy: impl Policy) -> Self {
        Self(Arc::new(policy))
    }

    /// Everybody may do everything.
    #[must_use]
    pub fn unrestricted() -> Self {
        Self::new(Unrestricted)
    }

    /// Checks whether the principal may take the action.
    ///
    /// # Errors
    ///
    /// When the policy does not allow it.
    pub fn check(&self, principal: &Principal, action: Action<'_>) -> Result<(), PermissionDenied> {
        if self.0.allows(principal, action) {
            return Ok(());
        }
        let principal = principal.clone();
        let denied = match action {
            Action::Publish { topic, .. } => PermissionDenied::Publish { principal, topic: topic.clone() },
            Action::Subscribe(Channel { topic, .. }) => {
                PermissionDenied::Subscribe { principal, topic: topic.clone() }
            }
        };
        tracing::debug!("{denied}");
        Err(denied)
    }
}

impl Policy for Unrestricted {
    fn allows(&self, _: &Principal, _: Action<'_>) -> bool {
        true
    }
}

impl<F> Policy for F
where
    F: Fn(&Principal, Action<'_>) -> bool + Send + Sync + 'static,
{
    fn allows(&self, principal: &Principal, action: Action<'_>) -> bool {
        self(principal, action)
    }
}

impl fmt::Debug for Permissions {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Permissions").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Denies every action on the channel `quotes/AAPL`.
    fn permissions() -> Permissions {
        Permissions::new(|_: &Principal, action: Action<'_>| match action {
            Action::Publish { topic, key } => {
                (topic.as_str(), key.map(AsRef::as_ref)) != ("quotes", Some(b"AAPL".as_slice()))
            }
            Action::Subscribe(channel) => {
                channel.topic.as_str() != "quotes" || !channel.matches(Some(b"AAPL"))
            }
        })
    }

    #[track_caller]
    fn check(permissions: &Permissions, channel: &str, expected: [&str; 2]) {
        let channel: Channel = channel.parse().expect("a channel");
        let key = match &channel.keys {
            tailcast_proto::Keys::Exact(key) => Some(key),
            _ => None,
        };
        let publish = Action::Publish { topic: &channel.topic, key };
        let found = [publish, Action::Subscribe(&channel)].map(|action| {
            permissions
                .check(&Principal::Anonymous, action)
                .map_or_else(|denied| denied.to_string(), |()| "allowed".to_owned())
        });
        assert_eq!(found, expected, "{channel}");
    }

    #[test]
    fn a_policy_decides_about_each_record_and_each_channel() {
        let denied = [
            "permission denied: anonymous may not publish this record to topic quotes",
            "permission denied: anonymous may not subscribe to this channel of topic quotes",
        ];
        check(&permissions(), "quotes/AAPL", denied);
        check(&permissions(), "quotes/*", ["allowed", denied[1]]);
        check(&permissions(), "quotes/MSFT", ["allowed"; 2]);
        check(&permissions(), "trades/AAPL", ["allowed"; 2]);
        check(&Permissions::unrestricted(), "quotes/AAPL", ["allowed"; 2]);
    }
}
