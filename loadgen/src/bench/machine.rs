//! The machine that the figures were measured on.

use std::{env, fmt, fs, process::Command, thread};

use procfs::{CpuInfo, Current as _, Meminfo};
use serde::Serialize;

/// The machine and the build.
#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    cpus: usize,
    model: Option<String>,
    kernel: Option<String>,
    memory_bytes: Option<u64>,
    /// Commit of the folder that contains the programs; ends in `-dirty` if files were changed.
    commit: Option<String>,
}

impl Machine {
    /// Reads this machine's values.
    pub(crate) fn this() -> Self {
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").ok();
        let model = CpuInfo::current().ok().and_then(|cpus| cpus.model_name(0).map(ToOwned::to_owned));
        Self {
            cpus: thread::available_parallelism().map_or(1, Into::into),
            model,
            kernel: kernel.map(|release| release.trim().to_owned()),
            memory_bytes: Meminfo::current().ok().map(|memory| memory.mem_total),
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

/// Asks git; there is none if the sources were not cloned.
fn commit() -> Option<String> {
    let here = env::current_exe().ok()?;
    let mut git = Command::new("git");
    git.arg("-C").arg(here.parent()?).args(["describe", "--always", "--dirty", "--exclude", "*"]);
    let output = git.output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
