//! Read-only facts about the migration. A policy that uses them has to be granted them.

pub use crate::bindings::cutover::lockgate::policy::facts::{CommittedPosition, PartitionLag};

/// How far the link of one partition is behind; `None` when there is no such link, and natively.
pub fn lag(topic: &str, partition: u32) -> Option<PartitionLag> {
    #[cfg(target_arch = "wasm32")]
    return crate::bindings::cutover::lockgate::policy::facts::lag(topic, partition);
    #[cfg(not(target_arch = "wasm32"))]
    {
        let _ = (topic, partition);
        None
    }
}

/// The offsets a group has committed at its home; empty when it is unknown, and natively.
pub fn committed(group: &str) -> Vec<CommittedPosition> {
    #[cfg(target_arch = "wasm32")]
    return crate::bindings::cutover::lockgate::policy::facts::committed(group);
    #[cfg(not(target_arch = "wasm32"))]
    {
        let _ = group;
        Vec::new()
    }
}
