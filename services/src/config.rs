//! The configuration of a process: defaults, then a file, then the environment, then flags, each over the one before.
//!
//! The defaults are one commented TOML file, and they give each key its type, so that text from the environment or from a
//! flag needs no quotes: `TAILCAST__PUSH__LISTEN=0.0.0.0:8080` is `push.listen`. A list is comma-separated. A section that
//! is empty in the defaults, such as `[kafka.properties]`, takes any names; these may hold dots, in every layer:
//! `linger.ms = 2`, `TAILCAST__KAFKA__PROPERTIES__LINGER_MS=2`, `--set kafka.properties.linger.ms=2`.
//!
//! Invariant: an error names the key, where its value came from, and what is expected, and every mistake is reported, not
//! only the first. A value that may be a secret is not repeated.

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

/// The prefix of Tailcast's environment variables. It ends in two underscores because Kubernetes injects
/// variables such as `TAILCAST_PORT` for a service of that name.
pub const PREFIX: &str = "TAILCAST__";

/// A key that was set by a flag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlagValue {
    /// The flag as a person writes it: `--listen`.
    pub flag: &'static str,
    /// The key that it sets: `push.listen`. Parts that hold dots may be quoted.
    pub key: String,
    /// The value, as text.
    pub value: String,
}

/// Where a value came from.
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

/// Where a value came from, to the line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Where.
    pub source: Source,
    /// The line, counted from 1, where the source is a file.
    pub line: Option<usize>,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file is not there, or not ours to read.
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
        /// Which file, which line.
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
        /// Who set it.
        origin: Origin,
        /// What may have been meant.
        hint: Hint,
    },
    /// The value does not fit the key.
    #[error("{origin}: {key}: {problem}")]
    Value {
        /// The key.
        key: String,
        /// Who set it.
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

/// What may have been meant by a name that does not exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hint {
    /// A name that is spelt almost the same.
    Meant(&'static str),
    /// All names there are.
    OneOf(&'static [&'static str]),
}

/// Lays file, environment and flags over the defaults. Variables that do not begin with [`PREFIX`] are left alone.
///
/// # Errors
/// See [`Mistakes`]; all that were found.
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

/// Returns the source that sets `key`, such as `kafka.brokers`; [`Source::Defaults`] when nothing is laid over its default, even the
/// same value.
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

/// The defaults, and what is laid over them, in order. A variable or flag that sets nothing is a mistake and is left out.
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
