//! The layers over the defaults, in order: a file, the environment, flags.

use std::{env, path::PathBuf};

use serde::de::DeserializeOwned;
use serde_json::Value;
use tailcast_services::config::{self, FlagValue, Misspelt, Source};

use super::{Config, DEFAULTS};

pub use tailcast_services::config::Mistakes as LoadError;

/// The layers over the defaults. Empty by default.
#[derive(Debug, Clone, Default)]
pub struct Layers {
    /// A TOML file.
    pub file: Option<PathBuf>,
    /// Environment variables. Those named `TAILCAST__…` set keys.
    pub environment: Vec<(String, String)>,
    /// Flags; a later one overrides an earlier one.
    pub flags: Vec<FlagValue>,
}

impl Layers {
    /// Returns the environment of this process as the only layer.
    #[must_use]
    pub fn of_environment() -> Self {
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            // Bytes that are not UTF-8 are replaced, so that an error can show the value.
            let name = name.into_string().ok().filter(|name| name.to_uppercase().starts_with("TAILCAST_"))?;
            Some((name, value.to_string_lossy().into_owned()))
        };
        Self { environment: env::vars_os().filter_map(text).collect(), ..Self::default() }
    }

    /// Returns the environment variables that are ignored, although they probably should set a key.
    pub(crate) fn misspelt_variables(&self) -> Vec<Misspelt> {
        let names = self.environment.iter().map(|(name, _)| name.clone());
        config::misspelt_variables(DEFAULTS, names).expect("a test parses the defaults")
    }

    /// Applies all layers to the defaults.
    ///
    /// # Errors
    ///
    /// When a key is unknown or its value is invalid; the error has a line for each mistake, with
    /// the key and the source of the value.
    pub fn load(&self) -> Result<Config, LoadError> {
        self.load_as()
    }

    /// Returns whether any layer sets `key`, even if to its default.
    pub(crate) fn set(&self, key: &str) -> Result<bool, LoadError> {
        let environment = self.environment.iter().cloned();
        let source = config::source_of(key, DEFAULTS, self.file.as_deref(), environment, &self.flags)?;
        Ok(source != Source::Defaults)
    }

    /// Applies all layers to the defaults, and returns the keys and values unparsed.
    pub(super) fn tree(&self) -> Result<Value, LoadError> {
        self.load_as()
    }

    fn load_as<T: DeserializeOwned>(&self) -> Result<T, LoadError> {
        config::load(DEFAULTS, self.file.as_deref(), self.environment.iter().cloned(), &self.flags)
    }
}

/// Returns the keys and values of the defaults.
pub(super) fn tree_of_defaults() -> Value {
    Layers::default().tree().expect("a test parses the defaults")
}
