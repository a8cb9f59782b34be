//! What of a report of `loadgen` is used.

use serde::{Deserialize, Serialize};

use crate::bench::figures::{count, ratio};

/// A report of loadgen, as far as it is used. What the fields mean says `loadgen/schema.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct LoadReport {
    verdict: Verdict,
    pub(crate) violations: Violations,
    pub(crate) measured: Measured,
    pub(crate) latency_us: Percentiles,
    pub(crate) kafka: Option<Kafka>,
    pub(crate) storm: Option<StormFound>,
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

/// What became of those who were dropped.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct StormFound {
    pub(crate) resumed: u64,
    pub(crate) resumed_seconds: Option<f64>,
    pub(crate) caught_up: u64,
    pub(crate) caught_up_seconds: Option<f64>,
    pub(crate) behind_min: Option<u64>,
    pub(crate) behind_max: u64,
    pub(crate) catch_up_ratio: Option<f64>,
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
        (self.count > 0).then(|| count(us) / 1e3)
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
            serde_json::from_str(include_str!("../../../schema.json")).expect("the schema is JSON");
        let report: LoadReport =
            serde_json::from_value(instance(&schema, &schema)).expect("everything that is read is there");
        assert!(report.is_clean());
        assert_eq!(report.latency_us.p99_ms(), Some(0.007));
        assert_eq!(report.kafka.and_then(|kafka| kafka.latency_us.p50_ms()), Some(0.007));
        assert_eq!(report.memory.and_then(|memory| memory.per_idle_connection), Some(7));
    }
}
