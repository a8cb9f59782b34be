//! Checks reports against `schema.json`.

use serde_json::Value;

use super::{Percentiles, Report, sample};
use crate::{interval::Distribution, schema};

fn check(value: &Value) -> Vec<String> {
    schema::violations("report", value)
}

fn json(report: &Report) -> Value {
    serde_json::to_value(report).expect("a report is JSON")
}

#[test]
fn a_report_conforms_to_its_schema() {
    assert_eq!(check(&json(&sample::full())), Vec::<String>::new());
    assert_eq!(check(&json(&sample::bare())), Vec::<String>::new());
}

#[test]
fn a_report_can_be_read_again() {
    for report in [sample::full(), sample::bare()] {
        let again: Report = serde_json::from_value(json(&report)).expect("it was written");
        assert_eq!(json(&again), json(&report));
    }
}

#[test]
fn violations_of_the_schema_are_found() {
    let change = |pointer: &str, to: Value| {
        let mut report = json(&sample::full());
        *report.pointer_mut(pointer).expect("the report has it") = to;
        check(&report).join("\n")
    };
    assert!(change("/verdict", "fine".into()).starts_with("/verdict: "));
    assert!(change("/violations/lost", Value::Null).starts_with("/violations/lost: "));
    assert!(change("/latency_us/p99", (-1).into()).starts_with("/latency_us/p99: "));
    assert!(change("/storm/behind_min", "x".into()).starts_with("/storm/behind_min: "));
    assert!(
        change("/sessions/closes", serde_json::json!({"1006": "x"})).starts_with("/sessions/closes/1006: ")
    );
    let mut report = json(&sample::full());
    report.as_object_mut().expect("it is one").insert("more".into(), 1.into());
    assert!(check(&report).join("\n").contains("'more'"));
    report.as_object_mut().expect("it is one").remove("timeline");
    assert!(check(&report).join("\n").contains("\"timeline\" is a required"));
}

#[test]
fn percentiles_without_values_are_not_measured() {
    let nothing = Percentiles::from(&Distribution::new());
    assert_eq!(nothing.to_string(), "not measured: no values");
}
