//! Proves both clusters equal, record by record, while traffic flows (DESIGN section 4, "Verification").
//!
//! A request names a route, a topic or ranges ([`VerifyRequest`]); [`Service`] begins an operation for it, one at a
//! time. Each partition's range is settled when the operation begins (`range`). Then some partitions at a time are
//! compared (`partition`): two readers (`read`) bring the answers of both sides' brokers to a thread that walks them
//! side by side (`compare`, pure, with `walk`, `record`, `held` and `difference`).
//!
//! # Bounds
//!
//! Both sides' bytes pass one token bucket (`bucket`). Of a partition under way, three answers of [`ANSWER_BYTES`] (or
//! one larger batch) a side are held, and one opened batch a side, of which digests alone are kept; batches that
//! decompress to more than 8 MiB are opened one at a time in all. Keys of compacted topics whose records stand on one
//! side only are held by their SHA-256, [`KEYS_MAX`] in all; what does not fit is counted as unresolved and never called
//! equal. At most [`PARALLEL_MAX`] partitions are under way.
//!
//! # Going on
//!
//! Operations live as long as the process and are not journaled. While one runs, and after it failed or was cancelled,
//! `left` in its view lists for each partition that is not done from where to where it is still to be compared; the list
//! is a request's `partitions`. It begins at the first difference, if there is one, so that going on cannot hide it.

mod service;

mod operation;
mod request;

mod partition;
mod range;
mod read;

mod bucket;
mod compare;
mod difference;
mod held;
mod record;
mod walk;

pub use difference::{Difference, Shown, What};
pub use operation::{Outcome, PartitionState, PartitionView, VerifyView};
pub use record::{Contents, Digest};
pub use request::{Refusal, Stretch, VerifyRequest};
pub use service::Service;

/// Bytes of one answer, unless its first batch is larger.
const ANSWER_BYTES: i32 = 1 << 20;
/// Keys that are held, all partitions under way together; about 100 bytes each.
const KEYS_MAX: usize = 1_000_000;
/// Partitions that can be compared at the same time.
const PARALLEL_MAX: usize = 8;
/// Partitions that are, where the request does not say.
const PARALLEL_DEFAULT: usize = 2;
/// Bytes a second, both sides together, where the request does not say.
const BYTES_PER_SECOND_DEFAULT: u64 = 64 << 20;
