//! `ingest-cost`: what the way in costs beside a bare producer.

use std::process::ExitCode;

fn main() -> ExitCode {
    loadgen::bench::ingest_cost::main()
}
