//! Against the in-process broker.
