//! Parts of the node for benchmarks: records, a watched partition, sessions without a socket, and
//! the feed without sessions.
//!
//! The parts are assembled as in a node; only Kafka and the clients are replaced. Compiled with the
//! feature `benchmarks` only, and not part of the public interface.

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
pub use crate::session::benchmarks::{Crowd, Gatherer, Message};

/// The part of `default.toml` for this crate.
#[derive(Deserialize)]
struct Defaults {
    push: Config,
}

/// Returns the default configuration.
///
/// # Panics
///
/// If the defaults are invalid; a test checks that they are valid.
#[must_use]
pub fn defaults() -> Config {
    let defaults = include_str!("../../src/default.toml");
    let Defaults { push } = tailcast_services::config::load(defaults, None, [], &[]).expect("they parse");
    push
}
