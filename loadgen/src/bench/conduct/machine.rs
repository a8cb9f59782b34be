//! What the figures were measured on.

use std::{env, fmt, fs, process::Command, thread};

use serde::Serialize;

/// The machine, and what was built.
#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    cpus: usize,
    model: Option<String>,
    kernel: Option<String>,
    memory_bytes: Option<u64>,
    /// Of the folder that the programs are in; ends in `-dirty` when something was changed since.
    commit: Option<String>,
}

impl Machine {
    /// Looks at this one.
    pub(crate) fn this() -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let kernel = read("/proc/sys/kernel/osrelease").trim().to_owned();
        Self {
            cpus: thread::available_parallelism().map_or(1, Into::into),
            model: value(&read("/proc/cpuinfo"), "model name").map(ToOwned::to_owned),
            kernel: (!kernel.is_empty()).then_some(kernel),
            memory_bytes: value(&read("/proc/meminfo"), "MemTotal").and_then(kibibytes),
            commit: commit(),
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unknown = |text: &Option<String>| text.clone().unwrap_or_else(|| "unknown".to_owned());
        let gib = self.memory_bytes.map_or_else(|| "?".to_owned(), |bytes| (bytes >> 30).to_string());
        write!(
            f,
            "{} CPUs ({}), {gib} GiB, Linux {}, commit {}",
            self.cpus,
            unknown(&self.model),
            unknown(&self.kernel),
            unknown(&self.commit)
        )
    }
}

/// Finds `name : value`.
fn value<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let lines = text.lines().filter_map(|line| line.split_once(':'));
    lines.map(|(key, value)| (key.trim(), value.trim())).find(|(key, _)| *key == name).map(|(_, value)| value)
}

fn kibibytes(text: &str) -> Option<u64> {
    text.split_whitespace().next()?.parse::<u64>().ok().map(|kibibytes| kibibytes * 1_024)
}

/// Asks git; there is none when the sources came another way.
fn commit() -> Option<String> {
    let here = env::current_exe().ok()?;
    let mut git = Command::new("git");
    git.arg("-C").arg(here.parent()?).args(["describe", "--always", "--dirty", "--exclude", "*"]);
    let output = git.output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_linux_tells_is_found_by_its_name() {
        let text = "processor\t: 0\nmodel name\t: Some CPU @ 2 GHz\nMemTotal:  2048 kB\n";
        assert_eq!(value(text, "model name"), Some("Some CPU @ 2 GHz"));
        assert_eq!(value(text, "MemTotal").and_then(kibibytes), Some(2 << 20));
        assert_eq!(value(text, "model"), None);
    }
}
