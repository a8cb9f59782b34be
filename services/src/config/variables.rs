//! Environment variables with misspelt names.
//!
//! Kubernetes injects variables such as `TAILCAST_PORT` for a service of that name, so an unknown
//! variable cannot be an error. One that differs from a key only in its underscores is reported.

use figment::value::{Dict, Value};

use super::{ConfigError, PREFIX, Source, layer::Layer};

/// A variable that is ignored, and the name that was probably intended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misspelt {
    /// The variable found.
    pub found: String,
    /// The variable that sets the key.
    pub meant: String,
}

/// Returns the variables that would name a key if their underscores were doubled.
///
/// # Errors
/// When the defaults cannot be read.
pub fn misspelt_variables(
    defaults: &'static str,
    names: impl IntoIterator<Item = String>,
) -> Result<Vec<Misspelt>, ConfigError> {
    let mut keys = Vec::new();
    collect(&Layer::of_text(Source::Defaults, defaults)?.values, "", &mut keys);
    let misspelt = names.into_iter().filter(|name| !name.starts_with(PREFIX)).filter_map(|found| {
        let collapsed = collapse(&found);
        let meant = keys.iter().find(|key| collapse(key) == collapsed)?.clone();
        Some(Misspelt { found, meant })
    });
    let mut misspelt: Vec<_> = misspelt.collect();
    misspelt.sort_unstable_by(|a, b| a.found.cmp(&b.found));
    Ok(misspelt)
}

/// The variable of each key of a section.
fn collect(section: &Dict, prefix: &str, keys: &mut Vec<String>) {
    for (name, value) in section {
        let key = if prefix.is_empty() {
            format!("{PREFIX}{}", name.to_uppercase())
        } else {
            format!("{prefix}__{}", name.to_uppercase())
        };
        match value {
            Value::Dict(_, inner) => collect(inner, &key, keys),
            _ => keys.push(key),
        }
    }
}

fn collapse(name: &str) -> String {
    name.to_uppercase().split('_').filter(|part| !part.is_empty()).collect::<Vec<_>>().join("_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_with_one_underscore_is_reported_with_the_right_name() {
        let defaults = "[push]\nlisten = ''\n[push.sessions]\ncount_max = 1\n[kafka.properties]\n";
        let names = [
            "TAILCAST_PUSH_LISTEN",
            "TAILCAST_PUSH__SESSIONS_COUNT_MAX",
            "tailcast_push_listen",
            "TAILCAST__PUSH__LISTEN",
            // Kubernetes makes these for services named `tailcast` and `tailcast-push`.
            "TAILCAST_PORT",
            "TAILCAST_PUSH_SERVICE_HOST",
            "PUSH_LISTEN",
        ];
        let found = misspelt_variables(defaults, names.map(str::to_owned));
        let found = found.map_err(|error| error.to_string()).expect("the defaults are right");
        let found: Vec<_> = found.iter().map(|m| format!("{} → {}", m.found, m.meant)).collect();
        assert_eq!(
            found,
            [
                "TAILCAST_PUSH_LISTEN → TAILCAST__PUSH__LISTEN",
                "TAILCAST_PUSH__SESSIONS_COUNT_MAX → TAILCAST__PUSH__SESSIONS__COUNT_MAX",
                "tailcast_push_listen → TAILCAST__PUSH__LISTEN",
            ]
        );
    }
}
