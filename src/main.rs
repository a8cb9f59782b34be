//! The command `tailcast`. Everything but the allocator is in the library.

use std::{env, process::ExitCode};

/// Many small allocations that are freed on other threads: frames are made by the feed and freed by whoever sends last.
/// glibc keeps the memory of sessions that have gone; jemalloc gives it back, by its background threads.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    tailcast::command::run(env::args_os())
}
