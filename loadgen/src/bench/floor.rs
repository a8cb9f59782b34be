//! The floor: what the kernel and librdkafka alone take for what a push node does.
//!
//! The same bytes to the same number of sockets at the same rate, one `send()` for each delivery, and a bare consumer for the
//! same records. What receives and what publishes are processes of their own, so that the CPU of this one is the figure.

mod consume;

mod flags;

mod frame;

mod produce;

mod receive;

mod report;

mod sends;

mod sockets;

use anyhow::{Error, Result};

pub(crate) use self::{
    flags::{Flags, Produce, Receive},
    produce::produce,
    receive::receive,
    report::Report,
};
use crate::process;

/// The files that each of the two processes has open besides connections.
const OTHER_FILES: u64 = 64;

/// Checks the values, and the limit on open files.
pub(crate) fn check(flags: &Flags) -> Result<()> {
    flags.time.check()?;
    let shape = flags.shape.shape();
    shape.check().map_err(Error::msg)?;
    process::check_open_files(u64::from(shape.connections) + OTHER_FILES)
}

/// Measures the sends and then the consumer, so that the sends do not take the CPU that it needs to be awake.
pub(crate) fn measure(kafka: &str, flags: &Flags) -> Result<Report> {
    let shape = flags.shape.shape();
    let sends = sends::measure(&shape, flags.time)?;
    let consumed = if flags.sends_only {
        None
    } else {
        Some(consume::measure(&shape, flags.time, kafka, flags.topic.as_deref())?)
    };
    Ok(Report::new(&shape, flags.time.duration, &sends, consumed.as_ref()))
}
