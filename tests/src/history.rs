//! The history checker: what was acknowledged against what was read and what lies in the log.
//!
//! Every test value is `<producer>.<counter>`: unique, and counting up in the order its producer sent. So a
//! lost, duplicated or reordered record shows without trusting any offset.

mod check;
mod record;

pub use check::{Counts, Findings};
pub use record::{History, Value};
