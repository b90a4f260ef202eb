//! Pure: records by their digests.
//!
//! A record's digest is SHA-256 over these, big-endian: offset (8 bytes), timestamp (8), key, value, the number of
//! headers (4), and key and value of each header in order. A key or a value is its length (4 bytes, -1 for null) and
//! its bytes. The digest of a range is SHA-256 over the digests of its records in order of their offsets. Whoever
//! reads the range with any client (read_committed) can compute the same.
//!
//! What a batch costs: one decompression, one SHA-256 over its records, 80 bytes a record while it is compared. Its
//! decompressed bytes are gone as soon as its digests are made.

use std::fmt;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use lockgate_wire::WireError;
use lockgate_wire::batch::BatchView;
use lockgate_wire::cursor::Cursor;
use lockgate_wire::records::{DECOMPRESSED_BYTES_MAX, RawRecord, Records};
use serde::{Serialize, Serializer};
use sha2::{Digest as _, Sha256};

/// Batches that decompress to no more are opened side by side; larger ones (up to [`DECOMPRESSED_BYTES_MAX`]) one at a
/// time, see [`Large`].
const SIDE_BY_SIDE_BYTES_MAX: usize = 8 << 20;
/// Records of one batch that are compared; one with more is refused. Clients' batches hold some thousands.
const BATCH_RECORDS_MAX: usize = 1 << 19;

/// A SHA-256, shown in hexadecimal.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// The digest of some bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The turn of batches that decompress to much: whoever opens one holds it. One for all partitions.
#[derive(Debug, Default)]
pub(super) struct Large(Mutex<()>);

/// One record of an opened batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) offset: i64,
    pub(super) record: Digest,
    /// On compacted topics; none where the record has no key.
    pub(super) key: Option<Digest>,
    /// Its value is null.
    pub(super) tombstone: bool,
}

/// What a record holds, by digests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Contents {
    /// Milliseconds.
    pub timestamp: i64,
    /// Null where the key is.
    pub key: Option<Digest>,
    /// Null where the value is.
    pub value: Option<Digest>,
    /// Over all headers in order, in the form that the record's digest takes them.
    pub headers: Digest,
}

/// The records of a batch in `range`; their keys are hashed where `keys` says so.
pub(super) fn open(
    batch: &Bytes,
    range: &Range<i64>,
    keys: bool,
    large: &Large,
) -> Result<Vec<Entry>, WireError> {
    let view = BatchView::new(batch)?;
    view.check_checksum()?;
    let count = usize::try_from(view.record_count()).map_err(|_| WireError::Record)?;
    if count > BATCH_RECORDS_MAX {
        return Err(WireError::TooManyElements(BATCH_RECORDS_MAX));
    }
    let mut entries = Vec::new();
    each(view, large, &mut |record| {
        let parts = Parts::of(record.body)?;
        let in_order = entries
            .last()
            .is_none_or(|last: &Entry| last.offset < record.offset);
        if !in_order || !view.offsets().contains(&record.offset) {
            return Err(WireError::Record);
        }
        if range.contains(&record.offset) {
            entries.push(Entry {
                offset: record.offset,
                record: digest(record, &parts)?,
                key: parts.key.filter(|_| keys).map(Digest::of),
                tombstone: parts.value.is_none(),
            });
        }
        Ok(())
    })?;
    Ok(entries)
}

/// What the record at `offset` of a batch holds.
pub(super) fn contents(batch: &Bytes, offset: i64, large: &Large) -> Result<Contents, WireError> {
    let mut found = None;
    each(BatchView::new(batch)?, large, &mut |record| {
        if record.offset == offset {
            let parts = Parts::of(record.body)?;
            let mut hash = Sha256::new();
            put_headers(&mut hash, parts.headers)?;
            found = Some(Contents {
                timestamp: record.timestamp,
                key: parts.key.map(Digest::of),
                value: parts.value.map(Digest::of),
                headers: Digest(hash.finalize().into()),
            });
        }
        Ok(())
    })?;
    found.ok_or(WireError::Record)
}

