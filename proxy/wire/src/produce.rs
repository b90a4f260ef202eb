//! Produce, versions 3 to 9: requests walked in place and built without copying records, responses
//! read and written.
//!
//! A walk costs no allocation once its storage has grown: per partition one small struct of
//! numbers and ranges, of the records the first 61 bytes are looked at. From version 10 on answers
//! carry broker addresses (KIP-951); Lockgate caps Produce at 9.

use std::ops::Range;

use crate::WireError;
use crate::batch::{self, BatchView, HEADER_BYTES, MAGIC};
use crate::cursor::Cursor;
use crate::guard::REQUEST_ELEMENTS_MAX;
use crate::producer_id::ProducerId;

mod build;
mod response;

pub use build::{Part, build_request};
pub use response::{PartitionResponse, Response, ResponseWriter};

/// Produce's API key.
pub const API_KEY: i16 = 0;
/// The versions this module reads and writes.
pub const VERSIONS: std::ops::RangeInclusive<i16> = 3..=9;
/// The first version with compact lengths and tagged fields.
const FLEXIBLE_SINCE: i16 = 9;
/// The least that a partition takes: its index, an absent record set.
const PARTITION_BYTES_MIN: usize = 5;
/// The least that a topic takes: an empty name, no partitions.
const TOPIC_BYTES_MIN: usize = 2;

/// A walked Produce request. All ranges and positions count from the start of the body.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Request {
    /// Where the transactional id stands, if there is one.
    pub transactional_id: Option<Range<usize>>,
    /// 0, 1 or -1 (all).
    pub acks: i16,
    /// Where the two bytes of acks begin.
    pub acks_at: usize,
    /// How long the broker may wait for its followers, milliseconds.
    pub timeout_ms: i32,
    /// In the order of the request.
    pub partitions: Vec<Partition>,
}

/// One partition of a Produce request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// Where the topic's name stands.
    pub topic: Range<usize>,
    /// The partition's number.
    pub index: i32,
    /// Where its records stand; `None` where they are null.
    pub records: Option<Range<usize>>,
    /// What the first batch says, where it is whole up to its header and of magic 2.
    pub batch: Option<FirstBatch>,
}

/// The header of the first batch. Brokers take one batch per partition, so it is the only one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FirstBatch {
    /// Who produced it.
    pub producer_id: ProducerId,
    /// The producer's epoch.
    pub producer_epoch: i16,
    /// The sequence number of the first record.
    pub base_sequence: i32,
    /// Records minus one.
    pub last_offset_delta: i32,
    /// Whether it belongs to a transaction.
    pub transactional: bool,
}

impl Request {
    /// Walks `body`. The storage is reused; after an error it holds part of the
    /// walk and says nothing.
    pub fn walk(&mut self, version: i16, body: &[u8]) -> Result<(), WireError> {
        let flexible = check_version(version)?;
        self.partitions.clear();
        let mut cursor = Cursor::new(body);
        self.transactional_id = cursor
            .nullable_string(flexible)?
            .map(|id| before(&cursor, id.len()));
        self.acks_at = cursor.position();
        self.acks = cursor.i16()?;
        self.timeout_ms = cursor.i32()?;
        for _ in 0..cursor.array_length(flexible, TOPIC_BYTES_MIN)? {
            let name = cursor.string(flexible)?.len();
            let topic = before(&cursor, name);
            for _ in 0..cursor.array_length(flexible, PARTITION_BYTES_MIN)? {
                if self.partitions.len() == REQUEST_ELEMENTS_MAX {
                    return Err(WireError::TooManyElements(REQUEST_ELEMENTS_MAX));
                }
                self.partitions
                    .push(partition(&mut cursor, flexible, topic.clone())?);
            }
            if flexible {
                cursor.skip_tagged_fields()?;
            }
        }
        if flexible {
            cursor.skip_tagged_fields()?;
        }
        cursor.finish()
    }

    /// The transactional id in the body that was walked.
    pub fn transactional_id<'a>(&self, body: &'a [u8]) -> Option<&'a str> {
        self.transactional_id.clone().map(|range| text(body, range))
    }

    /// Overwrites acks in the body that was walked: 0 becomes 1 where Lockgate has to see the
    /// answer.
    pub fn set_acks(&mut self, body: &mut [u8], acks: i16) {
        if let Some(field) = body.get_mut(self.acks_at..self.acks_at + 2) {
            field.copy_from_slice(&acks.to_be_bytes());
            self.acks = acks;
        }
    }
}

impl Partition {
    /// The topic's name in the body that was walked.
    pub fn topic<'a>(&self, body: &'a [u8]) -> &'a str {
        text(body, self.topic.clone())
    }

    /// The records in the body that was walked, empty where they are null.
    pub fn records<'a>(&self, body: &'a [u8]) -> &'a [u8] {
        self.records
            .clone()
            .and_then(|range| body.get(range))
            .unwrap_or_default()
    }
}

impl FirstBatch {
    /// Looks at the front of a record set. `None` where there is no whole magic 2 header.
    pub fn peek(records: &[u8]) -> Option<Self> {
        let header = records.get(..HEADER_BYTES)?;
        (header[batch::MAGIC_END - 1].cast_signed() == MAGIC).then(|| {
            let batch = BatchView::of_header(header);
            Self {
                producer_id: batch.producer_id(),
                producer_epoch: batch.producer_epoch(),
                base_sequence: batch.base_sequence(),
                last_offset_delta: batch.last_offset_delta(),
                transactional: batch.is_transactional(),
            }
        })
    }
}

fn partition(
    cursor: &mut Cursor<'_>,
    flexible: bool,
    topic: Range<usize>,
) -> Result<Partition, WireError> {
    let index = cursor.i32()?;
    let records = cursor.nullable_bytes(flexible)?;
    let batch = records.and_then(FirstBatch::peek);
    let records = records.map(|records| before(cursor, records.len()));
    if flexible {
        cursor.skip_tagged_fields()?;
    }
    Ok(Partition {
        topic,
        index,
        records,
        batch,
    })
}

/// The `length` bytes that were read last.
fn before(cursor: &Cursor<'_>, length: usize) -> Range<usize> {
    cursor.position() - length..cursor.position()
}

/// A string whose UTF-8 the walk has checked; empty where `body` is not the body that was walked.
fn text(body: &[u8], range: Range<usize>) -> &str {
    body.get(range)
        .and_then(|bytes| std::str::from_utf8(bytes).ok())
        .unwrap_or_default()
}

/// Whether `version` is flexible; an error where this module does not know it.
fn check_version(version: i16) -> Result<bool, WireError> {
    if !VERSIONS.contains(&version) {
        return Err(WireError::UnsupportedVersion {
            api_key: API_KEY,
            version,
        });
    }
    Ok(version >= FLEXIBLE_SINCE)
}

#[cfg(test)]
mod tests;
