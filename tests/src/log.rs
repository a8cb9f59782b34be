//! The log lines of the nodes, for a person who looks into a failure.
//!
//! Silent unless `TAILCAST_TEST_LOG` holds a filter, such as `info` or `info,tailcast_push=debug`: a suite that passes is a
//! list of claims.

use std::env;
use std::sync::Once;

use tailcast_services::log::{Config, Format, init as begin};

/// Begins to log, once per process.
///
/// # Panics
///
/// When the filter is not one.
pub fn init() {
    static BEGUN: Once = Once::new();
    BEGUN.call_once(|| {
        if let Ok(filter) = env::var("TAILCAST_TEST_LOG") {
            begin(&Config { filter, format: Format::Pretty }).expect("TAILCAST_TEST_LOG is a filter");
        }
    });
}
