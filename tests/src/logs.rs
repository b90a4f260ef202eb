//! Looking into logs: batches as brokers store them, records as clients see them, and the comparison of two
//! clusters' logs offset by offset.

mod batch;
mod compare;
mod read;

pub use batch::{RawBatch, parse_batches};
pub use compare::{Difference, compare, compare_topic};
pub use read::{Record, read_batches, read_records};
