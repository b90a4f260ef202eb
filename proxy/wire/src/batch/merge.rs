//! Making one batch of several uncompressed ones that follow each other: the records stay as they are but for their
//! two deltas, which are relative to the first offset and the first timestamp of their batch.
//!
//! What it costs: one pass over the parts for their checksums, one copy, one pass over the copy. Parts are checked
//! before they are believed, since the new checksum would sign whatever damage they have.

use bytes::{BufMut, BytesMut};

use super::{BatchView, HEADER_BYTES, LOG_OVERHEAD, Stamp, attributes, rewrite};
use crate::cursor::Cursor;
use crate::producer_id::ProducerId;
use crate::{WireError, put};

/// What two deltas, a length and an attribute byte take at most beyond what they took before.
const RECORD_GROWTH_MAX: usize = 5 + 10 + 5;

/// Whether a batch can be a part: its records are neither compressed nor stamped by a broker's clock, it is no marker,
/// its base timestamp is one, and each of its offsets has its record. That it belonged to a transaction is no matter.
pub fn can_be_merged(batch: BatchView<'_>) -> bool {
    batch.attributes() & !attributes::TRANSACTIONAL == 0 && batch.is_dense()
}

/// One batch with base offset 0 that holds the records of `parts`, each of which [`can_be_merged`] and begins where
/// the one before it ends. It bears the id of `stamp`, or with [`Stamp::Keep`] none. A part that contradicts itself is
/// an error: it is to be copied alone, so that the broker says what is wrong with it.
pub fn merge<'a>(
    parts: impl Iterator<Item = BatchView<'a>> + Clone,
    stamp: Stamp,
) -> Result<BytesMut, WireError> {
    let first = parts.clone().next().ok_or(WireError::Record)?;
    let bytes: usize = parts.clone().map(|part| part.payload().len()).sum();
    let mut out = BytesMut::with_capacity(HEADER_BYTES + bytes + bytes / 32 + RECORD_GROWTH_MAX);
    // The header is written last, when its fields are known.
    out.put_bytes(0, HEADER_BYTES);
    let (mut records, mut max_timestamp) = (0_i32, i64::MIN);
    for part in parts {
        if !can_be_merged(part) || part.base_offset() != first.base_offset() + i64::from(records) {
            return Err(WireError::Record);
        }
        part.check_checksum()?;
        if records == 0 {
            out.put_slice(part.payload());
        } else {
            let later_ms = part.base_timestamp().wrapping_sub(first.base_timestamp());
            append(&mut out, part, records, later_ms)?;
        }
        records = records
            .checked_add(part.record_count())
            .ok_or(WireError::Record)?;
        max_timestamp = max_timestamp.max(part.max_timestamp());
    }
    let length = i32::try_from(out.len() - LOG_OVERHEAD)
        .map_err(|_| WireError::TooLongToEncode(out.len()))?;
    let (producer_id, producer_epoch, base_sequence) = match stamp {
        Stamp::Restamp {
            producer_id,
            producer_epoch,
            base_sequence,
        } => (producer_id, producer_epoch, base_sequence),
        Stamp::Keep => (ProducerId::NONE, -1, -1),
    };
    let fields = rewrite::Fields {
        attributes: 0,
        record_count: records,
        last_offset_delta: records - 1,
        base_timestamp: first.base_timestamp(),
        max_timestamp,
        producer_id,
        producer_epoch,
        base_sequence,
    };
    fields.put_header(&mut out, length);
    Ok(out)
}

