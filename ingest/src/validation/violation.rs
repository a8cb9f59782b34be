//! What is wrong with a field, and all that is wrong with a request.

use std::{borrow::Cow, fmt};

/// What is wrong with one field, and what would be right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Violation {
    /// The field, as the caller wrote it: `messages[3].topic`; within a message, `topic`.
    pub(crate) field: Cow<'static, str>,
    /// What is wrong, and what would be right.
    pub(crate) description: Cow<'static, str>,
}

/// Everything that is wrong with a request.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Violations(Vec<Violation>);

impl Violation {
    pub(crate) fn new(
        field: impl Into<Cow<'static, str>>,
        description: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self { field: field.into(), description: description.into() }
    }

    /// The same violation, seen from the request that the message is in.
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
