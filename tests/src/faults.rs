//! A relay on loopback between two parties, with switches: cut, slow down, stand still, refuse, hold the answers to
//! chosen requests and swallow them at a chosen moment.
//!
//! Requests and answers are read as frames, so a swallowed answer is a whole answer: the other side has done its
//! work, and the client never learns of it.

mod relay;
mod switches;

pub use relay::Relay;
pub use switches::{Frame, Verdict};
