//! A load generator that verifies every delivery, and the benchmarks built on it.
//!
//! Two commands: `loadgen` publishes, receives and verifies; `bench` compares a node with its lower
//! bounds. `BENCHMARKS.md` has the method.

pub mod load;

pub mod bench;

mod invocation;

mod cli;

mod consistency;

mod scenario;

mod preflight;

mod interrupts;

mod run;

mod plan;

mod layout;

mod slow;

mod storm;

mod clock;

mod payload;

mod publish;

mod ledger;

mod fleet;

mod worker;

mod connections;

mod reader;

mod link;

mod account;

mod verify;

mod conflation;

mod traffic;

mod interval;

mod lag;

mod bare_consumer;

mod tally;

mod monitor;

mod servers;

mod process;

mod node_metrics;

mod truth;

mod saturation;

mod figures;

mod threshold;

mod progress;

mod report;

mod output;

mod kafka;

mod http;

#[cfg(test)]
mod schema;
