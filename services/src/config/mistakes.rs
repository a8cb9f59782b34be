//! All mistakes of a configuration at once.
//!
//! serde stops at the first invalid value. So that value is removed, which uncovers the value of
//! the layer below, and the configuration is read again, until no mistake is left.

use std::fmt;

use figment::Figment;
use figment::value::{Dict, Value};
use serde::de::DeserializeOwned;

use super::layer::Layer;
use super::{ConfigError, explain};

/// All mistakes found, in the order of the layers. Never empty.
#[derive(Debug, thiserror::Error)]
pub struct Mistakes(Vec<ConfigError>);

impl Mistakes {
    /// Each mistake, for one line each.
    pub fn iter(&self) -> impl Iterator<Item = &ConfigError> {
        self.0.iter()
    }
}

impl From<ConfigError> for Mistakes {
    fn from(mistake: ConfigError) -> Self {
        Self(vec![mistake])
    }
}

/// A line for each.
impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for mistake in &self.0 {
            write!(f, "{separator}{mistake}")?;
            separator = "\n";
        }
        Ok(())
    }
}

/// Reads the configuration from the layers; `mistakes` are those of the layers themselves.
pub(super) fn extract<T: DeserializeOwned>(
    mut layers: Vec<Layer>,
    mut mistakes: Vec<ConfigError>,
) -> Result<T, Mistakes> {
    loop {
        let figment = (layers.iter().enumerate())
            .fold(Figment::new(), |figment, (index, layer)| figment.merge(layer.provider(index)));
        let error = match figment.extract() {
            Ok(config) if mistakes.is_empty() => return Ok(config),
            Ok(_repaired) => return Err(Mistakes(mistakes)),
            Err(error) => error,
        };
        let index = error.metadata.as_ref().and_then(|metadata| metadata.name.parse::<usize>().ok());
        let path = error.path.clone();
        mistakes.push(explain::explain(error, &figment, &layers));
        // A mistake in the defaults is a bug of this program.
        let layer = index.filter(|index| *index > 0).and_then(|index| layers.get_mut(index));
        if !layer.is_some_and(|layer| remove(&mut layer.values, &path)) {
            return Err(Mistakes(mistakes));
        }
    }
}

/// Removes the key at `path`, and returns whether it was there.
fn remove(values: &mut Dict, path: &[String]) -> bool {
    match path {
        [] => false,
        [last] => values.remove(last).is_some(),
        [first, rest @ ..] => match values.get_mut(first) {
            Some(Value::Dict(_, inner)) => remove(inner, rest),
            // A value in place of a section, or an element of a list: the whole value is removed.
            Some(_) => values.remove(first).is_some(),
            None => false,
        },
    }
}
