//! The log lines of the nodes, where a person who looks into a failure finds them.
//!
//! Silent unless `TAILCAST_TEST_LOG` holds a filter, such as `info` or `tailcast_push=debug`: a passing suite is a list of
//! claims. The lines go through the test runner's capture, so each is shown with the scenario that failed.
