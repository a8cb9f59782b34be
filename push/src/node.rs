//! Which partitions this node tails, for how long, and in which state.

pub(crate) mod hub;

pub(crate) mod upkeep;

pub(crate) mod last_values_loader;
