//! The common ground of every Tailcast service.
//!
//! A service parses its [`config`], starts its [`log`] and [`metrics`], opens the [`admin`]
//! listener, and runs its parts under one [`lifecycle`]. [`memory`] measures the process; each part
//! reports through [`readiness`] why it cannot work. [`listener`] accepts connections,
//! [`principal`] names the identity of a client, and [`permission`] decides what it may do.
//! [`kafka`] holds every librdkafka property that is set, [`topics`] knows which topics exist, and
//! [`in_process`] is a broker for tests and `tailcast dev`.
//!
//! What is deliberately absent: nothing here knows of gRPC, WebSockets or sessions.

pub mod config;

pub mod lifecycle;

pub mod readiness;

pub mod listener;

pub mod log;

pub mod metrics;

pub mod memory;

pub mod admin;

pub mod kafka;

pub mod topics;

pub mod principal;

pub mod permission;

pub mod in_process;
