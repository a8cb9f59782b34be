//! Checks reports against their JSON schema.

use serde_json::{Value, json};

const SCHEMA: &str = include_str!("../schema.json");

/// Returns the violations of a definition of the schema.
pub(crate) fn violations(definition: &str, value: &Value) -> Vec<String> {
    let root: Value = serde_json::from_str(SCHEMA).expect("the schema is JSON");
    let schema = json!({ "$ref": format!("#/$defs/{definition}"), "$defs": root["$defs"] });
    let validator = jsonschema::validator_for(&schema).expect("the schema is one");
    validator.iter_errors(value).map(|error| format!("{}: {error}", error.instance_path())).collect()
}
