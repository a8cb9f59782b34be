//! `bench`: Tailcast's benchmarks.

use std::process::ExitCode;

/// The node's allocator, so that both sides of a comparison use the same.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    loadgen::bench::main()
}
