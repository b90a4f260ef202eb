//! Records without a look at their keys, values and headers: for copying them into another batch
//! and for digests, where equal bytes are all that matters.

use super::{Record, Records, field, header};
use crate::WireError;
use crate::cursor::Cursor;

/// The least that a record header takes: the lengths of key and value.
const HEADER_BYTES_MIN: usize = 2;

/// One record, still encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RawRecord<'a> {
    /// Base offset of the batch plus the record's delta.
    pub offset: i64,
    /// Milliseconds; the batch's own where the broker's clock gave it (LogAppendTime).
    pub timestamp: i64,
    /// No bit is defined yet; kept as it is.
    pub attributes: i8,
    /// Key, value and headers as they are encoded: the same in every batch.
    pub body: &'a [u8],
}

impl<'a> RawRecord<'a> {
    /// Takes key, value and headers apart.
    pub fn parse(&self) -> Result<Record<'a>, WireError> {
        let mut cursor = Cursor::new(self.body);
        let (key, value) = (field(&mut cursor)?, field(&mut cursor)?);
        let count = cursor.varint()?;
        let count = usize::try_from(count).map_err(|_| WireError::NegativeLength(count.into()))?;
        if count.saturating_mul(HEADER_BYTES_MIN) > cursor.remaining() {
            let remaining = cursor.remaining();
            return Err(WireError::LengthBeyondFrame {
                length: count as u64,
                remaining,
            });
        }
        let headers = (0..count)
            .map(|_| header(&mut cursor))
            .collect::<Result<_, _>>()?;
        cursor.finish()?;
        Ok(Record {
            offset: self.offset,
            timestamp: self.timestamp,
            key,
            value,
            headers,
        })
    }
}

/// Walks [`Records`]; ends after the first error. Bytes after the last record are one.
#[derive(Debug, Clone)]
pub struct RawIter<'a> {
    cursor: Cursor<'a>,
    left: usize,
    batch: &'a Records<'a>,
}

impl<'a> RawIter<'a> {
    pub(super) fn new(batch: &'a Records<'a>) -> Self {
        Self {
            cursor: Cursor::new(&batch.payload),
            left: batch.count,
            batch,
        }
    }

    fn record(&mut self) -> Result<RawRecord<'a>, WireError> {
        let length = self.cursor.varint()?;
        let length =
            usize::try_from(length).map_err(|_| WireError::NegativeLength(length.into()))?;
        let bytes = self.cursor.take(length)?;
        let mut cursor = Cursor::new(bytes);
        let attributes = cursor.i8()?;
        let timestamp_delta = cursor.varlong()?;
        let offset_delta = cursor.varint()?;
        if self.left == 1 {
            self.cursor.finish()?;
        }
        let timestamp = self.batch.base_timestamp.wrapping_add(timestamp_delta);
        Ok(RawRecord {
            offset: self.batch.base_offset.wrapping_add(offset_delta.into()),
            timestamp: self.batch.append_timestamp.unwrap_or(timestamp),
            attributes,
            body: &bytes[cursor.position()..],
        })
    }
}

impl<'a> Iterator for RawIter<'a> {
    type Item = Result<RawRecord<'a>, WireError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            return None;
        }
        let record = self.record();
        self.left = if record.is_ok() { self.left - 1 } else { 0 };
        Some(record)
    }
}
