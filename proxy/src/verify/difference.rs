//! Pure: what differs, and the digests of a range while it is compared.

use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::record::{Contents, Digest};
use crate::words::Side;

/// What differs at one offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum What {
    /// One side has no record there.
    Missing,
    /// The timestamp.
    Timestamp,
    /// The key.
    Key,
    /// The value.
    Value,
    /// The headers: keys, values, how many, or their order.
    Headers,
}

/// One side's record where the sides differ.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Shown {
    /// The record's digest.
    pub record: Digest,
    /// What it holds; left out where only the digest is known.
    #[serde(flatten)]
    pub contents: Option<Contents>,
}

/// The first difference of a partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// Where.
    pub offset: i64,
    /// What.
    pub what: Vec<What>,
    /// The side that has no record there.
    pub missing_at: Option<Side>,
    /// The source's record.
    pub source: Option<Shown>,
    /// The destination's record.
    pub destination: Option<Shown>,
}

/// What two records at the same offset do not have in common.
pub(super) fn what_differs(one: &Contents, other: &Contents) -> Vec<What> {
    let parts = [
        (What::Timestamp, one.timestamp != other.timestamp),
        (What::Key, one.key != other.key),
        (What::Value, one.value != other.value),
        (What::Headers, one.headers != other.headers),
    ];
    let differing = parts.into_iter().filter(|(_, differs)| *differs);
    differing.map(|(what, _)| what).collect()
}

/// The digests of both sides' ranges. As long as both had the same records they are one.
#[derive(Debug, Clone, Default)]
pub(super) struct Digests {
    source: Sha256,
    /// Once the sides differ.
    destination: Option<Sha256>,
}

impl Digests {
    /// Both sides have this record.
    pub(super) fn same(&mut self, record: Digest) {
        self.source.update(record.0);
        if let Some(destination) = &mut self.destination {
            destination.update(record.0);
        }
    }

    /// One side has this record.
    pub(super) fn apart(&mut self, side: Side, record: Digest) {
        let source = &mut self.source;
        let destination = self.destination.get_or_insert_with(|| source.clone());
        match side {
            Side::Source => source.update(record.0),
            Side::Destination => destination.update(record.0),
        }
    }

    /// Source and destination.
    pub(super) fn finish(&self) -> [Digest; 2] {
        let destination = self.destination.as_ref().unwrap_or(&self.source);
        [&self.source, destination].map(|hash| Digest(hash.clone().finalize().into()))
    }
}
