//! What a run found, as people read it.

use std::fmt::{self, Write as _};

use super::{LATENESS_MAX_US, Percentiles, Report, Violations, float};

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let asked = &self.asked;
        writeln!(
            f,
            "{} connections × {} channels of {} keys, {} events/s of {} bytes, {}",
            asked.connections,
            asked.channels_per_connection,
            asked.keys,
            asked.rate,
            asked.payload_bytes,
            asked.way_in
        )?;
        let events = &self.events;
        writeln!(f, "events         {} published, {} acknowledged", events.published, events.acknowledged)?;
        for (reason, times) in &events.reasons {
            writeln!(f, "               {times} not acknowledged: {reason}")?;
        }
        let measured = &self.measured;
        writeln!(f, "deliveries     {} in all, {} measured", self.deliveries, measured.deliveries)?;
        writeln!(
            f,
            "               {:.0}/s over {:.1} s, {:.2} per WebSocket message, {:.1} MB",
            measured.deliveries_per_second,
            measured.seconds,
            measured.deliveries_per_message,
            float(measured.bytes) / 1e6
        )?;
        writeln!(f, "latency        {}", self.latency_us)?;
        if let (Some(each), Some(cpus)) = (measured.server_cpu_us_per_delivery, measured.server_cpus) {
            writeln!(f, "server CPU     {each:.2} µs per delivery, {cpus:.2} CPUs")?;
        }
        if let Some(memory) = &self.memory {
            writeln!(
                f,
                "server memory  {} bytes per idle connection, {} at the end ({:.1}, {:.1}, {:.1} MB)",
                memory.per_idle_connection,
                memory.per_connection_at_end,
                float(memory.before) / 1e6,
                float(memory.idle) / 1e6,
                float(memory.end) / 1e6
            )?;
        }
        writeln!(f, "loadgen        {:.2} CPUs, late by {}", measured.own_cpus, self.lateness_us)?;
        if self.other_runs > 0 {
            writeln!(f, "               {} deliveries of other runs were left out", self.other_runs)?;
        }
        if self.saturated {
            writeln!(
                f,
                "LOADGEN WAS SATURATED: it was itself more than {} ms late at p99, so latencies are partly its own",
                LATENESS_MAX_US / 1000
            )?;
        }
        write!(f, "{}{}", self.violations, if self.clean { "clean" } else { "NOT CLEAN" })
    }
}

impl fmt::Display for Violations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "violations     {} lost, {} repeated, {} out of order, {} corrupt",
            self.lost, self.repeated, self.out_of_order, self.corrupt
        )?;
        if self.refused_but_delivered > 0 {
            writeln!(
                f,
                "               {} refused by ingest and delivered all the same",
                self.refused_but_delivered
            )?;
        }
        for (ending, connections) in &self.endings {
            writeln!(f, "               {connections} connections ended: {ending}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Percentiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = String::new();
        let all = [
            ("p50", self.p50),
            ("p90", self.p90),
            ("p99", self.p99),
            ("p99.9", self.p99_9),
            ("max", self.max),
        ];
        for (name, us) in all {
            write!(line, "{name} {:.2}  ", float(us) / 1000.0)?;
        }
        write!(f, "{}  (ms)", line.trim_end())
    }
}
