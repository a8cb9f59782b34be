//! The rules of a session, without IO: liveness, subscriptions, and what goes into the next message.

pub(crate) mod liveness;
pub(crate) mod subscriptions;
