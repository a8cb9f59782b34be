//! The report as text.

use std::{collections::BTreeMap, fmt};

use super::{
    Memory, Report, Sessions, SlowReaders, StormReport, Verdict, Violations, bare_kafka::Comparison, float,
};

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.heading(f)?;
        let events = &self.events;
        writeln!(f, "events         {} published, {} acknowledged", events.published, events.acknowledged)?;
        for (reason, times) in &events.reasons {
            writeln!(f, "               {times} not acknowledged: {reason}")?;
        }
        if events.published < events.planned {
            writeln!(f, "               {} were planned", events.planned)?;
        }
        self.measurements(f)?;
        write!(f, "{}", self.sessions)?;
        if let Some(slow) = &self.slow {
            write!(f, "{slow}")?;
        }
        if let Some(storm) = &self.storm {
            write!(f, "{storm}")?;
        }
        if let Some(conflated) = &self.conflated {
            writeln!(
                f,
                "conflated      {} records: {} delivered, {} reported as skipped",
                conflated.records, conflated.delivered, conflated.skipped
            )?;
        }
        let loadgen = &self.loadgen;
        writeln!(f, "loadgen        {:.2} CPUs, late by {}", self.measured.own_cpus, loadgen.lateness_us)?;
        writeln!(f, "               lag of its own tasks {}", loadgen.lag_us)?;
        write!(f, "{}", self.violations)?;
        for note in &self.notes {
            writeln!(f, "note           {note}")?;
        }
        for incident in &self.incidents {
            writeln!(f, "INCIDENT       {incident}")?;
        }
        for reason in &loadgen.saturated {
            writeln!(f, "SATURATED      {reason}")?;
        }
        for threshold in &self.thresholds {
            writeln!(f, "{threshold}")?;
        }
        f.write_str(match self.verdict {
            Verdict::Clean => "clean",
            Verdict::Violated => "NOT CLEAN",
            Verdict::Saturated => "NO VERDICT: loadgen was saturated, so its figures are partly its own",
            Verdict::ThresholdFailed => "clean, but A THRESHOLD FAILED",
        })
    }
}

impl Report {
    fn heading(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parameters = &self.parameters;
        if let Some(scenario) = &parameters.scenario {
            writeln!(f, "{scenario}")?;
        }
        writeln!(
            f,
            "{} connections × {} {} channels of {} keys, {}, {} events/s of {} bytes, {}",
            parameters.connections,
            parameters.channels_per_connection,
            parameters.channel_form,
            parameters.keys,
            parameters.mode,
            parameters.rate,
            parameters.payload_bytes,
            parameters.publish_path
        )
    }

    fn measurements(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let measured = &self.measured;
        writeln!(f, "deliveries     {} in total, {} measured", self.deliveries, measured.deliveries)?;
        writeln!(
            f,
            "               {:.0}/s over {:.1} s, {:.2} per WebSocket message, {:.1} MB",
            measured.deliveries_per_second,
            measured.seconds,
            measured.deliveries_per_message,
            float(measured.bytes) / 1e6
        )?;
        writeln!(f, "latency        {}", self.latency_us)?;
        if let Some(kafka) = &self.kafka {
            write!(f, "{}", Comparison(kafka, &self.latency_us))?;
        }
        if let Some(cpus) = measured.server_cpus {
            let each = measured
                .server_cpu_us_per_delivery
                .map_or_else(|| "no delivery".to_owned(), |each| format!("{each:.2} µs per delivery"));
            writeln!(f, "server CPU     {each}, {cpus:.2} CPUs")?;
        }
        if let Some(memory) = &self.memory {
            write!(f, "{memory}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "server memory  per connection {} idle, {} at the end ({:.1}, {:.1}, {:.1} MB)",
            bytes(self.per_idle_connection),
            bytes(self.per_connection_at_end),
            float(self.before) / 1e6,
            float(self.idle) / 1e6,
            float(self.end) / 1e6
        )
    }
}

impl fmt::Display for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.resumes > 0 || !self.closes.is_empty() || !self.failed_attempts.is_empty() {
            writeln!(
                f,
                "sessions       {} resumed, {} of them moved at a Goaway, closed by nodes: {}",
                self.resumes,
                self.moves,
                codes(&self.closes)
            )?;
        }
        if let Some(closes) = self.closes_by_nodes.as_ref().filter(|closes| !closes.is_empty()) {
            writeln!(f, "               by the nodes' metrics: {}", codes(closes))?;
        }
        for (reason, times) in &self.failed_attempts {
            writeln!(f, "               {times} reconnect attempts failed: {reason}")?;
        }
        if self.silences > 0 {
            writeln!(f, "               {} sessions were left because the node was silent", self.silences)?;
        }
        if self.loss_notices > 0 {
            writeln!(f, "               {} subscriptions were notified of lost records", self.loss_notices)?;
        }
        for (reason, times) in &self.skips {
            writeln!(f, "               {times} ranges skipped: {reason}")?;
        }
        if self.other_runs > 0 {
            writeln!(f, "               {} deliveries of other runs were ignored", self.other_runs)?;
        }
        Ok(())
    }
}

