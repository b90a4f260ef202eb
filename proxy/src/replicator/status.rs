//! What is known of each link, for the admin API, the metrics, the policies and the flip's gate.

use serde::Serialize;

use crate::words::{Side, TopicPartition};

/// Where one link stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "state", content = "reason")]
pub enum LinkState {
    /// The topic is being made where its copy is kept, or given its settings.
    Provisioning,
    /// Filler is written and deleted, so that the next append gets the home's offset.
    Aligning,
    /// The copy's end is being read and compared: after a start, or after an answer that was lost.
    Inspecting,
    /// Batches are copied.
    Copying,
    /// Stopped for a flip, with nothing unresolved.
    Sealed,
    /// The other cluster is the home now; nothing is copied.
    Retired,
    /// Stopped, and why; needs the operator.
    Stopped(String),
}

/// One link at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LinkStatus {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// The cluster that takes its writes; the copy is kept on the other.
    pub home: Side,
    /// Where it stands.
    #[serde(flatten)]
    pub state: LinkState,
    /// The home's end as last seen (high watermark).
    pub source_end: i64,
    /// The offset that the copy gets next.
    pub next_offset: i64,
    /// Records behind.
    pub lag_records: i64,
    /// Bytes fetched and not yet written.
    pub lag_bytes: i64,
    /// How long the oldest record that is not yet copied has waited, in milliseconds; 0 when level.
    pub lag_ms: i64,
}

impl LinkStatus {
    /// The partition as a key.
    #[must_use]
    pub fn at(&self) -> TopicPartition {
        TopicPartition::new(self.topic.as_str(), self.partition)
    }
}

/// The lag of some topics together.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct LagSummary {
    /// Partitions looked at.
    pub partitions: usize,
    /// The sum of records behind.
    pub records: i64,
    /// The largest lag of one partition, in records.
    pub records_max: i64,
    /// The largest lag of one partition, in milliseconds.
    pub ms_max: i64,
    /// Links that are not copying: `topic-partition: state`.
    pub not_copying: Vec<String>,
}