/// Appends the records of `part` behind `before` others; its base timestamp is `later_ms` after the batch's own.
fn append(
    out: &mut BytesMut,
    part: BatchView<'_>,
    before: i32,
    later_ms: i64,
) -> Result<(), WireError> {
    let mut cursor = Cursor::new(part.payload());
    for index in 0..part.record_count() {
        let length = cursor.varint()?;
        let length =
            usize::try_from(length).map_err(|_| WireError::NegativeLength(length.into()))?;
        let mut record = Cursor::new(cursor.take(length)?);
        let record_attributes = record.i8()?;
        let timestamp_delta = record.varlong()?.wrapping_add(later_ms);
        if record.varint()? != index {
            return Err(WireError::Record);
        }
        let offset_delta = before.checked_add(index).ok_or(WireError::Record)?;
        let rest = record.take(record.remaining())?;
        let length =
            1 + put::varlong_bytes(timestamp_delta) + put::varint_bytes(offset_delta) + rest.len();
        put::varint(
            out,
            i32::try_from(length).map_err(|_| WireError::TooLongToEncode(length))?,
        );
        out.put_i8(record_attributes);
        put::varlong(out, timestamp_delta);
        put::varint(out, offset_delta);
        out.put_slice(rest);
    }
    cursor.finish()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    use super::*;
    use crate::batch::BatchMut;
    use crate::records::{BatchSpec, Codec, NewRecord, RecordHeader, Records, batch};

    const STAMP: Stamp = Stamp::Restamp {
        producer_id: ProducerId::own(3),
        producer_epoch: 0,
        base_sequence: 17,
    };

    fn at(base: i64, records: &[NewRecord<'_>], spec: BatchSpec) -> Bytes {
        let mut bytes = BytesMut::from(&batch(records, spec).unwrap()[..]);
        BatchMut::new(&mut bytes).unwrap().set_base_offset(base);
        bytes.freeze()
    }

    fn views(parts: &[Bytes]) -> Vec<BatchView<'_>> {
        parts
            .iter()
            .map(|part| BatchView::new(part).unwrap())
            .collect()
    }

    #[test]
    fn every_record_keeps_its_offset_time_and_content() {
        let mut random = StdRng::seed_from_u64(4);
        for _ in 0..300 {
            let value = vec![b'v'; random.random_range(0..200)];
            let headers = [Some(&value[..]), None].map(|value| RecordHeader { key: "h", value });
            let (mut parts, mut next) = (Vec::new(), 1_000);
            for _ in 0..random.random_range(1..30) {
                let records: Vec<_> = (0..random.random_range(1..100))
                    .map(|_| NewRecord {
                        timestamp: random.random_range(-5..2_000_000_000_000),
                        key: random.random_bool(0.5).then_some(&b"k"[..]),
                        value: random.random_bool(0.9).then_some(&value[..]),
                        headers: &headers[..random.random_range(0..=2)],
                    })
                    .collect();
                let spec = BatchSpec {
                    transactional: random.random_bool(0.3),
                    ..BatchSpec::default()
                };
                parts.push(at(next, &records, spec));
                next += records.len() as i64;
            }
            let parts = views(&parts);
            let mut merged = merge(parts.iter().copied(), STAMP).unwrap();
            let mut whole = BatchMut::new(&mut merged).unwrap();
            assert_eq!(whole.view().base_offset(), 0);
            whole.set_base_offset(1_000);
            let whole = whole.view();
            whole.check_checksum().unwrap();
            assert!(whole.is_dense() && whole.attributes() == 0);
            assert_eq!((whole.next_offset(), whole.base_sequence()), (next, 17));
            let newest = parts.iter().map(|part| part.max_timestamp()).max();
            assert_eq!(Some(whole.max_timestamp()), newest);
            let merged = Records::read(whole, 0).unwrap();
            let mut merged = merged.iter();
            for part in parts {
                for record in &Records::read(part, 0).unwrap() {
                    assert_eq!(merged.next().unwrap(), record);
                }
            }
            assert!(merged.next().is_none());
        }
    }

    #[test]
    fn a_merged_batch_can_be_a_part_again() {
        let one = |base, timestamp| {
            let record = NewRecord {
                timestamp,
                ..NewRecord::default()
            };
            at(base, &[record], BatchSpec::default())
        };
        let parts = [one(0, 9), one(1, 4), one(2, 7)];
        let parts = views(&parts);
        let mut head = merge(parts[..2].iter().copied(), STAMP).unwrap();
        let mut head = BatchMut::new(&mut head).unwrap();
        head.set_base_offset(0);
        let again = merge([head.view(), parts[2]].into_iter(), STAMP).unwrap();
        let at_once = merge(parts.into_iter(), STAMP).unwrap();
        assert_eq!(again, at_once);
    }

    #[test]
    fn what_is_no_part_is_refused() {
        let record = NewRecord {
            value: Some(b"value"),
            ..NewRecord::default()
        };
        let plain = |base| at(base, &[record; 2], BatchSpec::default());
        let refused = |second: &[u8]| {
            let first = plain(0);
            let parts = [
                BatchView::new(&first).unwrap(),
                BatchView::new(second).unwrap(),
            ];
            merge(parts.into_iter(), STAMP).unwrap_err()
        };
        assert_eq!(refused(&plain(3)), WireError::Record, "a gap");
        let zstd = BatchSpec {
            codec: Codec::Zstd,
            ..BatchSpec::default()
        };
        assert_eq!(refused(&at(2, &[record], zstd)), WireError::Record);
        for attribute in [
            attributes::CONTROL,
            attributes::LOG_APPEND_TIME,
            attributes::DELETE_HORIZON,
        ] {
            let mut bytes = BytesMut::from(&plain(2)[..]);
            let mut batch = BatchMut::new(&mut bytes).unwrap();
            batch.set_attributes(attribute, 0);
            assert_eq!(refused(&bytes), WireError::Record);
        }
        let mut damaged = BytesMut::from(&plain(2)[..]);
        *damaged.last_mut().unwrap() ^= 1;
        assert!(matches!(refused(&damaged), WireError::Checksum { .. }));
        assert_eq!(merge(std::iter::empty(), STAMP), Err(WireError::Record));
    }
}
