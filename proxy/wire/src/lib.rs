//! Kafka's wire format as a proxy needs it: bytes in, bytes out. No sockets, no clock, no async.
//!
//! Everything here is total on hostile bytes: it answers an error, never panics, and never
//! allocates more than the bytes that are present justify. In reading order: a frame's size, its
//! header, the cursor all walkers share, the guard in front of the `kafka-protocol` crate, record
//! batches, which of them consumers see, and the records in them, producer ids, then the walkers of
//! the two APIs that carry data.

mod error;

pub mod frame;
pub mod header;

pub mod cursor;
pub mod put;

pub mod guard;

pub mod batch;
pub mod committed;
pub mod records;

pub mod producer_id;

pub mod produce;

pub mod fetch_request;
pub mod fetch_stream;

pub use error::WireError;
