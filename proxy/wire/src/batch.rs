//! Record batches (magic 2) by their headers: read, patched and copied without a look at the
//! payload.
//!
//! Byte positions and what the checksum covers: Kafka's `DefaultRecordBatch`. Base offset, length,
//! leader epoch and magic lie outside the checksum. Where fields under it change, the new checksum
//! is computed from the 40 bytes of header alone: CRC32C is linear, so the change of the header,
//! shifted by the length of the payload, is the change of the whole. A batch whose checksum was
//! wrong stays wrong, which is what the next reader should see.

use std::ops::RangeInclusive;

use crate::WireError;
use crate::producer_id::ProducerId;

mod checksum;
mod rewrite;

pub(crate) use rewrite::Fields;
pub use rewrite::{BatchMut, Header, Stamp, passthrough};

/// Bytes of base offset and length: what a batch's length field does not count.
pub const LOG_OVERHEAD: usize = 12;
/// Bytes up to and with the magic byte: what has to be seen before a batch can be patched.
pub const MAGIC_END: usize = 17;
/// Bytes of a magic 2 header: where the records begin.
pub const HEADER_BYTES: usize = 61;
/// What the magic byte says for batches of Kafka 0.11 and newer.
pub const MAGIC: i8 = 2;
/// The smallest length a message of magic 0 can have: checksum, magic, attributes, two lengths.
pub(crate) const LEGACY_LENGTH_MIN: i32 = 14;

/// Where the fields of a header begin.
pub(crate) mod at {
    pub(crate) const BASE_OFFSET: usize = 0;
    pub(crate) const LENGTH: usize = 8;
    pub(crate) const PARTITION_LEADER_EPOCH: usize = 12;
    pub(crate) const MAGIC: usize = 16;
    pub(crate) const CRC: usize = 17;
    pub(crate) const ATTRIBUTES: usize = 21;
    pub(crate) const LAST_OFFSET_DELTA: usize = 23;
    pub(crate) const BASE_TIMESTAMP: usize = 27;
    pub(crate) const MAX_TIMESTAMP: usize = 35;
    pub(crate) const PRODUCER_ID: usize = 43;
    pub(crate) const PRODUCER_EPOCH: usize = 51;
    pub(crate) const BASE_SEQUENCE: usize = 53;
    pub(crate) const RECORD_COUNT: usize = 57;
}

/// The attribute bits of a batch.
pub mod attributes {
    /// Compression codec: 0 none, 1 gzip, 2 snappy, 3 lz4, 4 zstd.
    pub const CODEC: i16 = 0x07;
    /// The broker's clock gave the timestamps (LogAppendTime).
    pub const LOG_APPEND_TIME: i16 = 1 << 3;
    /// Written inside a transaction.
    pub const TRANSACTIONAL: i16 = 1 << 4;
    /// A marker, not data.
    pub const CONTROL: i16 = 1 << 5;
    /// The base timestamp is the cleaner's delete horizon (KIP-534).
    pub const DELETE_HORIZON: i16 = 1 << 6;
}

/// What stands at one place of a record set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Batch<'a> {
    /// A whole batch of magic 2.
    Whole(BatchView<'a>),
    /// A whole message set entry of magic 0 or 1, as logs older than Kafka 0.11 hold them.
    Legacy {
        /// 0 or 1.
        magic: i8,
        /// The offset in front of it: of the last inner message where it is compressed.
        offset: i64,
        /// All of its bytes.
        bytes: &'a [u8],
    },
    /// The end of the set, cut off by the byte limit of a Fetch: legal, and not data yet.
    Partial(&'a [u8]),
}

/// Walks the batches of a record set. Ends after the first error or partial batch.
#[derive(Debug, Clone)]
pub struct Batches<'a> {
    rest: &'a [u8],
}

impl<'a> Batches<'a> {
    /// Walks `records`, the bytes of one partition in a Fetch response or a Produce request.
    pub fn new(records: &'a [u8]) -> Self {
        Self { rest: records }
    }

