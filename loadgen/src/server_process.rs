//! The CPU time and memory of processes, as Linux tells them in /proc.

use std::{fs, time::Duration};

use anyhow::{Context as _, Result};

/// What one unit of time in /proc/PID/stat is: Linux shows user space 100 ticks per second on every architecture.
const TICK: Duration = Duration::from_millis(10);

/// Returns the CPU time that a process has used, user and system, all threads.
pub(crate) fn cpu(pid: &str) -> Result<Duration> {
    let path = format!("/proc/{pid}/stat");
    let text =
        fs::read_to_string(&path).with_context(|| format!("process {pid} cannot be measured ({path})"))?;
    let ticks = ticks(&text).with_context(|| format!("{path} is not as expected"))?;
    Ok(TICK * ticks)
}

/// Returns the memory that a process occupies, in bytes.
pub(crate) fn memory(pid: &str) -> Result<u64> {
    let path = format!("/proc/{pid}/status");
    let text =
        fs::read_to_string(&path).with_context(|| format!("process {pid} cannot be measured ({path})"))?;
    resident(&text).with_context(|| format!("{path} has no VmRSS"))
}

/// Returns how many files this process may have open.
pub(crate) fn files_max() -> Option<u64> {
    let text = fs::read_to_string("/proc/self/limits").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Reads user and system time: fields 14 and 15, after a name in parentheses that may itself have spaces and parentheses.
fn ticks(stat: &str) -> Option<u32> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut times = fields.split_whitespace().skip(11).map(str::parse::<u32>);
    Some(times.next()?.ok()? + times.next()?.ok()?)
}

fn resident(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kibibytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_found_after_any_name() {
        let stat = "42 (a) b (c) S 1 42 42 0 -1 4194560 900 0 0 0 250 50 0 0 20 0 9 0 12345 1 2";
        assert_eq!(ticks(stat), Some(300));
    }

    #[test]
    fn resident_memory_is_in_bytes() {
        assert_eq!(resident("Name:\tx\nVmPeak:\t 9 kB\nVmRSS:\t    2048 kB\n"), Some(2 << 20));
    }

    #[test]
    fn this_process_can_be_measured_and_a_missing_one_is_named() {
        cpu("self").expect("it runs");
        assert!(memory("self").expect("it runs") > 0);
        assert!(files_max().is_some());
        let error = cpu("4194305").expect_err("above the largest process id");
        assert!(error.to_string().contains("process 4194305"), "{error}");
    }
}
