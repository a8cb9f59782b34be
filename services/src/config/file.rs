//! A TOML file with the lines of its keys.

use figment::value::{Dict, Value};
use toml_edit::{ImDocument, Item, TableLike};

/// A parsed file.
pub(super) struct File {
    document: ImDocument<String>,
}

/// Why a text is not TOML.
pub(super) struct SyntaxError {
    pub(super) line: Option<usize>,
    pub(super) problem: String,
}

impl File {
    pub(super) fn parse(text: &str) -> Result<Self, SyntaxError> {
        ImDocument::parse(text.to_owned()).map(|document| Self { document }).map_err(|error| SyntaxError {
            line: error.span().map(|span| line_at(text, span.start)),
            // Without the text of the line, which may contain a secret.
            problem: error.message().trim_end().replace('\n', ", "),
        })
    }

    pub(super) fn values(&self) -> Dict {
        dict(self.document.as_table())
    }

    /// The line, counted from 1, of the key at `path`, or of its last part that exists.
    pub(super) fn line_of(&self, path: &[String]) -> Option<usize> {
        let mut table: &dyn TableLike = self.document.as_table();
        let mut found = None;
        for name in path {
            let Some((key, item)) = table.get_key_value(name) else { break };
            found = key.span().or_else(|| item.span()).or(found);
            match item.as_table_like() {
                Some(inner) => table = inner,
                None => break,
            }
        }
        found.map(|span| line_at(self.document.raw(), span.start))
    }
}

fn line_at(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
}

fn dict(table: &dyn TableLike) -> Dict {
    table.iter().filter_map(|(name, item)| Some((name.to_owned(), value_of_item(item)?))).collect()
}

fn value_of_item(item: &Item) -> Option<Value> {
    match item {
        Item::None => None,
        Item::Value(value) => Some(value_of(value)),
        Item::Table(table) => Some(dict(table).into()),
        Item::ArrayOfTables(tables) => {
            Some(tables.iter().map(|table| Value::from(dict(table))).collect::<Vec<_>>().into())
        }
    }
}

fn value_of(value: &toml_edit::Value) -> Value {
    match value {
        toml_edit::Value::String(text) => text.value().as_str().into(),
        toml_edit::Value::Integer(number) => (*number.value()).into(),
        toml_edit::Value::Float(number) => (*number.value()).into(),
        toml_edit::Value::Boolean(truth) => (*truth.value()).into(),
        toml_edit::Value::Datetime(time) => time.value().to_string().into(),
        toml_edit::Value::Array(values) => values.iter().map(value_of).collect::<Vec<_>>().into(),
        toml_edit::Value::InlineTable(table) => dict(table).into(),
    }
}
