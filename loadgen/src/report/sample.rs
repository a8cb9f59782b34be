//! Reports for tests: one with every section, and one of a run without results.

use std::{collections::BTreeMap, time::Duration};

use super::{
    BareKafka, Conflated, Events, Loadgen, Measured, Memory, Parameters, Percentiles, Report, Sessions,
    SlowReaders, StormReport, ThresholdResult, Verdict, Violations,
};
use crate::{
    interval::{Count, Distribution},
    servers::{CpuMark, Servers},
    tally::Second,
};

fn percentiles(us: &[u64]) -> Percentiles {
    let mut distribution = Distribution::new();
    us.iter().for_each(|us| distribution.record(*us));
    (&distribution).into()
}

fn counts<K: Ord>(entries: impl IntoIterator<Item = (K, u64)>) -> BTreeMap<K, u64> {
    entries.into_iter().collect()
}

/// A run with slow readers, a storm and conflation, and all kinds of failures.
pub(crate) fn full() -> Report {
    let mut report = bare();
    report.parameters.scenario = Some("steady".into());
    report.parameters.max_rate = Some(2.5);
    report.events.reasons = counts([("UNAVAILABLE".into(), 3)]);
    report.violations =
        Violations { lost: 1, endings: counts([("4409".into(), 1)]), ..Violations::default() };
    report.sessions = Sessions {
        closes: counts([(1006, 2), (4503, 1)]),
        closes_by_nodes: Some(counts([("4508".into(), 2)])),
        skips: counts([("SKIP_REASON_CONFLATED".into(), 5)]),
        ..Sessions::default()
    };
    report.latency_us = percentiles(&[900, 1500, 12_000]);
    report.kafka = Some(BareKafka { records: 4, latency_us: percentiles(&[700, 900, 2_000]) });
    report.slow = Some(SlowReaders {
        connections: 10,
        seconds: 60.0,
        pause_seconds: None,
        closes: counts([(4508, 1)]),
        latency_us: percentiles(&[60_000_000]),
        memory_before: Some(1 << 20),
        memory_max: Some(3 << 20),
        memory_after: Some(2 << 20),
        growth_per_client: Some(200_000),
    });
    report.storm = Some(StormReport {
        away_seconds: 10.0,
        resumed: 10,
        resumed_seconds: Some(0.5),
        caught_up: 9,
        caught_up_seconds: Some(1.5),
        behind_min: Some(1000),
        behind_max: 1001,
        unique_bytes: 1000,
        catch_up_bytes: Some(2000),
        catch_up_ratio: Some(2.0),
        latency_us: percentiles(&[5_000_000]),
    });
    report.conflated = Some(Conflated { records: 10, delivered: 4, skipped: 6 });
    report.memory = Some(Memory::new(1000, 2000, 500, 10));
    report.thresholds = vec![ThresholdResult {
        threshold: "p99<20ms".into(),
        value: Some(12_000.0),
        bound: Some(20_000.0),
        kept: Some(true),
        summary: "12.00 ms".into(),
    }];
    report.incidents = vec!["a publisher ended".into()];
    report.notes = vec!["process 1 ended".into()];
    report.loadgen.saturated = vec!["it was late".into()];
    report.timeline = (0..20).map(second).collect();
    report.verdict = Verdict::Violated;
    report
}

/// A run without any measurements.
pub(crate) fn bare() -> Report {
    let mark: CpuMark = Servers::new(&[]).expect("there are none").mark();
    Report {
        verdict: Verdict::Clean,
        parameters: Parameters {
            scenario: None,
            connections: 10,
            processes: 1,
            channels_per_connection: 1,
            channel_form: "exact".into(),
            mode: "lossless".into(),
            max_rate: None,
            keys: 1,
            rate: 1,
            payload_bytes: 36,
            publish_path: "1 publishers directly to Kafka".into(),
        },
        events: Events { planned: 10, published: 10, acknowledged: 9, refused: 0, reasons: BTreeMap::new() },
        deliveries: 0,
        violations: Violations::default(),
        sessions: Sessions::default(),
        measured: Measured::new(1.0, Count::default(), &mark.since(&mark), Duration::ZERO),
        latency_us: percentiles(&[]),
        kafka: None,
        slow: None,
        storm: None,
        conflated: None,
        memory: None,
        loadgen: Loadgen { lateness_us: percentiles(&[]), lag_us: percentiles(&[]), saturated: Vec::new() },
        thresholds: Vec::new(),
        incidents: Vec::new(),
        notes: Vec::new(),
        timeline: Vec::new(),
    }
}

fn second(at: u32) -> Second {
    Second {
        at_seconds: at.into(),
        deliveries_per_second: 1000.0 + f64::from(at),
        p50_us: (at > 0).then_some(1500),
        p99_us: (at > 0).then_some(12_000),
        max_us: (at > 0).then_some(20_000),
    }
}
