//! A small Kafka client of the harness's own: what tests prepare clusters and look into logs with.
//!
//! It shares nothing with Lockgate's data path, so that one bug cannot hide in both.

mod connection;
mod operations;
mod progress;

pub use connection::Connection;
pub(crate) use operations::topic_name;
pub use operations::{Admin, LogRange, Partition};
pub use progress::Progress;
