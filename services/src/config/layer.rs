//! One layer of the configuration: the keys that one source sets.

use figment::value::{Dict, Map, Value};
use figment::{Metadata, Profile, Provider};

use super::file::File;
use super::{ConfigError, FlagValue, Origin, PREFIX, Source, text};

/// The keys that one source sets, and how to find the line of each.
pub(super) struct Layer {
    pub(super) source: Source,
    pub(super) values: Dict,
    file: Option<File>,
}

/// A layer for figment, whose metadata is the layer's number, so that errors can be traced to it.
pub(super) struct Numbered<'a> {
    index: usize,
    values: &'a Dict,
}

impl Layer {
    pub(super) fn of_text(source: Source, text: &str) -> Result<Self, ConfigError> {
        let file = File::parse(text).map_err(|error| ConfigError::Syntax {
            origin: Origin { source: source.clone(), line: error.line },
            problem: error.problem,
        })?;
        Ok(Self { source, values: file.values(), file: Some(file) })
    }

    pub(super) fn of_variable(base: &Self, name: &str, value: &str) -> Result<Self, ConfigError> {
        let key = name.strip_prefix(PREFIX).unwrap_or(name).to_ascii_lowercase();
        let mut path: Vec<String> = key.split("__").map(str::to_owned).collect();
        if let Some(at) = text::free_section(&base.values, &path) {
            let mut name = path.split_off(at).join("__");
            // Shells cannot export a name with a dot, and no name there has an underscore.
            if !name.contains('.') {
                name = name.replace('_', ".");
            }
            path.push(name);
        }
        Self::of_one(base, Source::Variable(name.to_owned()), path, value)
    }

    pub(super) fn of_flag(base: &Self, flag: &FlagValue) -> Result<Self, ConfigError> {
        let no_key = || ConfigError::Key { flag: flag.flag, key: flag.key.clone() };
        let parts = toml_edit::Key::parse(&flag.key).map_err(|_| no_key())?;
        let path: Vec<String> = parts.iter().map(|part| part.get().to_owned()).collect();
        Self::of_one(base, Source::Flag(flag.flag), path, &flag.value)
    }

    fn of_one(base: &Self, source: Source, path: Vec<String>, value: &str) -> Result<Self, ConfigError> {
        let value = text::typed(&base.values, &path, value).map_err(|problem| ConfigError::Value {
            key: path.join("."),
            origin: Origin { source: source.clone(), line: None },
            problem,
        })?;
        let nest = |value: Value, name: String| Value::from(Dict::from([(name, value)]));
        let values = match path.into_iter().rev().fold(value, nest) {
            Value::Dict(_, values) => values,
            _ => Dict::new(),
        };
        Ok(Self { source, values, file: None })
    }

    /// In sections that take any names, `a.b = 1` means the name `a.b` and the text `1`.
    pub(super) fn flatten_free_sections_of(&mut self, base: &Self) {
        for path in text::free_sections(&base.values) {
            let mut section = Some(&mut self.values);
            for name in &path {
                section = section.and_then(|values| match values.get_mut(name) {
                    Some(Value::Dict(_, inner)) => Some(inner),
                    _ => None,
                });
            }
            if let Some(section) = section {
                *section = text::flattened(section);
            }
        }
    }

    /// The origin of the key at `path` in this layer.
    pub(super) fn origin(&self, path: &[String]) -> Origin {
        let line = self.file.as_ref().and_then(|file| file.line_of(path));
        Origin { source: self.source.clone(), line }
    }

    pub(super) fn provider(&self, index: usize) -> Numbered<'_> {
        Numbered { index, values: &self.values }
    }
}

impl Provider for Numbered<'_> {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.index.to_string())
    }

    fn data(&self) -> figment::Result<Map<Profile, Dict>> {
        Ok(Map::from([(Profile::Default, self.values.clone())]))
    }
}
