//! What the benchmarks of this package take apart: records, a watched partition, sessions without a
//! socket, the feed without sessions.
//!
//! The parts are those of a node, put together as a node does; here is only what stands in for Kafka and for clients. Compiled
//! with the feature `benchmarks` alone, and no part of what this package promises.

mod channels;
mod feed_run;
mod records;
mod watched;

use serde::Deserialize;

pub(crate) use self::channels::{ENCODING, channels};
pub use self::{
    channels::Watching,
    feed_run::{FeedRun, tail_config},
    records::Records,
    watched::Watched,
};
use crate::config::Config;
pub use crate::session::by_hand::{Crowd, Gatherer, Message};

/// The part of the command's defaults that is ours.
#[derive(Deserialize)]
struct Defaults {
    push: Config,
}

/// Returns what a node is started with when nobody sets anything.
///
/// # Panics
///
/// When the defaults are none; a test sees to it that they are.
#[must_use]
pub fn defaults() -> Config {
    let defaults = include_str!("../../src/default.toml");
    let Defaults { push } = tailcast_services::config::load(defaults, None, [], &[]).expect("they parse");
    push
}
