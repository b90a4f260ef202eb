//! Pure: record batches (magic 2) as they lie in a log, without a look at the records inside.
//!
//! Field positions are those of Kafka's `DefaultRecordBatch`.

use bytes::Bytes;
use thiserror::Error;

/// Bytes before the records.
const HEADER_BYTES: usize = 61;
/// Base offset and length, which the length does not count.
const LOG_OVERHEAD: usize = 12;
/// Attribute bits that change what a record is: codec, timestamp type, control.
const MEANING_BITS: i16 = 0b10_1111;

/// One batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawBatch {
    /// Offset of the first record (or of the first one there once was).
    pub base_offset: i64,
    /// Offset of the last record.
    pub last_offset: i64,
    /// Codec, timestamp type, transactional, control.
    pub attributes: i16,
    /// Timestamp that the records' deltas are relative to.
    pub base_timestamp: i64,
    /// Largest timestamp in the batch.
    pub max_timestamp: i64,
    /// The producer's id, -1 where there is none.
    pub producer_id: i64,
    /// The producer's epoch.
    pub producer_epoch: i16,
    /// Sequence of the first record.
    pub base_sequence: i32,
    /// How many records it holds.
    pub count: i32,
    /// Leader epoch under which it was appended.
    pub leader_epoch: i32,
    /// The records, compressed as they were sent.
    pub payload: Bytes,
}

impl RawBatch {
    /// Whether a reader sees the same records at the same offsets with the same timestamps in both. Producer ids,
    /// sequences and leader epochs are the cluster's business and not compared.
    #[must_use]
    pub fn reads_like(&self, other: &Self) -> bool {
        self.base_offset == other.base_offset
            && self.last_offset == other.last_offset
            && self.count == other.count
            && (self.attributes ^ other.attributes) & MEANING_BITS == 0
            && self.base_timestamp == other.base_timestamp
            && self.max_timestamp == other.max_timestamp
            && self.payload == other.payload
    }

    /// Whether it holds a transaction marker and no records.
    #[must_use]
    pub fn is_control(&self) -> bool {
        self.attributes & 0b10_0000 != 0
    }
}

/// Bytes that are no batch of magic 2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum BatchError {
    /// An older or unknown format.
    #[error("a batch at byte {at} has magic {magic}")]
    Magic {
        /// Where it begins.
        at: usize,
        /// What it says it is.
        magic: u8,
    },
    /// A length that no batch can have.
    #[error("a batch at byte {at} is shorter than its header")]
    Short {
        /// Where it begins.
        at: usize,
    },
}

/// The whole batches in the records of a Fetch answer; the part of a batch at its end is left out.
///
/// # Errors
/// When the bytes are not batches of magic 2.
pub fn parse_batches(records: &Bytes) -> Result<Vec<RawBatch>, BatchError> {
    let mut batches = Vec::new();
    let mut at = 0;
    while let Some(length) = records.get(at + 8..at + LOG_OVERHEAD) {
        let length = i32::from_be_bytes([length[0], length[1], length[2], length[3]]);
        let end =
            at + LOG_OVERHEAD + usize::try_from(length).map_err(|_| BatchError::Short { at })?;
        if end > records.len() {
            break;
        }
        if end - at < HEADER_BYTES {
            return Err(BatchError::Short { at });
        }
        if records[at + 16] != 2 {
            return Err(BatchError::Magic {
                at,
                magic: records[at + 16],
            });
        }
        batches.push(parse_one(records.slice(at..end)));
        at = end;
    }
    Ok(batches)
}

/// The caller has checked that the header is there.
fn parse_one(batch: Bytes) -> RawBatch {
    let long = |at: usize| i64::from_be_bytes(std::array::from_fn(|byte| batch[at + byte]));
    let int = |at: usize| i32::from_be_bytes(std::array::from_fn(|byte| batch[at + byte]));
    let short = |at: usize| i16::from_be_bytes([batch[at], batch[at + 1]]);
    RawBatch {
        base_offset: long(0),
        last_offset: long(0).wrapping_add(i64::from(int(23))),
        attributes: short(21),
        base_timestamp: long(27),
        max_timestamp: long(35),
        producer_id: long(43),
        producer_epoch: short(51),
        base_sequence: int(53),
        count: int(57),
        leader_epoch: int(12),
        payload: batch.slice(HEADER_BYTES..),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::{BufMut, BytesMut};

    fn batch(base: i64, payload: &[u8]) -> BytesMut {
        let mut bytes = BytesMut::new();
        bytes.put_i64(base);
        bytes.put_i32((HEADER_BYTES - LOG_OVERHEAD + payload.len()) as i32);
        bytes.put_i32(7);
        bytes.put_u8(2);
        bytes.put_u32(0);
        bytes.put_i16(4);
        bytes.put_i32(2);
        bytes.put_i64(1000);
        bytes.put_i64(1002);
        bytes.put_i64(9);
        bytes.put_i16(1);
        bytes.put_i32(5);
        bytes.put_i32(3);
        bytes.put_slice(payload);
        bytes
    }

    #[test]
    fn a_partial_batch_at_the_end_is_left_out() {
        let mut bytes = batch(10, b"abc");
        bytes.extend_from_slice(&batch(13, b"defg")[..40]);
        let batches = parse_batches(&bytes.freeze()).unwrap();
        assert_eq!(batches.len(), 1);
        assert_eq!(
            (
                batches[0].base_offset,
                batches[0].last_offset,
                batches[0].count
            ),
            (10, 12, 3)
        );
        assert_eq!(
            (
                batches[0].producer_id,
                batches[0].producer_epoch,
                batches[0].base_sequence
            ),
            (9, 1, 5)
        );
        assert_eq!(&batches[0].payload[..], b"abc");
    }

    #[test]
    fn another_producer_reads_alike_and_another_payload_does_not() {
        let one = &parse_batches(&batch(10, b"abc").freeze()).unwrap()[0];
        let mut two = one.clone();
        two.producer_id = -1;
        assert!(one.reads_like(&two));
        two.payload = Bytes::from_static(b"abd");
        assert!(!one.reads_like(&two));
    }

    #[test]
    fn garbage_is_refused() {
        let mut bytes = batch(10, b"abc");
        bytes[16] = 1;
        assert_eq!(
            parse_batches(&bytes.freeze()),
            Err(BatchError::Magic { at: 0, magic: 1 })
        );
    }
}
