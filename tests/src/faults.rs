//! A relay on loopback between two parties, with switches: cut, slow down, stand still, refuse, and swallow the
//! answer to a chosen request.
//!
//! Requests and answers are read as frames, so a swallowed answer is exactly one answer: the other side has
//! done its work, and the client never learns of it.

mod relay;
mod switches;

pub use relay::Relay;
pub use switches::{Frame, Verdict};
