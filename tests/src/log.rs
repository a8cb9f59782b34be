//! The log of the nodes, to investigate a failure.
//!
//! Off unless `TAILCAST_TEST_LOG` is a filter, such as `info` or `info,tailcast_push=debug`.

use std::env;
use std::sync::Once;

use tailcast_services::log::{Config, Format, init as begin};

/// Starts logging, once per process.
///
/// # Panics
///
/// When the filter is invalid.
pub fn init() {
    static BEGUN: Once = Once::new();
    BEGUN.call_once(|| {
        if let Ok(filter) = env::var("TAILCAST_TEST_LOG") {
            begin(&Config { filter, format: Format::Pretty }).expect("TAILCAST_TEST_LOG is a filter");
        }
    });
}
