//! What a connection received: its report at the end of the run, possibly sent by a worker process.

use std::{collections::BTreeMap, ops::Range};

use serde::{Deserialize, Serialize};

use crate::{
    conflation::Latest,
    verify::{Arrival, Sequence},
};

/// What a connection received, reported at the end.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Account {
    /// Whether it stopped reading for a while.
    pub(crate) slow: bool,
    pub(crate) channels: Vec<Received>,
    pub(crate) findings: Findings,
    /// Why the connection ended before the end of the run.
    pub(crate) ended: Option<String>,
}

/// What was received on a channel.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Received {
    /// The keys of the channel, as numbers.
    pub(crate) keys: Range<u32>,
    pub(crate) records: Records,
}

/// The records of each key of a channel.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Records {
    /// Every record must arrive.
    Lossless(Vec<Sequence>),
    /// The latest record of each key must arrive; the others must be counted.
    Conflated {
        keys: Vec<Latest>,
        /// Number of records that were reported as skipped.
        skipped: u64,
    },
}

/// What a connection observed, apart from the records of each channel.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Findings {
    pub(crate) repeated: u64,
    pub(crate) out_of_order: u64,
    /// Wrong checksums, and events of channels without a subscription.
    pub(crate) corrupt: u64,
    /// Events of other runs.
    pub(crate) other_runs: u64,
    /// Sessions that the node closed, by close code; 1006 if there was no close frame.
    pub(crate) closes: BTreeMap<u16, u64>,
    /// Sessions that were left because of a `Goaway`.
    pub(crate) moves: u64,
    /// Sessions that were left because the node was silent for too long.
    pub(crate) silences: u64,
    /// Sessions that resumed from their positions, for any reason.
    pub(crate) resumes: u64,
    /// Failed reconnect attempts, by reason.
    pub(crate) failed_attempts: BTreeMap<String, u64>,
    /// Resumed subscriptions for which the node reported lost records.
    pub(crate) loss_notices: u64,
    /// Skipped ranges, by reason.
    pub(crate) skips: BTreeMap<String, u64>,
}

impl Received {
    /// Creates it empty.
    pub(crate) fn new(keys: Range<u32>, conflated: bool) -> Self {
        let records = if conflated {
            Records::Conflated { keys: vec![Latest::default(); keys.len()], skipped: 0 }
        } else {
            Records::Lossless(vec![Sequence::default(); keys.len()])
        };
        Self { keys, records }
    }

    /// Records an event. Returns how it arrived; `None` if this channel does not have the key.
    pub(crate) fn observe(&mut self, key: u32, number: u64, now_ns: u64) -> Option<Arrival> {
        let at = usize::try_from(key.checked_sub(self.keys.start)?).ok()?;
        Some(match &mut self.records {
            Records::Lossless(sequences) => sequences.get_mut(at)?.observe(number),
            Records::Conflated { keys, .. } => keys.get_mut(at)?.observe(number, now_ns),
        })
    }

    /// Records that records were skipped. Returns how many of them count as accounted for.
    pub(crate) fn skip(&mut self, records: u64) -> u64 {
        match &mut self.records {
            Records::Lossless(_) => 0,
            Records::Conflated { skipped, .. } => {
                *skipped += records;
                records
            }
        }
    }
}

impl Findings {
    /// Adds the findings of another connection.
    pub(crate) fn add(&mut self, other: &Self) {
        self.repeated += other.repeated;
        self.out_of_order += other.out_of_order;
        self.corrupt += other.corrupt;
        self.other_runs += other.other_runs;
        self.moves += other.moves;
        self.silences += other.silences;
        self.resumes += other.resumes;
        self.loss_notices += other.loss_notices;
        for (code, times) in &other.closes {
            *self.closes.entry(*code).or_default() += times;
        }
        for (reason, times) in &other.failed_attempts {
            *self.failed_attempts.entry(reason.clone()).or_default() += times;
        }
        for (reason, times) in &other.skips {
            *self.skips.entry(reason.clone()).or_default() += times;
        }
    }
}
