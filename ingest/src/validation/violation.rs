//! Violations: the invalid fields of a request.

use std::{borrow::Cow, fmt};

/// An invalid field, and its expected form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Violation {
    /// The path of the field: `messages[3].topic`; within a message, `topic`.
    pub(crate) field: Cow<'static, str>,
    /// The problem and the expected form.
    pub(crate) description: Cow<'static, str>,
}

/// All violations of a request.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Violations(Vec<Violation>);

impl Violation {
    pub(crate) fn new(
        field: impl Into<Cow<'static, str>>,
        description: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self { field: field.into(), description: description.into() }
    }

    /// The same violation, with its path from the request.
    pub(crate) fn of_message(self, index: usize) -> Self {
        Self { field: format!("messages[{index}].{}", self.field).into(), ..self }
    }
}

impl Violations {
    pub(crate) fn add(&mut self, field: &'static str, description: impl Into<Cow<'static, str>>) {
        self.0.push(Violation::new(field, description));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = &Violation> {
        self.0.iter()
    }
}

impl FromIterator<Violation> for Violations {
    fn from_iter<I: IntoIterator<Item = Violation>>(violations: I) -> Self {
        Self(violations.into_iter().collect())
    }
}

impl Extend<Violation> for Violations {
    fn extend<I: IntoIterator<Item = Violation>>(&mut self, violations: I) {
        self.0.extend(violations);
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.description)
    }
}
