//! The command `tailcast`: development broker, services and clients in one binary.
//!
//! [`command`] has the subcommands, [`config`] the configuration of all parts with the one file of defaults, and `dev` what
//! `tailcast dev` adds: an in-process broker, a simulated market, and a page.
//!
//! What is deliberately absent: nothing here knows how an event gets to Kafka or from there to a client. `tailcast_ingest` and
//! `tailcast_push` do, and they meet in Kafka only.

pub mod command;

pub mod config;

mod dev;

mod exit;

mod output;

mod process;

mod publisher;