    fn read(&mut self) -> Result<Batch<'a>, WireError> {
        let rest = std::mem::take(&mut self.rest);
        let Some(length) = i32_at(rest, at::LENGTH) else {
            return Ok(Batch::Partial(rest));
        };
        let Some(magic) = rest.get(at::MAGIC).map(|byte| byte.cast_signed()) else {
            return check_length(length, None).map(|_| Batch::Partial(rest));
        };
        let size = check_length(length, Some(magic))?;
        let Some((bytes, rest)) = rest.split_at_checked(size) else {
            return Ok(Batch::Partial(rest));
        };
        self.rest = rest;
        if magic == MAGIC {
            return Ok(Batch::Whole(BatchView { bytes }));
        }
        let offset = i64_at(bytes, at::BASE_OFFSET);
        Ok(Batch::Legacy {
            magic,
            offset,
            bytes,
        })
    }
}

impl<'a> Iterator for Batches<'a> {
    type Item = Result<Batch<'a>, WireError>;

    fn next(&mut self) -> Option<Self::Item> {
        (!self.rest.is_empty()).then(|| self.read())
    }
}

/// A batch's size with its first twelve bytes, out of its length field. A batch too short for its
/// own header is refused, as is a magic that nobody has defined.
pub(crate) fn check_length(length: i32, magic: Option<i8>) -> Result<usize, WireError> {
    let length_min = match magic {
        Some(MAGIC) => (HEADER_BYTES - LOG_OVERHEAD) as i32,
        Some(0 | 1) | None => LEGACY_LENGTH_MIN,
        Some(magic) => return Err(WireError::Magic(magic)),
    };
    if length < length_min {
        return Err(WireError::BatchLength(length));
    }
    Ok(length as usize + LOG_OVERHEAD)
}

/// One whole batch of magic 2, header and payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchView<'a> {
    bytes: &'a [u8],
}

impl<'a> BatchView<'a> {
    /// Takes `bytes` as exactly one whole batch of magic 2.
    pub fn new(bytes: &'a [u8]) -> Result<Self, WireError> {
        let truncated = WireError::Truncated {
            needed: HEADER_BYTES,
            remaining: bytes.len(),
        };
        let length = i32_at(bytes, at::LENGTH).ok_or(truncated)?;
        let magic = bytes.get(at::MAGIC).ok_or(truncated)?.cast_signed();
        if magic != MAGIC {
            return Err(WireError::Magic(magic));
        }
        let size = check_length(length, Some(magic))?;
        match bytes.len().checked_sub(size) {
            Some(0) => Ok(Self { bytes }),
            Some(left) => Err(WireError::TrailingBytes(left)),
            None => Err(WireError::Truncated {
                needed: size,
                remaining: bytes.len(),
            }),
        }
    }

    /// A view of at least a header whose payload is not there; only header fields may be asked.
    pub(crate) fn of_header(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// All bytes of the batch.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The bytes behind the header: records, compressed as the codec says.
    pub fn payload(&self) -> &'a [u8] {
        &self.bytes[HEADER_BYTES..]
    }

    /// The offset of the first record as it was when the batch was written.
    pub fn base_offset(&self) -> i64 {
        i64_at(self.bytes, at::BASE_OFFSET)
    }

    /// Last offset minus base offset; the broker keeps it when compaction removes records.
    pub fn last_offset_delta(&self) -> i32 {
        i32_in(self.bytes, at::LAST_OFFSET_DELTA)
    }

    /// The last offset that the batch takes.
    pub fn last_offset(&self) -> i64 {
        self.base_offset()
            .saturating_add(self.last_offset_delta().into())
    }

    /// The offset after the batch.
    pub fn next_offset(&self) -> i64 {
        self.last_offset().saturating_add(1)
    }

    /// All offsets that the batch takes, also those whose records were compacted away.
    pub fn offsets(&self) -> RangeInclusive<i64> {
        self.base_offset()..=self.last_offset()
    }

    /// The leader's epoch when the batch was appended.
    pub fn partition_leader_epoch(&self) -> i32 {
        i32_in(self.bytes, at::PARTITION_LEADER_EPOCH)
    }

    /// All attribute bits; see [`attributes`].
    pub fn attributes(&self) -> i16 {
        i16_in(self.bytes, at::ATTRIBUTES)
    }

    /// The compression codec: 0 none, 1 gzip, 2 snappy, 3 lz4, 4 zstd.
    pub fn codec(&self) -> u8 {
        (self.attributes() & attributes::CODEC) as u8
    }

    /// Whether the timestamps are the broker's (LogAppendTime).
    pub fn is_log_append_time(&self) -> bool {
        self.has(attributes::LOG_APPEND_TIME)
    }

