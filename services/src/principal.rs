//! The identity of a client.
//!
//! The edge of a service makes one [`Principal`] per connection or call, and passes it along with
//! every action for that client. Clients are not authenticated yet, so every principal is
//! anonymous.

use std::fmt;

/// The identity of a client. Cheap to clone; its `Display` form is for logs and errors.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Principal {
    /// The client has presented no credentials.
    Anonymous,
}

impl fmt::Display for Principal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anonymous => formatter.write_str("anonymous"),
        }
    }
}
