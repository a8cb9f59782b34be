//! Converts text from the environment or a flag to the type of the key's default.

use figment::value::{Dict, Value};

use super::values;

/// Converts text. The error names the expected form.
pub(super) fn typed(defaults: &Dict, path: &[String], text: &str) -> Result<Value, String> {
    if free_section(defaults, path).is_some() {
        return Ok(text.into());
    }
    match value_at(defaults, path) {
        Some(Value::Bool(..)) => match text {
            "true" => Ok(true.into()),
            "false" => Ok(false.into()),
            _ => Err(format!("{text:?}: expected true or false")),
        },
        Some(Value::Num(_, number)) => {
            let integer = number.to_i128().is_some() || number.to_u128().is_some();
            let value = if integer { whole(text) } else { float(text) };
            let kind = if integer { "an integer" } else { "a number" };
            value.ok_or_else(|| format!("{text:?}: expected {kind}"))
        }
        Some(Value::Array(..)) => Ok(list(text).into()),
        Some(Value::Dict(..)) => Err("a section cannot have a value; set one of its keys".to_owned()),
        // Text, or a key that may exist without a default. Whether it does is decided by the
        // configuration's type.
        Some(_) | None => Ok(text.into()),
    }
}

/// The index at which the name begins in `path`, if it leads into a section that accepts any names.
pub(super) fn free_section(defaults: &Dict, path: &[String]) -> Option<usize> {
    (1..path.len())
        .find(|&at| matches!(value_at(defaults, &path[..at]), Some(Value::Dict(_, dict)) if dict.is_empty()))
}

/// The sections that accept any names: those that are empty in the defaults.
pub(super) fn free_sections(defaults: &Dict) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    for (name, value) in defaults {
        if let Value::Dict(_, inner) = value {
            if inner.is_empty() {
                found.push(vec![name.clone()]);
            }
            found.extend(free_sections(inner).into_iter().map(|mut path| {
                path.insert(0, name.clone());
                path
            }));
        }
    }
    found
}

/// Sections within sections become names with dots, and every value becomes text.
pub(super) fn flattened(section: &Dict) -> Dict {
    let mut flat = Dict::new();
    for (name, value) in section {
        match value {
            Value::Dict(_, inner) => {
                flat.extend(
                    flattened(inner).into_iter().map(|(rest, value)| (format!("{name}.{rest}"), value)),
                );
            }
            Value::Bool(_, truth) => drop(flat.insert(name.clone(), truth.to_string().into())),
            Value::Num(_, number) => drop(flat.insert(name.clone(), number_text(*number).into())),
            other => drop(flat.insert(name.clone(), other.clone())),
        }
    }
    flat
}

/// The value at `path`, if any.
pub(super) fn value_at<'a>(values: &'a Dict, path: &[String]) -> Option<&'a Value> {
    let (last, sections) = path.split_last()?;
    let mut values = values;
    for name in sections {
        values = values.get(name)?.as_dict()?;
    }
    values.get(last)
}

/// An integer, or a size with its unit: the key's type decides whether units are allowed.
fn whole(text: &str) -> Option<Value> {
    let integer = text.parse().map(|number: i64| number.into()).ok();
    integer.or_else(|| values::size(text).map(|_| text.into()))
}

fn float(text: &str) -> Option<Value> {
    text.parse::<f64>().ok().filter(|number| number.is_finite()).map(Value::from)
}

fn number_text(number: figment::value::Num) -> String {
    let integer = number.to_i128().map(|n| n.to_string()).or_else(|| number.to_u128().map(|n| n.to_string()));
    integer.or_else(|| number.to_f64().map(|n| n.to_string())).unwrap_or_default()
}

fn list(text: &str) -> Vec<Value> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(Value::from).collect()
}
