//! What survives: one compacted topic with one partition on both clusters, written in transactions, read back before
//! it is acted on (DESIGN section 11).
//!
//! The path of a write: [`Store::put`] hands it to the one `writer`, which gives every key its next version and writes
//! it to the copies in the asked order; a `copy` writes one `transaction` and reads it back from the `log`. The path of
//! a start: both copies are opened (which fences a predecessor), the `identity` decides whether they are a pair, and
//! `level` brings both to the higher version of every key.

mod keys;
mod store;

mod copy;
mod dump;
mod entry;
mod identity;
mod level;
mod log;
mod start;
mod topic;
mod transaction;
mod writer;

pub use identity::Identity;
pub use keys::{Key, Kind};
pub use store::{CopyOrder, Store};
