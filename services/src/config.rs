//! The configuration of a process: defaults, a file, the environment and flags. Each layer
//! overrides the ones before it.
//!
//! The defaults are one commented TOML file, and they give each key its type, so that text from the
//! environment or from a flag needs no quotes: `TAILCAST__PUSH__LISTEN=0.0.0.0:8080` is
//! `push.listen`. A list is comma-separated. A section that is empty in the defaults, such as
//! `[kafka.properties]`, accepts any names, which may contain dots in every layer: `linger.ms = 2`,
//! `TAILCAST__KAFKA__PROPERTIES__LINGER_MS=2`, `--set kafka.properties.linger.ms=2`.
//!
//! Invariant: an error names the key, the source of its value, and the expected form. Every mistake
//! is reported, not only the first. A value that may be a secret is not repeated.

mod explain;
mod file;
mod layer;
mod mistakes;
mod suggest;
mod text;
mod values;
mod variables;

use std::fmt;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use layer::Layer;

pub use mistakes::Mistakes;
pub use values::{address, bytes};
pub use variables::{Misspelt, misspelt_variables};

/// The prefix of Tailcast's environment variables. It ends in two underscores because Kubernetes
/// injects variables such as `TAILCAST_PORT` for a service of that name.
pub const PREFIX: &str = "TAILCAST__";

/// A key that was set by a flag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlagValue {
    /// The flag, such as `--listen`.
    pub flag: &'static str,
    /// The key that the flag sets: `push.listen`. Parts that contain dots may be quoted.
    pub key: String,
    /// The value, as text.
    pub value: String,
}

/// The source of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The defaults that are compiled in.
    Defaults,
    /// A file.
    File(PathBuf),
    /// An environment variable.
    Variable(String),
    /// A flag.
    Flag(&'static str),
}

/// The source of a value, with the line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The source.
    pub source: Source,
    /// The line, counted from 1, if the source is a file.
    pub line: Option<usize>,
}

/// A mistake in the configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file does not exist or cannot be read.
    #[error("{path}: {source}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The operating system's error.
        source: std::io::Error,
    },
    /// The file is not TOML.
    #[error("{origin}: invalid TOML: {problem}")]
    Syntax {
        /// The file and the line.
        origin: Origin,
        /// The parser's error.
        problem: String,
    },
    /// A flag names something that cannot be a key.
    #[error("{flag}: invalid key {key:?} (example: push.listen)")]
    Key {
        /// The flag.
        flag: &'static str,
        /// The text found.
        key: String,
    },
    /// No part has a key of this name.
    #[error("{origin}: unknown key {key}{hint}")]
    Unknown {
        /// The key.
        key: String,
        /// The source that set the key.
        origin: Origin,
        /// A suggestion.
        hint: Hint,
    },
    /// The value does not fit the key.
    #[error("{origin}: {key}: {problem}")]
    Value {
        /// The key.
        key: String,
        /// The source that set the key.
        origin: Origin,
        /// The problem and the expected form.
        problem: String,
    },
    /// The defaults lack a key, which is a mistake in this program.
    #[error("{key} is not set, and has no default")]
    Missing {
        /// The key.
        key: String,
    },
}

/// A suggestion for an unknown name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hint {
    /// A name with a similar spelling.
    Meant(&'static str),
    /// All known names.
    OneOf(&'static [&'static str]),
}

/// Loads the configuration from all layers. Variables that do not begin with [`PREFIX`] are
/// ignored.
///
/// # Errors
/// See [`Mistakes`]: all mistakes found.
pub fn load<T: DeserializeOwned>(
    defaults: &'static str,
    file: Option<&Path>,
    environment: impl IntoIterator<Item = (String, String)>,
    flags: &[FlagValue],
) -> Result<T, Mistakes> {
    let mut mistakes = Vec::new();
    let layers = layers(defaults, file, environment, flags, |mistake| mistakes.push(mistake))?;
    mistakes::extract(layers, mistakes)
}

/// Returns the source that sets `key`, such as `kafka.brokers`; [`Source::Defaults`] if no other
/// layer sets it, even to the default value.
///
/// # Errors
/// See [`ConfigError`]: when a layer cannot be read. [`load`] checks whether its values are valid.
pub fn source_of(
    key: &str,
    defaults: &'static str,
    file: Option<&Path>,
    environment: impl IntoIterator<Item = (String, String)>,
    flags: &[FlagValue],
) -> Result<Source, ConfigError> {
    let path: Vec<String> = key.split('.').map(str::to_owned).collect();
    let layers = layers(defaults, file, environment, flags, drop)?;
    let sets = layers.iter().rev().find(|layer| text::value_at(&layer.values, &path).is_some());
    Ok(sets.map_or(Source::Defaults, |layer| layer.source.clone()))
}

/// Returns the layers in order. A variable or flag that sets no key is a mistake and left out.
fn layers(
    defaults: &'static str,
    file: Option<&Path>,
    environment: impl IntoIterator<Item = (String, String)>,
    flags: &[FlagValue],
    mut mistake: impl FnMut(ConfigError),
) -> Result<Vec<Layer>, ConfigError> {
    let base = Layer::of_text(Source::Defaults, defaults)?;
    let mut over = Vec::new();
    if let Some(path) = file {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        over.push(Layer::of_text(Source::File(path.to_owned()), &text)?);
    }
    // Sorted, so that mistakes are always reported in the same order.
    let mut variables: Vec<_> =
        environment.into_iter().filter(|(name, _)| name.starts_with(PREFIX)).collect();
    variables.sort_unstable();
    for (name, value) in &variables {
        match Layer::of_variable(&base, name, value) {
            Ok(layer) => over.push(layer),
            Err(error) => mistake(error),
        }
    }
    for flag in flags {
        match Layer::of_flag(&base, flag) {
            Ok(layer) => over.push(layer),
            Err(error) => mistake(error),
        }
    }
    for layer in &mut over {
        layer.flatten_free_sections_of(&base);
    }
    Ok(std::iter::once(base).chain(over).collect())
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.source {
            Source::Defaults => f.write_str("the defaults")?,
            Source::File(path) => write!(f, "{}", path.display())?,
            Source::Variable(name) => f.write_str(name)?,
            Source::Flag(flag) => f.write_str(flag)?,
        }
        match self.line {
            Some(line) => write!(f, ":{line}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Hint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Meant(name) => write!(f, "; did you mean `{name}`?"),
            Self::OneOf([]) => Ok(()),
            Self::OneOf(names) => write!(f, "; known keys: {}", names.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests;
