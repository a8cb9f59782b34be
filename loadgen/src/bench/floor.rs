//! The floor: what the kernel and librdkafka alone need for a push node's work.
//!
//! Sends the same bytes to the same number of sockets at the same rate, with one `send()` per
//! delivery, and reads the same records with a bare consumer. The receiver and the publisher are
//! separate processes, so that this process's CPU is the figure.

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

/// Files that each of the two processes opens in addition to the connections.
const OTHER_FILES: u64 = 64;

/// Checks the values, and the open file limit.
pub(crate) fn check(flags: &Flags) -> Result<()> {
    flags.time.check()?;
    let shape = flags.shape.shape();
    shape.check().map_err(Error::msg)?;
    process::check_open_files(u64::from(shape.connections) + OTHER_FILES)
}

/// Measures the sends first and then the consumer, so that the sends do not take CPU from it.
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
