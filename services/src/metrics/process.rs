//! The kernel's figures of this process: memory, open files, processor time.
//!
//! The names are those that Prometheus clients agreed on, so that common dashboards work. A figure
//! that cannot be read is left out, never reported as zero.

use std::fmt::Error;
use std::fs;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use crate::memory;

/// Reads `/proc/self` at every scrape.
#[derive(Debug)]
pub(super) struct Process;

/// Kernel ticks in a second, as `/proc` counts them (`USER_HZ`): 100 on every architecture that
/// Linux still builds for servers.
const TICKS_PER_SECOND: f64 = 100.0;

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        if let Some(bytes) = memory::resident_bytes().and_then(|bytes| i64::try_from(bytes).ok()) {
            let help = "Resident memory of the process";
            gauge(&mut encoder, "process_resident_memory_bytes", help, bytes)?;
        }
        if let Some(count) =
            fs::read_dir("/proc/self/fd").ok().and_then(|open| i64::try_from(open.count()).ok())
        {
            gauge(&mut encoder, "process_open_fds", "Open file descriptors", count)?;
        }
        let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
        if let Some(count) = open_files_max(&limits) {
            gauge(&mut encoder, "process_max_fds", "Limit of open file descriptors", count)?;
        }
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        if let Some(seconds) = cpu_seconds(&stat) {
            let metric = ConstCounter::new(seconds);
            let help = "User and system CPU time";
            metric.encode(encoder.encode_descriptor(
                "process_cpu_seconds",
                help,
                None,
                metric.metric_type(),
            )?)?;
        }
        Ok(())
    }
}

fn gauge(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: i64) -> Result<(), Error> {
    let metric = ConstGauge::new(value);
    metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)
}

fn open_files_max(limits: &str) -> Option<i64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

fn cpu_seconds(stat: &str) -> Option<f64> {
    // The command's name comes second, in parentheses, and may itself hold spaces and parentheses.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    let user: u32 = fields.next()?.parse().ok()?;
    let system: u32 = fields.next()?.parse().ok()?;
    Some((f64::from(user) + f64::from(system)) / TICKS_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_found_behind_any_command_name() {
        let fields = "R 1 2 3 4 5 6 7 8 9 10 250 50 0 0 20 0";
        assert_eq!(cpu_seconds(&format!("77 (tailcast) {fields}")), Some(3.0));
        assert_eq!(cpu_seconds(&format!("77 (a) b) c) {fields}")), Some(3.0));
        assert_eq!(cpu_seconds("77"), None);
    }

    #[test]
    fn the_limit_of_open_files_is_the_soft_one() {
        assert_eq!(
            open_files_max("Max open files            1024                 4096     files\n"),
            Some(1024)
        );
        assert_eq!(
            open_files_max("Max open files            unlimited            unlimited     files\n"),
            None
        );
    }
}