/// Decompresses a batch, in turn where it is large, and shows its records.
fn each(
    batch: BatchView<'_>,
    large: &Large,
    show: &mut dyn FnMut(&RawRecord<'_>) -> Result<(), WireError>,
) -> Result<(), WireError> {
    // What decompresses to less can fail here too: the bound also limits the window that zstd may ask for.
    if let Ok(records) = Records::read(batch, SIDE_BY_SIDE_BYTES_MAX) {
        return records.raw().try_for_each(|record| show(&record?));
    }
    let _turn = large.0.lock().unwrap_or_else(PoisonError::into_inner);
    let records = Records::read(batch, DECOMPRESSED_BYTES_MAX)?;
    records.raw().try_for_each(|record| show(&record?))
}

/// Key, value and headers of a record. Header keys need not be UTF-8 here.
struct Parts<'a> {
    key: Option<&'a [u8]>,
    value: Option<&'a [u8]>,
    /// How many, then each of them, as on the wire.
    headers: Cursor<'a>,
}

impl<'a> Parts<'a> {
    fn of(body: &'a [u8]) -> Result<Self, WireError> {
        let mut cursor = Cursor::new(body);
        Ok(Self {
            key: field(&mut cursor)?,
            value: field(&mut cursor)?,
            headers: cursor,
        })
    }
}

fn field<'a>(cursor: &mut Cursor<'a>) -> Result<Option<&'a [u8]>, WireError> {
    let length = cursor.varint()?;
    if length == -1 {
        return Ok(None);
    }
    let length = usize::try_from(length).map_err(|_| WireError::NegativeLength(length.into()))?;
    cursor.take(length).map(Some)
}

fn digest(record: &RawRecord<'_>, parts: &Parts<'_>) -> Result<Digest, WireError> {
    let mut hash = Sha256::new();
    hash.update(record.offset.to_be_bytes());
    hash.update(record.timestamp.to_be_bytes());
    put_field(&mut hash, parts.key);
    put_field(&mut hash, parts.value);
    put_headers(&mut hash, parts.headers.clone())?;
    Ok(Digest(hash.finalize().into()))
}

/// The loop ends with the bytes, whatever count they announce.
fn put_headers(hash: &mut Sha256, mut headers: Cursor<'_>) -> Result<(), WireError> {
    let count = headers.varint()?;
    hash.update(count.to_be_bytes());
    for _ in 0..count {
        put_field(hash, field(&mut headers)?);
        put_field(hash, field(&mut headers)?);
    }
    headers.finish()
}

fn put_field(hash: &mut Sha256, field: Option<&[u8]>) {
    let length = field.map_or(-1, |bytes| bytes.len() as i32);
    hash.update(length.to_be_bytes());
    hash.update(field.unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use lockgate_wire::records::{BatchSpec, NewRecord, RecordHeader, batch};

    use super::*;

    #[test]
    fn a_digest_is_what_the_description_says() {
        let headers = [
            RecordHeader {
                key: "h",
                value: None,
            },
            RecordHeader {
                key: "h",
                value: Some(b""),
            },
        ];
        let new = NewRecord {
            timestamp: 7,
            key: Some(b"k"),
            value: None,
            headers: &headers,
        };
        let bytes = batch(&[new], BatchSpec::default()).unwrap();
        let opened = open(&bytes, &(0..1), true, &Large::default()).unwrap();
        let written = [
            &[0; 8][..],
            &[0, 0, 0, 0, 0, 0, 0, 7],
            &[0, 0, 0, 1, b'k'],
            &[0xff; 4],
            &[0, 0, 0, 2],
            &[0, 0, 0, 1, b'h', 0xff, 0xff, 0xff, 0xff],
            &[0, 0, 0, 1, b'h', 0, 0, 0, 0],
        ]
        .concat();
        assert_eq!(opened[0].record, Digest::of(&written));
        assert_eq!(opened[0].key, Some(Digest::of(b"k")));
        assert!(opened[0].tombstone);
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(Digest::of(b"").to_string(), empty);
    }

    #[test]
    fn damage_and_disorder_are_refused() {
        let new = NewRecord {
            value: Some(b"value"),
            ..NewRecord::default()
        };
        let whole = batch(&[new; 3], BatchSpec::default()).unwrap();
        let large = Large::default();
        assert_eq!(open(&whole, &(1..3), false, &large).unwrap().len(), 2);
        for at in lockgate_wire::batch::HEADER_BYTES..whole.len() {
            let mut damaged = whole.to_vec();
            damaged[at] ^= 1;
            assert!(open(&damaged.into(), &(0..3), false, &large).is_err());
        }
    }
}
