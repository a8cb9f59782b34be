//! `loadgen`: a load generator for Tailcast that verifies every delivery.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    loadgen::load::main()
}
