//! Whether a report is what `schema.json` says: the part of JSON Schema that the schema uses.

use serde_json::{Map, Value};

use super::{Percentiles, Report, sample};
use crate::interval::Distribution;

const SCHEMA: &str = include_str!("../../schema.json");

/// Keywords that say something to people alone.
const ANNOTATIONS: [&str; 4] = ["$schema", "$defs", "title", "description"];

/// Returns what is wrong, as `path: what`.
fn violations(schema: &Value, root: &Value, value: &Value, path: &str, found: &mut Vec<String>) {
    let keywords = schema.as_object().expect("a schema is an object");
    for (keyword, rule) in keywords {
        let kept = match keyword.as_str() {
            "$ref" => {
                let pointer = rule.as_str().and_then(|to| to.strip_prefix('#')).expect("within the schema");
                let target = root.pointer(pointer).unwrap_or_else(|| panic!("{pointer} is not there"));
                violations(target, root, value, path, found);
                true
            }
            "type" => is_of(value, rule),
            "enum" => rule.as_array().is_some_and(|all| all.contains(value)),
            "minimum" => value.is_null() || value.as_f64() >= rule.as_f64(),
            "required" => value.as_object().is_none_or(|object| has_all(object, rule)),
            "properties" => {
                for (name, rule) in rule.as_object().into_iter().flatten() {
                    if let Some(value) = value.get(name) {
                        violations(rule, root, value, &format!("{path}.{name}"), found);
                    }
                }
                true
            }
            "additionalProperties" => additional(keywords, rule, root, value, path, found),
            "items" => {
                for (at, value) in value.as_array().into_iter().flatten().enumerate() {
                    violations(rule, root, value, &format!("{path}[{at}]"), found);
                }
                true
            }
            annotation => {
                assert!(ANNOTATIONS.contains(&annotation), "{annotation} is not understood here");
                true
            }
        };
        if !kept {
            found.push(format!("{path}: {keyword} {rule}, and it is {value}"));
        }
    }
}

fn additional(
    keywords: &Map<String, Value>,
    rule: &Value,
    root: &Value,
    value: &Value,
    path: &str,
    found: &mut Vec<String>,
) -> bool {
    let known = keywords.get("properties").and_then(Value::as_object);
    let others = value.as_object().into_iter().flatten();
    let mut others = others.filter(|(name, _)| known.is_none_or(|known| !known.contains_key(*name)));
    if *rule == Value::Bool(false) {
        return others.next().is_none();
    }
    for (name, value) in others {
        violations(rule, root, value, &format!("{path}.{name}"), found);
    }
    true
}

fn is_of(value: &Value, types: &Value) -> bool {
    let is = |name: &Value| match name.as_str() {
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("string") => value.is_string(),
        Some("boolean") => value.is_boolean(),
        Some("null") => value.is_null(),
        Some("number") => value.is_number(),
        Some("integer") => value.is_u64() || value.is_i64(),
        other => panic!("{other:?} is no type"),
    };
    types.as_array().map_or_else(|| is(types), |types| types.iter().any(is))
}

fn has_all(object: &Map<String, Value>, names: &Value) -> bool {
    names.as_array().is_some_and(|names| {
        names.iter().all(|name| name.as_str().is_some_and(|name| object.contains_key(name)))
    })
}

fn check(value: &Value) -> Vec<String> {
    let schema: Value = serde_json::from_str(SCHEMA).expect("the schema is JSON");
    let mut found = Vec::new();
    violations(&schema, &schema, value, "report", &mut found);
    found
}

fn json(report: &Report) -> Value {
    serde_json::to_value(report).expect("a report is JSON")
}

#[test]
fn a_report_is_as_its_schema_says() {
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
fn a_report_that_is_not_is_found_out() {
    let change = |pointer: &str, to: Value| {
        let mut report = json(&sample::full());
        *report.pointer_mut(pointer).expect("the report has it") = to;
        check(&report).join("\n")
    };
    assert!(change("/verdict", "fine".into()).contains("report.verdict: enum"));
    assert!(change("/violations/lost", Value::Null).contains("report.violations.lost: type"));
    assert!(change("/latency_us/p99", (-1).into()).contains("report.latency_us.p99: minimum"));
    assert!(change("/storm/behind_min", "x".into()).contains("report.storm.behind_min: type"));
    assert!(change("/sessions/closes", serde_json::json!({"1006": "x"})).contains("closes.1006: type"));
    let mut report = json(&sample::full());
    report.as_object_mut().expect("it is one").insert("more".into(), 1.into());
    assert!(check(&report).join("\n").contains("report: additionalProperties"));
    report.as_object_mut().expect("it is one").remove("timeline");
    assert!(check(&report).join("\n").contains("report: required"));
}

#[test]
fn percentiles_of_nothing_say_so() {
    let nothing = Percentiles::from(&Distribution::new());
    assert_eq!(nothing.to_string(), "not measured: there was nothing");
}