impl fmt::Display for SlowReaders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = self.pause_seconds.map_or_else(
            || "did not read".to_owned(),
            |pause| format!("paused {pause:.3} s after each message"),
        );
        writeln!(
            f,
            "slow readers   {} {} for {:.1} s, closed by nodes: {}",
            self.connections,
            what,
            self.seconds,
            codes(&self.closes)
        )?;
        writeln!(f, "               {}", self.latency_us)?;
        if let (Some(before), Some(max), Some(after)) =
            (self.memory_before, self.memory_max, self.memory_after)
        {
            writeln!(
                f,
                "               server memory {:.1} MB before, {:.1} at most, {:.1} after: {} per client",
                float(before) / 1e6,
                float(max) / 1e6,
                float(after) / 1e6,
                bytes(self.growth_per_client)
            )?;
        }
        Ok(())
    }
}

impl fmt::Display for StormReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let after = |seconds: Option<f64>| {
            seconds.map_or_else(|| "never".to_owned(), |seconds| format!("{seconds:.2} s"))
        };
        writeln!(
            f,
            "storm          away for {:.1} s, {} to {} records behind",
            self.away_seconds,
            self.behind_min.unwrap_or_default(),
            self.behind_max
        )?;
        writeln!(
            f,
            "               {} resumed, the last after {}",
            self.resumed,
            after(self.resumed_seconds)
        )?;
        writeln!(
            f,
            "               {} caught up, the last after {}",
            self.caught_up,
            after(self.caught_up_seconds)
        )?;
        writeln!(f, "               latency of missed records {}", self.latency_us)?;
        match (self.catch_up_bytes, self.catch_up_ratio) {
            (Some(read), Some(ratio)) => writeln!(
                f,
                "               nodes read {:.1} MB from Kafka to catch up, for {:.1} MB missed: {ratio:.2} ×",
                float(read) / 1e6,
                float(self.unique_bytes) / 1e6
            ),
            _ => writeln!(f, "               {:.1} MB were missed", float(self.unique_bytes) / 1e6),
        }
    }
}

impl fmt::Display for Violations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "violations     {} lost, {} repeated, {} out of order, {} corrupt",
            self.lost, self.repeated, self.out_of_order, self.corrupt
        )?;
        // The other kinds are shown only when they occurred.
        for (name, count) in self.counts().into_iter().skip(4).filter(|(_, count)| *count > 0) {
            writeln!(f, "               {count} {}", name.replace('_', " "))?;
        }
        for (ending, connections) in &self.endings {
            writeln!(f, "               {connections} connections ended: {ending}")?;
        }
        Ok(())
    }
}

fn bytes(bytes: Option<u64>) -> String {
    bytes.map_or_else(|| "not measurable".to_owned(), |bytes| format!("{bytes} bytes"))
}

fn codes<K: fmt::Display>(closes: &BTreeMap<K, u64>) -> String {
    if closes.is_empty() {
        return "none".to_owned();
    }
    closes.iter().map(|(code, times)| format!("{times} × {code}")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use crate::report::sample;

    #[track_caller]
    fn check(summary: &str, expected: &[&str]) {
        for line in expected {
            assert!(summary.contains(line), "{line:?} is not in\n{summary}");
        }
    }

    #[test]
    fn a_summary_shows_failures_and_missing_figures() {
        check(
            &sample::full().to_string(),
            &[
                "bare Kafka     p50 0.90",
                "deliveries take 1.67 × as long at p50, 6.00 × at p99",
                "closed by nodes: 2 × 1006, 1 × 4503",
                "10 did not read for 60.0 s, closed by nodes: 1 × 4508",
                "10 resumed, the last after 0.50 s",
                "9 caught up, the last after 1.50 s",
                "latency of missed records p50",
                "for 0.0 MB missed: 2.00 ×",
                "10 records: 4 delivered, 6 reported as skipped",
                "1 lost, 0 repeated",
                "1 connections ended: 4409",
                "per connection 100 bytes idle, not measurable at the end",
                "INCIDENT       a publisher ended",
                "SATURATED      it was late",
                "✓ p99<20ms: 12.0",
                "NOT CLEAN",
            ],
        );
    }

    #[test]
    fn a_summary_without_deliveries_has_no_figures() {
        check(&sample::bare().to_string(), &["latency        not measured", "clean"]);
    }
}
