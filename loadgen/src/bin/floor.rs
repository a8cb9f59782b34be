//! `floor`: what the kernel and librdkafka alone take for what a push node does.

use std::process::ExitCode;

fn main() -> ExitCode {
    loadgen::bench::floor::main()
}
