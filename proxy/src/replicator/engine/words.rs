//! What goes into an engine and comes out of it.

use bytes::Bytes;
use lockgate_wire::producer_id::ProducerId;

pub(in crate::replicator) use crate::replicator::status::LinkState as State;

/// The link's own producer id and the sequence of its next record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::replicator) struct LinkStamp {
    pub(in crate::replicator) id: ProducerId,
    pub(in crate::replicator) next_sequence: i32,
}

/// One batch, or markers in its place, on the way to the copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::replicator) struct Write {
    /// The offset that the answer must name.
    pub(in crate::replicator) base: i64,
    /// How many offsets it takes.
    pub(in crate::replicator) records: i64,
    /// Stamped; a resend is these bytes again. Empty for markers.
    pub(in crate::replicator) bytes: Bytes,
    /// The newest timestamp in it: brokers forget producer ids by this.
    pub(in crate::replicator) max_timestamp: i64,
    /// Set where every offset is to be taken by a marker of this producer epoch.
    pub(in crate::replicator) marker_epoch: Option<i16>,
    /// Made of several batches.
    pub(in crate::replicator) merged: bool,
}

/// What became of a write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::replicator) enum Outcome {
    /// Acknowledged at this base offset.
    Written(i64),
    /// Certainly not appended; the same bytes may be sent again.
    Refused,
    /// Refused for good.
    Fatal(String),
    /// It may have been appended.
    Unknown,
}

/// What an inspection of the copy found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::replicator) struct Inspected {
    /// The true end, which stood still and equals the high watermark.
    pub(in crate::replicator) end: i64,
    /// The home's high watermark, so that the lag is known before the first fetch.
    pub(in crate::replicator) source_end: i64,
    /// Whether a batch of records was found below the end.
    pub(in crate::replicator) has_records: bool,
    /// The stamp that continues the link's journaled id, if the last batch bears it.
    pub(in crate::replicator) stamp: Option<LinkStamp>,
}
