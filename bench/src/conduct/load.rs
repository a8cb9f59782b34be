//! What `loadgen` is asked for, and what of its report is used.

use std::time::Duration;

use anyhow::Result;
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use super::{node::Node, stage::Stage};
use crate::{figures::ratio, process, shape::Shape};

/// As many as `floor` has.
const PARTITIONS: u16 = 12;

/// What loadgen has open besides connections.
const FILES_OTHERWISE: u64 = 200;

/// How many connections are opened in a second.
const CONNECT_RATE: u32 = 2_000;

/// How late loadgen may be where both cores are full by design.
const LATE_MAX_WHEN_FULL: Duration = Duration::from_secs(60);

/// A load.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Load {
    pub(crate) connections: u32,
    pub(crate) channels_per_connection: u32,
    pub(crate) keys: u32,
    /// Events per second.
    pub(crate) rate: u32,
    pub(crate) payload: u32,
    pub(crate) format: Format,
    /// Whether the cores are full by design, so that loadgen may be late.
    #[serde(skip)]
    pub(crate) full: bool,
    /// Whether a bare consumer reads the same topic at the same time.
    #[serde(skip)]
    pub(crate) compare_kafka: bool,
}

/// The form of WebSocket messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Format {
    /// Protobuf in binary messages.
    Proto,
    /// ProtoJSON in text messages.
    Json,
}

impl Load {
    /// Returns the load that the floor has at this shape.
    pub(crate) fn of(shape: &Shape) -> Self {
        Self {
            connections: shape.connections,
            channels_per_connection: 1,
            keys: shape.keys,
            rate: shape.rate,
            payload: shape.payload,
            format: Format::Proto,
            full: false,
            compare_kafka: false,
        }
    }

    /// Returns the flags that make this load on a node.
    pub(super) fn flags(
        &self,
        stage: &Stage,
        node: &Node,
        topic: &str,
    ) -> Result<Vec<(&'static str, String)>> {
        let duration = |time: Duration| humantime::format_duration(time).to_string();
        let format = match self.format {
            Format::Proto => "proto",
            Format::Json => "json",
        };
        let mut flags = vec![
            ("--url", node.url()),
            ("--server-pid", node.pid()?.to_string()),
            ("--server-metrics", node.metrics_url()),
            ("--kafka", stage.kafka.clone()),
            ("--topic", topic.to_owned()),
            // It is there; so loadgen waits until it has leaders.
            ("--create-topic", PARTITIONS.to_string()),
            ("--connections", self.connections.to_string()),
            ("--channels-per-connection", self.channels_per_connection.to_string()),
            ("--keys", self.keys.to_string()),
            ("--rate", self.rate.to_string()),
            ("--payload", self.payload.to_string()),
            ("--subprotocol", format.to_owned()),
            ("--connect-rate", CONNECT_RATE.to_string()),
            ("--processes", processes(self.connections, process::files_max()?).to_string()),
            ("--warmup", duration(stage.pace.warmup)),
            ("--duration", duration(stage.pace.duration)),
            ("--json", "-".to_owned()),
        ];
        if self.full {
            flags.push(("--late-max", duration(LATE_MAX_WHEN_FULL)));
        }
        Ok(flags)
    }

    /// Returns the flags that have no value.
    pub(super) fn switches(&self) -> &'static [&'static str] {
        if self.compare_kafka { &["--compare-kafka"] } else { &[] }
    }
}

/// Returns how many processes hold so many connections, each with an open file.
fn processes(connections: u32, files_max: Option<u64>) -> u64 {
    let each = files_max.unwrap_or(u64::MAX).saturating_sub(FILES_OTHERWISE).max(1);
    u64::from(connections).div_ceil(each).max(1)
}

/// A report of loadgen, as far as it is used. What the fields mean says `loadgen/schema.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct LoadReport {
    verdict: Verdict,
    pub(crate) violations: Violations,
    pub(crate) measured: Measured,
    pub(crate) latency_us: Percentiles,
    pub(crate) kafka: Option<Kafka>,
    pub(crate) memory: Option<Memory>,
    pub(crate) loadgen: Loadgen,
    pub(crate) incidents: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Verdict {
    Clean,
    Violated,
    Saturated,
    ThresholdFailed,
}

