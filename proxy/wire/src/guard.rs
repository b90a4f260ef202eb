//! The length guard.
