//! `feed-rate`: what the feed does with records beside a bare consumer.

use std::process::ExitCode;

/// As the node's, for both sides.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    loadgen::bench::feed_rate::main()
}
