//! The memory usage and the memory limit of this process, from the kernel.
//!
//! A figure that cannot be read is `None`, never a guess.

use std::fs;
use std::path::{Path, PathBuf};

/// The root of cgroups of version 2.
const UNIFIED: &str = "/sys/fs/cgroup";
/// The root of memory cgroups of version 1.
const OF_MEMORY: &str = "/sys/fs/cgroup/memory";

/// Returns the resident memory of this process, in bytes.
pub fn resident_bytes() -> Option<u64> {
    resident_in(&fs::read_to_string("/proc/self/status").ok()?)
}

/// Returns the memory limit of this process, in bytes: the lowest of the limits of its cgroup and
/// the cgroups above it, and the machine's memory.
pub fn limit_bytes() -> Option<u64> {
    let cgroups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let limits =
        limit_files(&cgroups).into_iter().filter_map(|file| limit_in(&fs::read_to_string(file).ok()?));
    let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|meminfo| machine_in(&meminfo));
    limits.chain(machine).min()
}

fn resident_in(status: &str) -> Option<u64> {
    kibibytes(status, "VmRSS:")
}

fn machine_in(meminfo: &str) -> Option<u64> {
    kibibytes(meminfo, "MemTotal:")
}

fn kibibytes(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

/// A cgroup's limit. Without one, the file has `max` in version 2, and in version 1 a number that
/// is larger than any machine's memory.
fn limit_in(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

/// The files with the limits of a process's cgroup and of all above it. In a container, the path
/// may be the host's, and only the last of the files exists.
fn limit_files(cgroups: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for line in cgroups.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
        let (root, name) = match controllers {
            "" => (UNIFIED, "memory.max"),
            controllers if controllers.split(',').any(|controller| controller == "memory") => {
                (OF_MEMORY, "memory.limit_in_bytes")
            }
            _ => continue,
        };
        let path = Path::new(path.trim_start_matches('/'));
        files.extend(path.ancestors().map(|path| Path::new(root).join(path).join(name)));
    }
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(cgroups: &str, expected: &[&str]) {
        let files: Vec<_> = limit_files(cgroups).iter().map(|file| file.display().to_string()).collect();
        assert_eq!(files, expected);
    }

    #[test]
    fn resident_memory_is_read_in_kibibytes() {
        assert_eq!(resident_in("VmPeak:\t  9 kB\nVmRSS:\t  123456 kB\n"), Some(126_418_944));
        assert_eq!(resident_in("Name:\tkthreadd\n"), None);
        assert_eq!(machine_in("MemTotal:       24682496 kB\nMemFree: 1 kB\n"), Some(25_274_875_904));
    }

    #[test]
    fn the_limits_of_a_cgroup_and_of_all_above_it_count() {
        check(
            "0::/kubepods/pod1/abc\n",
            &[
                "/sys/fs/cgroup/kubepods/pod1/abc/memory.max",
                "/sys/fs/cgroup/kubepods/pod1/memory.max",
                "/sys/fs/cgroup/kubepods/memory.max",
                "/sys/fs/cgroup/memory.max",
            ],
        );
        check("0::/\n", &["/sys/fs/cgroup/memory.max"]);
        check(
            "9:name=systemd:/x\n4:memory:/docker/abc\n2:cpuacct,cpu:/x\n",
            &[
                "/sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes",
                "/sys/fs/cgroup/memory/docker/memory.limit_in_bytes",
                "/sys/fs/cgroup/memory/memory.limit_in_bytes",
            ],
        );
    }

    #[test]
    fn a_cgroup_without_a_limit_says_so() {
        assert_eq!(limit_in("536870912\n"), Some(536_870_912));
        assert_eq!(limit_in("max\n"), None);
    }

    #[test]
    fn this_process_has_less_than_it_may() {
        let (resident, limit) = (resident_bytes(), limit_bytes());
        assert!(
            resident.is_some_and(|resident| resident > 0) && resident <= limit,
            "{resident:?} of {limit:?}"
        );
    }
}
