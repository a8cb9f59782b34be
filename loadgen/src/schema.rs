//! Holds reports against the JSON schemas that are published with them.

use serde_json::{Value, json};

/// Returns where a value breaks the definition at a pointer of a schema.
pub(crate) fn violations(schema: &str, pointer: &str, value: &Value) -> Vec<String> {
    let root: Value = serde_json::from_str(schema).expect("the schema is JSON");
    let schema = if pointer.is_empty() {
        root
    } else {
        json!({ "$ref": format!("#{pointer}"), "$defs": root["$defs"] })
    };
    let validator = jsonschema::validator_for(&schema).expect("the schema is one");
    validator.iter_errors(value).map(|error| format!("{}: {error}", error.instance_path())).collect()
}
