//! The command `tailcast`. Everything but the allocator is in the library.

use std::{env, process::ExitCode};

/// Frames are allocated by the feed, and freed on the thread that sends them last. With such
/// allocations glibc keeps the memory of closed sessions; the background threads of jemalloc return
/// it.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    tailcast::command::run(env::args_os())
}
