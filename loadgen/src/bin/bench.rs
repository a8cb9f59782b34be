//! `bench`: Tailcast's benchmarks, each compared within one run.

use std::process::ExitCode;

fn main() -> ExitCode {
    loadgen::bench::conduct::main()
}
