//! The effective configuration as TOML, with the source of each value, and with possible secrets
//! redacted.

use std::fmt;

use serde_json::{Map, Value};
use tailcast_services::kafka::{self, Property, Standing};

use super::{Layers, LoadError, layers::tree_of_defaults};

/// The effective configuration as text.
#[derive(Debug, Clone)]
pub(crate) struct Shown {
    result: Map<String, Value>,
    /// The values below each layer, from the top: a layer has set every value that differs from the
    /// one below.
    below: Vec<(&'static str, Value)>,
}

impl Shown {
    /// Applies `layers` to the defaults.
    pub(crate) fn new(layers: &Layers) -> Result<Self, LoadError> {
        let file = Layers { file: layers.file.clone(), ..Layers::default() };
        let environment = Layers { environment: layers.environment.clone(), ..file.clone() };
        let below = vec![
            ("a flag", environment.tree()?),
            ("the environment", file.tree()?),
            ("the file", tree_of_defaults()),
        ];
        let result = match layers.tree()? {
            Value::Object(sections) => sections,
            _ => Map::new(),
        };
        Ok(Self { result, below })
    }

    /// Returns the source of the value at `path`; `None` for a default.
    fn source(&self, path: &[&str], value: &Value) -> Option<&'static str> {
        let at = |tree: &Value| path.iter().try_fold(tree, |value, part| value.get(part)).cloned();
        self.below.iter().find(|(_, tree)| at(tree).as_ref() != Some(value)).map(|(source, _)| *source)
    }

    /// Returns whether the configuration sets a property, so that it is already shown there.
    fn sets(&self, property: &Property) -> bool {
        let own = self.result.get("kafka").and_then(|kafka| kafka.get("properties"));
        own.is_some_and(|own| own.get(property.name).is_some())
    }

    fn table(&self, text: &mut String, path: &[&str], table: &Map<String, Value>) {
        if !path.is_empty() {
            let name: Vec<String> = path.iter().map(|part| bare_or_quoted(part)).collect();
            let space = if text.is_empty() { "" } else { "\n" };
            text.push_str(&format!("{space}[{}]\n", name.join(".")));
        }
        let (tables, values): (Vec<_>, Vec<_>) = table.iter().partition(|(_, value)| value.is_object());
        for (key, value) in values {
            let path = [path, &[key.as_str()]].concat();
            let shown = if kafka::is_secret_at(&path) { kafka::REDACTED.into() } else { value.clone() };
            let source = self.source(&path, value);
            let source = source.map(|source| format!("  # from {source}")).unwrap_or_default();
            text.push_str(&format!("{} = {shown}{source}\n", bare_or_quoted(key)));
        }
        for (key, value) in tables {
            if let Value::Object(table) = value {
                self.table(text, &[path, &[key.as_str()]].concat(), table);
            }
        }
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        self.table(&mut text, &[], &self.result);
        f.write_str(&text)?;
        writeln!(
            f,
            "\n# Other librdkafka properties. A preset can be changed in [kafka.properties]; an owned property cannot."
        )?;
        kafka::properties()
            .iter()
            .filter(|property| !self.sets(property))
            .try_for_each(|property| preset(f, property))
    }
}

fn preset(f: &mut fmt::Formatter<'_>, property: &Property) -> fmt::Result {
    let standing = match property.standing {
        Standing::Preset => "preset",
        Standing::Owned => "owned",
    };
    let roles: Vec<_> = property.roles.iter().map(ToString::to_string).collect();
    let roles = if roles.is_empty() { "never set".to_owned() } else { roles.join(", ") };
    let value = property.value.map(|value| format!(" = {value}")).unwrap_or_default();
    writeln!(f, "#   {}{value}  ({standing}; {}): {}", property.name, roles, property.reason)
}

fn bare_or_quoted(key: &str) -> String {
    let bare = key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    if bare { key.to_owned() } else { format!("{key:?}") }
}

#[cfg(test)]
mod tests {
    use tailcast_services::config::FlagValue;

    use super::*;

    fn layers(environment: &[(&str, &str)], flags: &[(&'static str, &str, &str)]) -> Layers {
        let environment =
            environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let flag = |(flag, key, value): &(&'static str, &str, &str)| FlagValue {
            flag,
            key: (*key).to_owned(),
            value: (*value).to_owned(),
        };
        Layers { file: None, environment, flags: flags.iter().map(flag).collect() }
    }

    #[track_caller]
    fn check(layers: &Layers, expected: &str) {
        let shown =
            Shown::new(layers).map_err(|error| error.to_string()).expect("the layers are valid").to_string();
        assert!(shown.lines().any(|line| line == expected), "no line {expected:?} in\n{shown}");
    }

    #[test]
    fn a_value_is_shown_with_where_it_came_from() {
        let variable = ("TAILCAST__PUSH__LISTEN", "127.0.0.1:8081");
        let flag = ("--set", "push.listen", "127.0.0.1:8082");
        check(&layers(&[], &[]), r#"listen = "127.0.0.1:8080""#);
        check(&layers(&[variable], &[]), r#"listen = "127.0.0.1:8081"  # from the environment"#);
        check(&layers(&[variable], &[flag]), r#"listen = "127.0.0.1:8082"  # from a flag"#);
    }

    #[test]
    fn a_secret_is_never_shown() {
        let secret = ("TAILCAST__KAFKA__PROPERTIES__sasl.password", "hunter2");
        check(&layers(&[secret], &[]), r#""sasl.password" = "[redacted]"  # from the environment"#);
    }

    #[test]
    fn a_possible_secret_is_not_shown() {
        // Every value was shown unless its key was the name of a secret, so a misspelt key revealed
        // a password.
        let layers = layers(
            &[],
            &[
                ("--set", "kafka.properties.sasl.pasword", "hunter2"),
                ("--set", "kafka.properties.sasl.jaas.config", "password=hunter2"),
                ("--set", "kafka.properties.sasl.username", "tailcast"),
            ],
        );
        check(&layers, r#""sasl.pasword" = "[redacted]"  # from a flag"#);
        check(&layers, r#""sasl.jaas.config" = "[redacted]"  # from a flag"#);
        check(&layers, r#""sasl.username" = "tailcast"  # from a flag"#);
    }

    #[test]
    fn a_property_is_shown_in_one_place() {
        let shown = |layers: &Layers| {
            Shown::new(layers).map_err(|error| error.to_string()).expect("the layers are valid").to_string()
        };
        let preset = |text: &str| text.lines().any(|line| line.starts_with("#   linger.ms = "));
        assert!(preset(&shown(&layers(&[], &[]))));
        let changed = shown(&layers(&[], &[("--set", "kafka.properties.linger.ms", "2")]));
        assert!(!preset(&changed) && changed.contains(r#""linger.ms" = "2"  # from a flag"#), "{changed}");
    }

    #[test]
    fn the_shown_configuration_has_the_same_result() {
        let once =
            Shown::new(&layers(&[], &[])).map_err(|error| error.to_string()).expect("defaults are valid");
        let again = tailcast_services::config::load::<Value>(
            Box::leak(once.to_string().into_boxed_str()),
            None,
            [],
            &[],
        );
        let again = again.map_err(|error| error.to_string()).expect("the shown configuration is TOML");
        assert_eq!(again, Value::Object(once.result));
    }
}
