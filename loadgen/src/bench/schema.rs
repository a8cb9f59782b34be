//! Whether results are what `loadgen/bench/schema.json` says: the part of JSON Schema that it uses.

use serde_json::Value;

const SCHEMA: &str = include_str!("../../bench/schema.json");

/// Keywords that say something to people alone.
const ANNOTATIONS: [&str; 4] = ["$schema", "$defs", "title", "description"];

/// Returns where a value is not what the part of the schema at a pointer says.
pub(crate) fn violations(pointer: &str, value: &Value) -> Vec<String> {
    let root: Value = serde_json::from_str(SCHEMA).expect("the schema is JSON");
    let mut found = Vec::new();
    look(&root, pointer, value, "results", &mut found);
    found
}

fn look(root: &Value, pointer: &str, value: &Value, path: &str, found: &mut Vec<String>) {
    let schema = root.pointer(pointer).unwrap_or_else(|| panic!("{pointer} is not in the schema"));
    for (keyword, rule) in schema.as_object().expect("a schema is an object") {
        let kept = match keyword.as_str() {
            "type" => is_of(value, rule),
            "enum" => rule.as_array().is_some_and(|all| all.contains(value)),
            "minimum" => value.is_null() || value.as_f64() >= rule.as_f64(),
            "required" => value.as_object().is_none_or(|object| {
                let names = rule.as_array().into_iter().flatten();
                names.filter_map(Value::as_str).all(|name| object.contains_key(name))
            }),
            "additionalProperties" => {
                assert_eq!(*rule, false, "nothing else is understood here");
                let mut names = value.as_object().into_iter().flatten().map(|(name, _)| name);
                names.all(|name| schema["properties"].get(name).is_some())
            }
            "$ref" => {
                let target = rule.as_str().and_then(|to| to.strip_prefix('#')).expect("within the schema");
                look(root, target, value, path, found);
                true
            }
            "properties" => {
                for (name, value) in value.as_object().into_iter().flatten() {
                    if rule.get(name).is_some() {
                        let pointer = format!("{pointer}/properties/{name}");
                        look(root, &pointer, value, &format!("{path}.{name}"), found);
                    }
                }
                true
            }
            "items" => {
                for (at, value) in value.as_array().into_iter().flatten().enumerate() {
                    look(root, &format!("{pointer}/items"), value, &format!("{path}[{at}]"), found);
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

fn is_of(value: &Value, types: &Value) -> bool {
    let is = |name: &Value| match name.as_str() {
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("string") => value.is_string(),
        Some("boolean") => value.is_boolean(),
        Some("null") => value.is_null(),
        Some("number") => value.is_number(),
        Some("integer") => value.is_u64(),
        other => panic!("{other:?} is no type"),
    };
    types.as_array().map_or_else(|| is(types), |types| types.iter().any(is))
}

#[test]
fn what_is_not_as_the_schema_says_is_found_out() {
    let shape = |json: &str| violations("/$defs/shape", &serde_json::from_str(json).expect("it is JSON"));
    assert_eq!(shape(r#"{"connections":1,"keys":1,"rate":1,"payload":1}"#), Vec::<String>::new());
    assert!(shape(r#"{"connections":1,"keys":1,"rate":1}"#)[0].contains("required"));
    assert!(shape(r#"{"connections":1,"keys":1,"rate":1,"payload":-1}"#)[0].contains("payload"));
    assert!(shape(r#"{"connections":1,"keys":1,"rate":1,"payload":1,"x":1}"#)[0].contains("additional"));
}
