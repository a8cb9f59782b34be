//! The two text forms of a registry: OpenMetrics 1.0 and Prometheus' older text format.
//!
//! They differ in how a counter's family is named (`x` with the sample `x_total`, against `x_total`
//! for both), in the units' line and in the end marker. Samples are the same, so the older form is
//! made from the lines of the newer.

use prometheus_client::registry::Registry;

/// The text form of the response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exposition {
    /// OpenMetrics, which Prometheus requests by default.
    OpenMetrics,
    /// Prometheus text, for all other readers, including `promtool check metrics`.
    Text,
}

impl Exposition {
    /// Chooses by the `Accept` header; the older form unless the newer is requested.
    pub fn of_accept(accept: &str) -> Self {
        if accept.contains("application/openmetrics-text") { Self::OpenMetrics } else { Self::Text }
    }

    /// The value of the `Content-Type` header.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// Encodes every metric of `registry`.
///
/// # Errors
/// When a metric cannot be encoded; those of this workspace always can.
pub fn encode(registry: &Registry, exposition: Exposition) -> Result<String, std::fmt::Error> {
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, registry)?;
    match exposition {
        Exposition::OpenMetrics => Ok(text),
        Exposition::Text => Ok(older_form(&text)),
    }
}

fn older_form(openmetrics: &str) -> String {
    let mut text = String::with_capacity(openmetrics.len() + 256);
    // Help comes before type, but the name in the help line depends on the type.
    let mut help: Option<(&str, &str)> = None;
    for line in openmetrics.lines() {
        if let Some((name, words)) = line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' ')) {
            help = Some((name, words));
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' '))
        {
            let (suffix, kind) = match kind {
                "counter" => ("_total", "counter"),
                "info" => ("_info", "gauge"),
                "unknown" => ("", "untyped"),
                other => ("", other),
            };
            if let Some((_, words)) = help.take().filter(|(of, _)| *of == name) {
                text.extend(["# HELP ", name, suffix, " ", words, "\n"]);
            }
            text.extend(["# TYPE ", name, suffix, " ", kind, "\n"]);
        } else if !line.starts_with("# UNIT ") && line != "# EOF" {
            text.extend([line, "\n"]);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{Metrics, ShardedCounter};
    use prometheus_client::metrics::histogram::Histogram;
    use prometheus_client::registry::Unit;

    #[test]
    fn the_older_form_names_counters_by_their_samples() {
        let mut registry = Registry::default();
        let counter = ShardedCounter::default();
        counter.inc_by(3);
        registry.register("tailcast_push_deliveries", "Records written", counter);
        registry.register_with_unit("tailcast_wait", "Waits", Unit::Seconds, Histogram::new([0.5]));
        let text = encode(&registry, Exposition::Text).expect("it encodes");
        assert_eq!(
            text,
            "# HELP tailcast_push_deliveries_total Records written.\n\
             # TYPE tailcast_push_deliveries_total counter\n\
             tailcast_push_deliveries_total 3\n\
             # HELP tailcast_wait_seconds Waits.\n\
             # TYPE tailcast_wait_seconds histogram\n\
             tailcast_wait_seconds_sum 0.0\n\
             tailcast_wait_seconds_count 0\n\
             tailcast_wait_seconds_bucket{le=\"0.5\"} 0\n\
             tailcast_wait_seconds_bucket{le=\"+Inf\"} 0\n"
        );
    }

    #[test]
    fn a_process_tells_its_version_memory_files_and_time() {
        let text = encode(&Metrics::new().registry, Exposition::OpenMetrics).expect("it encodes");
        for name in [
            "tailcast_build_info{version=",
            "process_resident_memory_bytes ",
            "process_open_fds ",
            "process_cpu_seconds_total ",
        ] {
            assert!(text.lines().any(|line| line.starts_with(name)), "no {name} in\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    fn the_newer_form_is_sent_only_when_asked_for() {
        assert_eq!(Exposition::of_accept("*/*"), Exposition::Text);
        assert_eq!(
            Exposition::of_accept("application/openmetrics-text;version=1.0.0,text/plain;q=0.5"),
            Exposition::OpenMetrics
        );
    }
}
