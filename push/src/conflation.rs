//! Delivering only the latest record of each key to a subscription that is behind.
//!
//! What waits in a channel log is conflated when it is read, and not when it is appended: subscribers that keep up read the
//! log as it is and cost nothing more. What has left the log is conflated with a [`Survey`] of it.
//!
//! Plain data: no lock, no clock, no IO.
//!
//! Invariant: what is handed out are records of the channel in the order of their offsets, and up to where the reader got
//! to, every record was handed out or counted as skipped; a newer record of its key was handed out or follows.

mod survey;

use std::collections::HashSet;

use bytes::Bytes;
use tailcast_proto::Offset;

pub(crate) use self::survey::{Survey, SurveyKeys};
use crate::channel_log::Chunk;

/// What a reader of the latest records took.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Latest {
    pub(crate) deliveries: u64,
    /// How many records before `next` were left out.
    pub(crate) skipped: u64,
    /// Up to where the reader has seen the log.
    pub(crate) next: Offset,
    /// Whether the budget ended before the latest records did.
    pub(crate) more: bool,
    /// The timestamp of the newest delivery; `None` when there is none.
    pub(crate) timestamp_ms: Option<i64>,
}

/// A delivery, by the number of its chunk and its number there.
type Place = (usize, usize);

/// Hands out the latest record of each key in `from` ≤ offset < `until`, the oldest of them first, up to `budget` bytes but
/// at least one. `chunks` have every record of the channel in that range.
///
/// Takes time in proportion to the records in the range.
pub(crate) fn latest(
    chunks: &[Chunk],
    (from, until): (Offset, Offset),
    mut budget: usize,
    out: &mut Vec<Bytes>,
) -> Latest {
    let (places, mut unread) = latest_places(chunks, (from, until));
    let mut latest = Latest { deliveries: 0, skipped: 0, next: from, more: false, timestamp_ms: None };
    for run in places.chunk_by(|one, next| one.0 == next.0 && one.1 + 1 == next.1) {
        let (chunk, first) = (&chunks[run[0].0], run[0].1);
        let fits = |count: &usize| {
            latest.deliveries == 0 && *count == 1 || chunk.slice(first..first + count).len() <= budget
        };
        let taken = (1..=run.len()).take_while(fits).last().unwrap_or(0);
        if taken > 0 {
            let bytes = chunk.slice(first..first + taken);
            budget = budget.saturating_sub(bytes.len());
            out.push(bytes);
            latest.deliveries += taken as u64;
            latest.next = chunk.offset(first + taken - 1).next();
            latest.timestamp_ms = Some(chunk.timestamp_ms);
        }
        if taken < run.len() {
            latest.more = true;
            break;
        }
    }
    if latest.more {
        // Those behind the last delivery are not left out: they are still to come, or to be counted.
        unread = chunks.iter().map(|chunk| chunk.between(from, latest.next).len() as u64).sum();
    }
    latest.skipped = unread - latest.deliveries;
    latest
}

/// Returns the latest record of each key, the oldest first, and how many records there are.
fn latest_places(chunks: &[Chunk], (from, until): (Offset, Offset)) -> (Vec<Place>, u64) {
    let (mut places, mut seen, mut records) = (Vec::new(), HashSet::new(), 0);
    for (at, chunk) in chunks.iter().enumerate().rev() {
        let numbers = chunk.between(from, until);
        records += numbers.len() as u64;
        places.extend(
            numbers.rev().filter(|number| seen.insert(chunk.key(*number))).map(|number| (at, number)),
        );
    }
    places.reverse();
    (places, records)
}

#[cfg(test)]
mod tests;
