//! What Linux tells of this process in /proc.

use std::{fs, time::Duration};

use anyhow::{Context as _, Result};

/// What one unit of time in /proc/PID/stat is: Linux shows user space 100 ticks per second on every architecture.
const TICK: Duration = Duration::from_millis(10);

/// Returns the CPU time that this process has used, user and system, all threads, without its children. Read as loadgen
/// reads that of a node, so that the two can be divided.
pub(crate) fn cpu() -> Result<Duration> {
    cpu_of("self")
}

/// Returns the same of another process.
pub(crate) fn cpu_of(pid: &str) -> Result<Duration> {
    let path = format!("/proc/{pid}/stat");
    let text = fs::read_to_string(&path).with_context(|| format!("{path} cannot be read"))?;
    Ok(TICK * ticks(&text).with_context(|| format!("{path} is not as expected"))?)
}

/// Says whether so many connections can be open in one process, which has `otherwise` files open besides.
pub(crate) fn check_files(connections: u32, otherwise: u64) -> Result<(), String> {
    let files_max = files_max().map_err(|error| format!("{error:#}"))?;
    let needed = u64::from(connections) + otherwise;
    match files_max {
        Some(files_max) if files_max < needed => Err(format!(
            "{connections} connections need {needed} open files in one process, and {files_max} are allowed: ulimit -n {needed}"
        )),
        _ => Ok(()),
    }
}

/// Returns how many files this process, and those that it starts, may have open; `None` where there is no limit.
pub(crate) fn files_max() -> Result<Option<u64>> {
    let text = fs::read_to_string("/proc/self/limits").context("/proc/self/limits cannot be read")?;
    Ok(soft_limit(&text))
}

/// Reads user and system time: fields 14 and 15, after a name in parentheses that may itself have spaces and parentheses.
fn ticks(stat: &str) -> Option<u32> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut times = fields.split_whitespace().skip(11).map(str::parse::<u32>);
    Some(times.next()?.ok()? + times.next()?.ok()?)
}

/// Reads the soft limit; `None` where there is none.
fn soft_limit(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_found_after_any_name() {
        let stat = "42 (a) b (c) S 1 42 42 0 -1 4194560 900 0 0 0 250 50 7 8 20 0 9 0 12345 1 2";
        assert_eq!(ticks(stat), Some(300));
        cpu().expect("this process runs");
    }

    #[test]
    fn more_connections_than_files_are_refused_with_both_numbers() {
        assert_eq!(soft_limit("Max open files            1024                 4096 files\n"), Some(1024));
        assert_eq!(soft_limit("Max open files            unlimited            unlimited files\n"), None);
        check_files(1, 1).expect("one more file can be opened");
        let limited = files_max().expect("this process runs").is_some();
        if limited {
            let error = check_files(u32::MAX, 5).expect_err("nobody may open so many");
            assert!(error.contains("4294967295 connections need 4294967300 open files"), "{error}");
            assert!(error.ends_with("ulimit -n 4294967300"), "{error}");
        }
    }
}
