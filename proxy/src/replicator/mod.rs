//! Keeps the clusters level: per partition, batches are fetched from the home with read_committed, their headers
//! rewritten, and produced to the other cluster at the same offset (DESIGN sections 4 and 5).
//!
//! In reading order: `provision` makes topics (`settings`, `topic_calls`) and `align`s them; `fetch` takes batches from
//! the home into each link's pure `engine` (`rebuild` makes dense ones of what brokers would not take), `produce` takes
//! them out to the copy and `markers` take the offsets at which there is nothing to see; `ends` says where a log really
//! ends and whether both sides agree there (`stretch`); `conduct` drives them; `level` proves that nothing is missing;
//! `journal` keeps what must survive; `lane` shares the brokers' connections and `pace` the bytes.
//!
//! # What a batch costs
//!
//! One Fetch and one Produce request carry many partitions. Of a batch 61 header bytes are read when it arrives; it
//! waits as a slice of the answer; its bytes are copied once, when its header is rewritten, and its checksum comes
//! from 80 header bytes. Nothing is decompressed. Two lock operations, one map lookup per request and partition.

mod handle;
mod status;

mod align;
mod provision;
mod settings;
mod topic_calls;

mod fetch;
mod lag;
mod lane;
mod pace;
mod rebuild;

mod engine;

mod markers;
mod produce;

mod ends;
mod level;
mod stretch;

mod conduct;
mod journal;
mod link;

pub use handle::Replicator;
pub use pace::Limits;
pub use status::{LagSummary, LinkState, LinkStatus};
