//! The records inside a batch: built for Lockgate's own writes, read back for the state topic and
//! for verification. The data path never comes here.
//!
//! Headers are a list, as on the wire: the same key may stand in it twice.

use std::borrow::Cow;

use crate::WireError;
use crate::batch::BatchView;
use crate::cursor::Cursor;

mod build;
mod codec;
mod dense;
mod legacy;
mod raw;

pub use build::{BatchSpec, FILLER_RECORDS_MAX, NewRecord, Producer, batch, filler};
pub use codec::Codec;
pub use dense::{is_copied_as_it_is, make_dense};
pub use legacy::{LEGACY_BATCH_BYTES_MAX, LegacyBatches};
pub use raw::{RawIter, RawRecord};

/// The default bound of [`Records::read`]: bytes that one batch may decompress to. As large as the
/// window of zstd's highest level, which a batch may announce however small it is.
pub const DECOMPRESSED_BYTES_MAX: usize = 1 << codec::WINDOW_LOG_MAX;
/// The least that a record takes: length, attributes, two deltas, key, value, header count.
const RECORD_BYTES_MIN: usize = 7;

/// One header of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordHeader<'a> {
    /// Not unique within a record.
    pub key: &'a str,
    /// Null is not the same as empty.
    pub value: Option<&'a [u8]>,
}

/// One record, its key and value still in the batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record<'a> {
    /// Base offset of the batch plus the record's delta.
    pub offset: i64,
    /// Milliseconds; the batch's own where the broker's clock gave it (LogAppendTime).
    pub timestamp: i64,
    /// The key.
    pub key: Option<&'a [u8]>,
    /// The value; `None` is a tombstone on compacted topics.
    pub value: Option<&'a [u8]>,
    /// In the order of the wire, duplicates kept.
    pub headers: Vec<RecordHeader<'a>>,
}

/// The records of one batch, decompressed where they were compressed.
#[derive(Debug, Clone)]
pub struct Records<'a> {
    payload: Cow<'a, [u8]>,
    base_offset: i64,
    base_timestamp: i64,
    append_timestamp: Option<i64>,
    count: usize,
}

impl<'a> Records<'a> {
    /// Opens the records of `batch`. At most `bytes_max` bytes are decompressed. The checksum is
    /// not checked here ([`BatchView::check_checksum`]).
    pub fn read(batch: BatchView<'a>, bytes_max: usize) -> Result<Self, WireError> {
        let payload = match Codec::from_bits(batch.codec())? {
            Codec::None => Cow::Borrowed(batch.payload()),
            codec => Cow::Owned(codec.decompress(batch.payload(), bytes_max)?),
        };
        let count = usize::try_from(batch.record_count()).map_err(|_| WireError::Record)?;
        if count.saturating_mul(RECORD_BYTES_MIN) > payload.len() {
            let remaining = payload.len();
            return Err(WireError::LengthBeyondFrame {
                length: count as u64,
                remaining,
            });
        }
        Ok(Self {
            payload,
            base_offset: batch.base_offset(),
            base_timestamp: batch.base_timestamp(),
            append_timestamp: batch.is_log_append_time().then(|| batch.max_timestamp()),
            count,
        })
    }

    /// How many records there are.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none: a batch that compaction emptied.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The records in order; ends after the first error. Bytes after the last record are one.
    pub fn iter(&self) -> RecordIter<'_> {
        RecordIter(Some(self.raw()))
    }

    /// The same without a look at keys, values and headers.
    pub fn raw(&self) -> RawIter<'_> {
        RawIter::new(self)
    }
}

impl<'a> IntoIterator for &'a Records<'_> {
    type Item = Result<Record<'a>, WireError>;
    type IntoIter = RecordIter<'a>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// Walks [`Records`].
#[derive(Debug, Clone)]
pub struct RecordIter<'a>(Option<RawIter<'a>>);

impl<'a> Iterator for RecordIter<'a> {
    type Item = Result<Record<'a>, WireError>;

    fn next(&mut self) -> Option<Self::Item> {
        let record = self.0.as_mut()?.next()?.and_then(|raw| raw.parse());
        if record.is_err() {
            self.0 = None;
        }
        Some(record)
    }
}

/// Bytes behind a zigzag length; -1 is null.
fn field<'a>(cursor: &mut Cursor<'a>) -> Result<Option<&'a [u8]>, WireError> {
    let length = match cursor.varint()? {
        -1 => return Ok(None),
        length => length,
    };
    let length = usize::try_from(length).map_err(|_| WireError::NegativeLength(length.into()))?;
    cursor.take(length).map(Some)
}

fn header<'a>(cursor: &mut Cursor<'a>) -> Result<RecordHeader<'a>, WireError> {
    let key = field(cursor)?.ok_or(WireError::UnexpectedNull)?;
    let key = std::str::from_utf8(key).map_err(|_| WireError::NotUtf8)?;
    Ok(RecordHeader {
        key,
        value: field(cursor)?,
    })
}

#[cfg(test)]
mod tests;
