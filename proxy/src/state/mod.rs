//! What survives: one compacted topic with one partition on both clusters, written in transactions, read back before
//! it is acted on (DESIGN section 11).

mod keys;
mod store;

pub use keys::{Key, Kind};
pub use store::{CopyOrder, Store};
