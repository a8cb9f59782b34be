//! CPU time, memory and open files of processes, from /proc.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use procfs::process::{LimitValue, Process};

/// Opens a process. The handle refers to this process even after its id is reused.
pub(crate) fn open(pid: u32) -> Result<Process> {
    let found = i32::try_from(pid).map(Process::new).with_context(|| format!("{pid} is not a process id"))?;
    found.with_context(|| format!("process {pid} cannot be measured"))
}

/// Returns the user and system CPU time of all threads of a process, in the kernel's steps of 10
/// ms.
pub(crate) fn cpu(process: &Process) -> Result<Duration> {
    let stat = process.stat().with_context(|| format!("process {} cannot be measured", process.pid))?;
    let ticks = u32::try_from(stat.utime + stat.stime).context("CPU time of more than a year")?;
    let per_second = u32::try_from(procfs::ticks_per_second()).context("ticks are shorter than 1 ns")?;
    Ok(Duration::from_secs(1) * ticks / per_second)
}

/// Returns the CPU time of this process, without its children.
pub(crate) fn own_cpu() -> Result<Duration> {
    cpu(&Process::myself().context("/proc/self cannot be read")?)
}

/// Returns the resident memory of a process in bytes.
pub(crate) fn memory(process: &Process) -> Result<u64> {
    let status = process.status().with_context(|| format!("process {} cannot be measured", process.pid))?;
    let kibibytes = status.vmrss.with_context(|| format!("process {} has no memory (VmRSS)", process.pid))?;
    Ok(kibibytes * 1024)
}

/// Checks that this process, and each of its child processes, may open this many files.
pub(crate) fn check_open_files(needed: u64) -> Result<()> {
    let limits = Process::myself().and_then(|process| process.limits());
    match limits.context("/proc/self/limits cannot be read")?.max_open_files.soft_limit {
        LimitValue::Unlimited => Ok(()),
        LimitValue::Value(allowed) => check(needed, allowed),
    }
}

fn check(needed: u64, allowed: u64) -> Result<()> {
    ensure!(
        needed <= allowed,
        "open file limit too low: {needed} files needed, {allowed} allowed; raise it with `ulimit -n {needed}`"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_cpu_time_and_memory() {
        let this = open(std::process::id()).expect("it runs");
        assert!(memory(&this).is_ok_and(|bytes| bytes > 100_000));
        let before = cpu(&this).expect("it runs");
        // Spins until the next step of the kernel's clock, which may come before the first turn.
        let after = loop {
            let after = own_cpu().expect("it runs");
            if after != before {
                break after;
            }
        };
        assert!(after > before, "{after:?} {before:?}");
    }

    #[test]
    fn a_process_that_does_not_exist_is_named() {
        // Above the largest process id.
        let error = open(4_194_305).expect_err("it does not exist");
        assert_eq!(error.to_string(), "process 4194305 cannot be measured");
    }

    // The check used to depend on the machine's own limit, and failed where that is high or
    // unlimited.
    #[test]
    fn an_open_file_limit_that_is_too_low_is_reported_with_both_numbers() {
        check(1_024, 1_024).expect("the limit is high enough");
        let error = check(200_100, 200_099).expect_err("one file is missing").to_string();
        assert!(error.contains("200100 files needed, 200099 allowed"), "{error}");
        assert!(error.ends_with("`ulimit -n 200100`"), "{error}");
    }
}
