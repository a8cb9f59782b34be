//! What Tailcast's speed is measured against, and with. `BENCHMARKS.md` says how.
//!
//! A program for each question, each a module with a `main`, and below them what they share. A program whose CPU is the figure
//! runs what is not to be counted in a process of its own.

pub mod conduct;

pub mod floor;

pub mod ingest_cost;

#[cfg(feature = "feed-rate")]
pub mod feed_rate;

mod program;

mod shape;

mod schedule;

mod companion;

mod topic;

mod figures;

#[cfg(test)]
const SCHEMA: &str = include_str!("../bench/schema.json");

mod telling;