/// What was wrong.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Violations {
    pub(crate) lost: u64,
    pub(crate) repeated: u64,
    pub(crate) out_of_order: u64,
    pub(crate) corrupt: u64,
}

/// The measured stretch.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Measured {
    pub(crate) deliveries_per_second: f64,
    pub(crate) deliveries_per_message: f64,
    pub(crate) server_cpu_us_per_delivery: Option<f64>,
    pub(crate) server_cpus: Option<f64>,
    pub(crate) own_cpus: f64,
}

/// A distribution.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Percentiles {
    /// Of nothing, the others mean nothing.
    count: u64,
    p50: u64,
    p99: u64,
}

/// What a bare consumer saw of the same events.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Kafka {
    pub(crate) latency_us: Percentiles,
}

/// The memory of the node, in bytes.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Memory {
    pub(crate) per_idle_connection: Option<u64>,
    pub(crate) per_connection_at_end: Option<u64>,
}

/// How loadgen itself was.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Loadgen {
    pub(crate) saturated: Vec<String>,
}

impl LoadReport {
    /// Whether nothing was lost, repeated, out of order or corrupt, and the run was completed.
    pub(crate) fn is_clean(&self) -> bool {
        self.verdict != Verdict::Violated
    }

    /// Returns how many deliveries the node makes in a second of CPU.
    pub(crate) fn deliveries_per_cpu_second(&self) -> Option<f64> {
        ratio(1e6, self.measured.server_cpu_us_per_delivery?)
    }
}

impl Percentiles {
    /// Returns the median in milliseconds.
    pub(crate) fn p50_ms(&self) -> Option<f64> {
        self.ms(self.p50)
    }

    /// Returns the 99th percentile in milliseconds.
    pub(crate) fn p99_ms(&self) -> Option<f64> {
        self.ms(self.p99)
    }

    fn ms(&self, us: u64) -> Option<f64> {
        (self.count > 0).then(|| crate::figures::count(us) / 1e3)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, Value};

    use super::*;

    /// Makes the least that a schema asks for.
    fn instance(schema: &Value, root: &Value) -> Value {
        if let Some(to) = schema.get("$ref").and_then(Value::as_str) {
            let definition = root.pointer(to.trim_start_matches('#')).expect("the schema has it");
            return instance(definition, root);
        }
        if let Some(values) = schema.get("enum") {
            return values[0].clone();
        }
        let is_of = |name: &str| match &schema["type"] {
            Value::Array(names) => names.iter().any(|it| it == name),
            it => it == name,
        };
        if is_of("object") {
            let required = schema.get("required").and_then(Value::as_array).into_iter().flatten();
            let names = required.filter_map(Value::as_str);
            let fields = names.map(|name| (name.to_owned(), instance(&schema["properties"][name], root)));
            return Value::Object(fields.collect::<Map<_, _>>());
        }
        match () {
            () if is_of("integer") => 7.into(),
            () if is_of("number") => 0.5.into(),
            () if is_of("array") => Value::Array(Vec::new()),
            () if is_of("boolean") => true.into(),
            () => "text".into(),
        }
    }

    #[test]
    fn what_is_read_of_a_report_is_what_the_schema_of_loadgen_promises() {
        let schema: Value =
            serde_json::from_str(include_str!("../../../loadgen/schema.json")).expect("the schema is JSON");
        let report: LoadReport =
            serde_json::from_value(instance(&schema, &schema)).expect("everything that is read is there");
        assert!(report.is_clean());
        assert_eq!(report.latency_us.p99_ms(), Some(0.007));
        assert_eq!(report.kafka.and_then(|kafka| kafka.latency_us.p50_ms()), Some(0.007));
        assert_eq!(report.memory.and_then(|memory| memory.per_idle_connection), Some(7));
    }

    #[test]
    fn more_connections_than_a_process_may_open_are_held_by_several() {
        assert_eq!(processes(12_000, Some(20_000)), 1);
        assert_eq!(processes(19_900, Some(20_000)), 2);
        assert_eq!(processes(50_000, None), 1);
    }
}
