//! Converts an error of figment or serde into a mistake: the key, its origin, the problem, and the
//! expected form.

use figment::Figment;
use figment::error::{Error, Kind};
use figment::value::Value;

use super::layer::Layer;
use super::{ConfigError, Hint, Origin, Source, suggest};
use crate::kafka::is_secret_at;

pub(super) fn explain(error: Error, figment: &Figment, layers: &[Layer]) -> ConfigError {
    let layer = error.metadata.as_ref().and_then(|metadata| layers.get(metadata.name.parse::<usize>().ok()?));
    let path = error.path;
    let key = path.join(".");
    let origin =
        layer.map_or_else(|| Origin { source: Source::Defaults, line: None }, |layer| layer.origin(&path));
    match error.kind {
        Kind::UnknownField(name, names) => {
            let hint = suggest::nearest(&name, names).map_or(Hint::OneOf(names), Hint::Meant);
            ConfigError::Unknown { key, origin, hint }
        }
        Kind::MissingField(name) => {
            let key = if key.is_empty() { name.into_owned() } else { format!("{key}.{name}") };
            ConfigError::Missing { key }
        }
        kind => {
            let problem = problem(&kind, &path, figment, layers);
            ConfigError::Value { key, origin, problem }
        }
    }
}

fn problem(kind: &Kind, path: &[String], figment: &Figment, layers: &[Layer]) -> String {
    let (found, example) = if is_secret_at(path) {
        (None, None)
    } else {
        (at(&figment.extract::<Value>().ok(), path), default_at(layers, path))
    };
    let what = match kind {
        Kind::InvalidType(_, expected) | Kind::InvalidValue(_, expected) => format!("expected {expected}"),
        Kind::UnknownVariant(_, names) => format!("expected one of {}", names.join(", ")),
        Kind::InvalidLength(length, expected) => format!("expected {expected}, found {length}"),
        Kind::ISizeOutOfRange(_) | Kind::USizeOutOfRange(_) => "the number is out of range".to_owned(),
        // The message of a type's own parser.
        Kind::Message(message) => message.clone(),
        other => other.to_string(),
    };
    let found = found.map_or_else(String::new, |found| format!("{found}: "));
    let example = example.map_or_else(String::new, |example| format!("; the default is {example}"));
    format!("{found}{what}{example}")
}

fn default_at(layers: &[Layer], path: &[String]) -> Option<String> {
    at(&layers.first().map(|layer| Value::from(layer.values.clone())), path)
}

/// The value at `path` as written in TOML; sections are too long to repeat.
fn at(values: &Option<Value>, path: &[String]) -> Option<String> {
    let mut value = values.as_ref()?;
    for name in path {
        value = value.as_dict()?.get(name)?;
    }
    written(value)
}

fn written(value: &Value) -> Option<String> {
    match value {
        Value::String(_, text) => Some(format!("{text:?}")),
        Value::Bool(_, truth) => Some(truth.to_string()),
        Value::Num(_, number) => {
            let integer = number.to_i128().map(|n| n.to_string());
            integer.or_else(|| number.to_f64().map(|n| n.to_string()))
        }
        Value::Array(_, items) => {
            let items: Option<Vec<String>> = items.iter().map(written).collect();
            Some(format!("[{}]", items?.join(", ")))
        }
        _ => None,
    }
}