    /// Whether the batch was written inside a transaction.
    pub fn is_transactional(&self) -> bool {
        self.has(attributes::TRANSACTIONAL)
    }

    /// Whether the batch is a marker.
    pub fn is_control(&self) -> bool {
        self.has(attributes::CONTROL)
    }

    /// Whether the base timestamp is a delete horizon (KIP-534).
    pub fn has_delete_horizon(&self) -> bool {
        self.has(attributes::DELETE_HORIZON)
    }

    /// What the records' timestamp deltas are relative to, milliseconds.
    pub fn base_timestamp(&self) -> i64 {
        i64_at(self.bytes, at::BASE_TIMESTAMP)
    }

    /// The newest timestamp, milliseconds.
    pub fn max_timestamp(&self) -> i64 {
        i64_at(self.bytes, at::MAX_TIMESTAMP)
    }

    /// Who produced it.
    pub fn producer_id(&self) -> ProducerId {
        ProducerId::new(i64_at(self.bytes, at::PRODUCER_ID))
    }

    /// The producer's epoch, -1 without an id.
    pub fn producer_epoch(&self) -> i16 {
        i16_in(self.bytes, at::PRODUCER_EPOCH)
    }

    /// The sequence number of the first record, -1 without an id.
    pub fn base_sequence(&self) -> i32 {
        i32_in(self.bytes, at::BASE_SEQUENCE)
    }

    /// The sequence number of the last record, -1 without one.
    pub fn last_sequence(&self) -> i32 {
        last_sequence(self.base_sequence(), self.last_offset_delta())
    }

    /// Records in the payload, as the header says.
    pub fn record_count(&self) -> i32 {
        i32_in(self.bytes, at::RECORD_COUNT)
    }

    /// Whether every offset of the batch has its record: brokers refuse others from producers.
    pub fn is_dense(&self) -> bool {
        let (count, delta) = (self.record_count(), self.last_offset_delta());
        count > 0 && i64::from(count) == i64::from(delta) + 1
    }

    /// The checksum in the header.
    pub fn stored_checksum(&self) -> u32 {
        i32_in(self.bytes, at::CRC).cast_unsigned()
    }

    /// The checksum over the bytes: one pass over the batch.
    pub fn computed_checksum(&self) -> u32 {
        crc32c::crc32c(&self.bytes[at::ATTRIBUTES..])
    }

    /// Refuses a batch whose checksum does not match.
    pub fn check_checksum(&self) -> Result<(), WireError> {
        let (stored, computed) = (self.stored_checksum(), self.computed_checksum());
        if stored != computed {
            return Err(WireError::Checksum { stored, computed });
        }
        Ok(())
    }

    fn has(&self, bit: i16) -> bool {
        self.attributes() & bit != 0
    }
}

/// The sequence number of a batch's last record: sequences go from 2^31 - 1 to 0
/// (`DefaultRecordBatch.incrementSequence`). -1 where the batch has none.
pub fn last_sequence(base_sequence: i32, last_offset_delta: i32) -> i32 {
    if base_sequence < 0 {
        return -1;
    }
    next_sequence(base_sequence, last_offset_delta)
}

/// `sequence` moved on by `records`, wrapping from 2^31 - 1 to 0.
pub fn next_sequence(sequence: i32, records: i32) -> i32 {
    sequence.wrapping_add(records) & i32::MAX
}

fn i32_at(bytes: &[u8], at: usize) -> Option<i32> {
    bytes
        .get(at..)?
        .first_chunk()
        .map(|chunk| i32::from_be_bytes(*chunk))
}

// The three below read a header that is known to be whole; beyond it they read zeroes.

fn i16_in(bytes: &[u8], at: usize) -> i16 {
    bytes
        .get(at..)
        .and_then(|rest| rest.first_chunk())
        .map_or(0, |c| i16::from_be_bytes(*c))
}

fn i32_in(bytes: &[u8], at: usize) -> i32 {
    i32_at(bytes, at).unwrap_or_default()
}

fn i64_at(bytes: &[u8], at: usize) -> i64 {
    bytes
        .get(at..)
        .and_then(|rest| rest.first_chunk())
        .map_or(0, |c| i64::from_be_bytes(*c))
}

#[cfg(test)]
mod tests;
