//! Pure: what a log holds over a stretch of offsets, record by record. Two batches of the same records can differ as
//! bytes: rebuilt, merged, split, or rewritten by a cleaner.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use bytes::Bytes;
use lockgate_wire::batch::{Batch, BatchView, Batches};
use lockgate_wire::records::{DECOMPRESSED_BYTES_MAX, Records};
use sha2::{Digest, Sha256};

use super::rebuild::{Start, is_needed, rebuild};

/// What stands at one offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Held {
    /// A record; SHA-256 over its timestamp, key, value and headers.
    Record([u8; 32]),
    /// A marker of a transaction.
    Marker,
}

/// What stands at each offset of a stretch; nothing where compaction took it.
#[derive(Debug)]
pub(super) struct Stretch {
    offsets: RangeInclusive<i64>,
    held: BTreeMap<i64, Held>,
    next: i64,
}

impl Stretch {
    pub(super) fn new(offsets: RangeInclusive<i64>) -> Self {
        Self {
            next: *offsets.start(),
            offsets,
            held: BTreeMap::new(),
        }
    }

    /// The offset to read from; none where all was seen.
    pub(super) fn wanted(&self) -> Option<i64> {
        (self.next <= *self.offsets.end()).then_some(self.next)
    }

    /// Takes in one answer to a read from [`Self::wanted`].
    pub(super) fn add(&mut self, records: &Bytes) -> Result<(), String> {
        let from = Start {
            offset: self.next,
            may_cut: false,
        };
        let rebuilt;
        let records = if is_needed(records, from) {
            rebuilt = rebuild(records, from)?;
            &rebuilt
        } else {
            records
        };
        for batch in Batches::new(records) {
            let Ok(Batch::Whole(batch)) = batch else {
                break;
            };
            self.take(batch)?;
        }
        Ok(())
    }

    fn take(&mut self, batch: BatchView<'_>) -> Result<(), String> {
        self.next = self.next.max(batch.next_offset());
        if batch.base_offset() > *self.offsets.end() {
            return Ok(());
        }
        if batch.is_control() {
            let within = batch.offsets().filter(|at| self.offsets.contains(at));
            self.held.extend(within.map(|at| (at, Held::Marker)));
            return Ok(());
        }
        let records = Records::read(batch, DECOMPRESSED_BYTES_MAX).map_err(|error| {
            format!(
                "the batch at offset {} cannot be read: {error}",
                batch.base_offset()
            )
        })?;
        for record in records.raw() {
            let record = record.map_err(|error| {
                format!(
                    "a record behind offset {} cannot be read: {error}",
                    batch.base_offset()
                )
            })?;
            if self.offsets.contains(&record.offset) {
                let mut hash = Sha256::new();
                hash.update(record.timestamp.to_be_bytes());
                hash.update(record.body);
                self.held
                    .insert(record.offset, Held::Record(hash.finalize().into()));
            }
        }
        Ok(())
    }

    /// The first offset at which `copy` holds a record that is not this one's. Where this holds nothing, a cleaner
    /// has been: that says nothing.
    pub(super) fn contradicts(&self, copy: &Self) -> Option<i64> {
        let differs = |(at, held): (&i64, &Held)| {
            let here = self.held.get(at)?;
            (here != held).then_some(*at)
        };
        copy.held.iter().find_map(differs)
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use lockgate_wire::batch::{BatchMut, attributes};
    use lockgate_wire::records::{BatchSpec, Codec, NewRecord, batch};

    use super::*;

    fn bytes(base: i64, values: &[&str], codec: Codec, set: i16) -> BytesMut {
        let records: Vec<_> = values
            .iter()
            .map(|value| NewRecord {
                timestamp: 9,
                value: Some(value.as_bytes()),
                ..NewRecord::default()
            })
            .collect();
        let spec = BatchSpec {
            codec,
            ..BatchSpec::default()
        };
        let mut bytes = BytesMut::from(&batch(&records, spec).unwrap()[..]);
        let mut batch = BatchMut::new(&mut bytes).unwrap();
        batch.set_base_offset(base);
        batch.set_attributes(set, 0);
        bytes
    }

    fn stretch(batches: &[BytesMut]) -> Stretch {
        let mut stretch = Stretch::new(10..=13);
        stretch.add(&batches.concat().into()).unwrap();
        assert_eq!(stretch.wanted(), None);
        stretch
    }

    #[test]
    fn the_same_records_in_other_batches_are_the_same() {
        let copy = stretch(&[bytes(10, &["a", "b", "c", "d"], Codec::None, 0)]);
        let stamped = attributes::LOG_APPEND_TIME;
        let source = stretch(&[
            bytes(9, &["x", "a", "b"], Codec::Lz4, stamped),
            bytes(12, &["c"], Codec::None, 0),
            bytes(13, &["d", "y"], Codec::Zstd, 0),
        ]);
        assert_eq!(source.contradicts(&copy), None);
        let thinned = stretch(&[
            bytes(10, &["a"], Codec::None, 0),
            bytes(13, &["d"], Codec::None, 0),
        ]);
        assert_eq!(thinned.contradicts(&copy), None);
    }

    #[test]
    fn another_record_or_a_marker_contradicts() {
        let copy = stretch(&[bytes(10, &["a", "b", "c", "d"], Codec::None, 0)]);
        let other = stretch(&[bytes(10, &["a", "b", "C", "d"], Codec::None, 0)]);
        assert_eq!(other.contradicts(&copy), Some(12));
        let marker = stretch(&[
            bytes(10, &["a"], Codec::None, 0),
            bytes(11, &["m"], Codec::None, attributes::CONTROL),
            bytes(12, &["c", "d"], Codec::None, 0),
        ]);
        assert_eq!(marker.contradicts(&copy), Some(11));
    }

    #[test]
    fn a_stretch_wants_more_until_its_end_was_seen() {
        let mut stretch = Stretch::new(10..=13);
        stretch
            .add(&bytes(10, &["a", "b"], Codec::None, 0).freeze())
            .unwrap();
        assert_eq!(stretch.wanted(), Some(12));
        stretch
            .add(&bytes(20, &["z"], Codec::None, 0).freeze())
            .unwrap();
        assert_eq!(stretch.wanted(), None);
    }
}
