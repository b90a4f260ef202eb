//! Batches that brokers do not take from producers, made into ones that they take: a batch thinned
//! by compaction becomes one batch per stretch without a gap (`LogValidator` wants as many records
//! as offsets), and the broker's own timestamps (LogAppendTime) become those of the records.
//!
//! The codec, the producer and its sequences stay; the records' bytes are copied, not understood.

use bytes::BufMut;

use super::{Codec, RawRecord, Records};
use crate::batch::{BatchMut, BatchView, Fields, attributes, next_sequence};
use crate::producer_id::ProducerId;
use crate::{WireError, put};

/// Whether brokers take the batch from a producer with the header alone changed, its timestamps
/// kept. Markers and batches without records are never sent, so they are as good as any.
pub fn is_copied_as_it_is(batch: BatchView<'_>) -> bool {
    let is_data = !batch.is_control() && batch.record_count() > 0;
    !is_data || (batch.is_dense() && !batch.is_log_append_time())
}

/// Appends to `out` what takes the place of `batch`: dense batches at the offsets of its records,
/// and behind a gap at its end an empty batch up to its last offset. Records below `from` are left
/// out. At most `bytes_max` bytes are decompressed; a wrong checksum is refused, since the new
/// batches get one of their own.
pub fn make_dense(
    batch: BatchView<'_>,
    from: i64,
    bytes_max: usize,
    out: &mut Vec<u8>,
) -> Result<(), WireError> {
    batch.check_checksum()?;
    let records = Records::read(batch, bytes_max)?;
    let shape = Shape {
        codec: Codec::from_bits(batch.codec())?,
        attributes: batch.attributes() & attributes::TRANSACTIONAL,
        producer_id: batch.producer_id(),
        producer_epoch: batch.producer_epoch(),
        sequence_at: (batch.base_sequence() >= 0)
            .then(|| (batch.base_offset(), batch.base_sequence())),
        bytes_max: usize::MAX,
    };
    let mut dense = Dense::new(shape, out);
    let mut next = batch.base_offset();
    for record in records.raw() {
        let record = record?;
        if record.offset < next || record.offset > batch.last_offset() {
            return Err(WireError::Record);
        }
        next = record.offset + 1;
        if record.offset >= from {
            dense.push(record)?;
        }
    }
    dense.close()?;
    dense.empty(next.max(from), batch.last_offset())
}

/// What the batches of one [`Dense`] share.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    pub(super) codec: Codec,
    pub(super) attributes: i16,
    pub(super) producer_id: ProducerId,
    pub(super) producer_epoch: i16,
    /// The sequence number of the record at an offset; each following offset has the next.
    pub(super) sequence_at: Option<(i64, i32)>,
    /// Bytes of records, uncompressed, behind which a new batch begins.
    pub(super) bytes_max: usize,
}

/// Records in, dense batches out: a new one begins at every gap.
#[derive(Debug)]
pub(super) struct Dense<'o> {
    shape: Shape,
    run: Option<Run>,
    out: &'o mut Vec<u8>,
}

/// The batch that is being filled.
#[derive(Debug)]
struct Run {
    base: i64,
    count: i32,
    base_timestamp: i64,
    max_timestamp: i64,
    payload: Vec<u8>,
}

impl<'o> Dense<'o> {
    pub(super) fn new(shape: Shape, out: &'o mut Vec<u8>) -> Self {
        Self {
            shape,
            run: None,
            out,
        }
    }

    /// How the records that follow are compressed.
    pub(super) fn set_codec(&mut self, codec: Codec) -> Result<(), WireError> {
        if codec != self.shape.codec {
            self.close()?;
            self.shape.codec = codec;
        }
        Ok(())
    }

    pub(super) fn push(&mut self, record: RawRecord<'_>) -> Result<(), WireError> {
        let goes_on = self.run.as_ref().is_some_and(|run| {
            run.base + i64::from(run.count) == record.offset
                && run.payload.len() < self.shape.bytes_max
        });
        if !goes_on {
            self.close()?;
        }
        let run = self.run.get_or_insert_with(|| Run {
            base: record.offset,
            count: 0,
            base_timestamp: record.timestamp,
            max_timestamp: record.timestamp,
            payload: Vec::new(),
        });
        let timestamp_delta = record.timestamp.wrapping_sub(run.base_timestamp);
        let length = 1
            + put::varlong_bytes(timestamp_delta)
            + put::varint_bytes(run.count)
            + record.body.len();
        let length = i32::try_from(length).map_err(|_| WireError::TooLongToEncode(length))?;
        put::varint(&mut run.payload, length);
        run.payload.put_i8(record.attributes);
        put::varlong(&mut run.payload, timestamp_delta);
        put::varint(&mut run.payload, run.count);
        run.payload.put_slice(record.body);
        run.count += 1;
        run.max_timestamp = run.max_timestamp.max(record.timestamp);
        Ok(())
    }

    /// Ends the batch that is being filled.
    pub(super) fn close(&mut self) -> Result<(), WireError> {
        let Some(run) = self.run.take() else {
            return Ok(());
        };
        let payload = self.shape.codec.compress(run.payload)?;
        let fields = Fields {
            attributes: self.shape.codec.bits() | self.shape.attributes,
            record_count: run.count,
            last_offset_delta: run.count - 1,
            base_timestamp: run.base_timestamp,
            max_timestamp: run.max_timestamp,
            producer_id: self.shape.producer_id,
            producer_epoch: self.shape.producer_epoch,
            base_sequence: self.sequence(run.base),
        };
        self.write(run.base, fields, &payload)
    }

    /// A batch without records for offsets that hold none any more, so that a reader knows of them.
    fn empty(&mut self, from: i64, to: i64) -> Result<(), WireError> {
        if from > to {
            return Ok(());
        }
        let fields = Fields {
            attributes: self.shape.attributes,
            record_count: 0,
            last_offset_delta: i32::try_from(to - from).map_err(|_| WireError::Record)?,
            base_timestamp: -1,
            max_timestamp: -1,
            producer_id: self.shape.producer_id,
            producer_epoch: self.shape.producer_epoch,
            base_sequence: self.sequence(from),
        };
        self.write(from, fields, &[])
    }

    fn write(&mut self, base: i64, fields: Fields, payload: &[u8]) -> Result<(), WireError> {
        let mut batch = fields.batch(payload)?;
        BatchMut::new(&mut batch)?.set_base_offset(base);
        self.out.extend_from_slice(&batch);
        Ok(())
    }

    fn sequence(&self, offset: i64) -> i32 {
        self.shape.sequence_at.map_or(-1, |(at, sequence)| {
            // Offsets of one batch lie within 2^31 of each other.
            next_sequence(sequence, (offset - at) as i32)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::{Batch, Batches};
    use crate::records::{BatchSpec, NewRecord, Producer, batch};

    const BOUND: usize = 1 << 20;

    /// A batch of ten records at 100 to 109 that compaction has left only `kept` of.
    fn thinned(kept: &[i64], codec: Codec) -> Vec<u8> {
        let spec = BatchSpec {
            producer: Some(Producer {
                id: ProducerId::new(7),
                epoch: 3,
                base_sequence: i32::MAX - 4,
            }),
            codec,
            ..BatchSpec::default()
        };
        let records: Vec<_> = (0..10)
            .map(|at| NewRecord {
                timestamp: 1_000 + at * at,
                key: Some(b"key"),
                ..NewRecord::default()
            })
            .collect();
        let mut whole = batch(&records, spec).unwrap().to_vec();
        whole[..8].copy_from_slice(&100_i64.to_be_bytes());
        let view = BatchView::new(&whole).unwrap();
        let payload = Records::read(view, BOUND).unwrap();
        let mut left = Vec::new();
        for record in payload.raw().map(Result::unwrap) {
            if !kept.contains(&record.offset) {
                continue;
            }
            let delta = (record.offset - 100) as i32;
            let since = record.timestamp - 1_000;
            let length = 1 + put::varlong_bytes(since) + 1 + record.body.len();
            put::varint(&mut left, length as i32);
            left.push(0);
            put::varlong(&mut left, since);
            put::varint(&mut left, delta);
            left.extend_from_slice(record.body);
        }
        let fields = Fields {
            attributes: codec.bits() | attributes::DELETE_HORIZON,
            record_count: kept.len() as i32,
            last_offset_delta: 9,
            base_timestamp: 1_000,
            max_timestamp: 1_081,
            producer_id: ProducerId::new(7),
            producer_epoch: 3,
            base_sequence: i32::MAX - 4,
        };
        let mut made = fields.batch(&codec.compress(left).unwrap()).unwrap();
        BatchMut::new(&mut made).unwrap().set_base_offset(100);
        made.to_vec()
    }

    fn views(bytes: &[u8]) -> Vec<BatchView<'_>> {
        Batches::new(bytes)
            .map(|one| match one.unwrap() {
                Batch::Whole(view) => view,
                other => panic!("{other:?}"),
            })
            .collect()
    }

    #[test]
    fn a_thinned_batch_is_split_at_its_gaps() {
        for codec in [
            Codec::None,
            Codec::Gzip,
            Codec::Snappy,
            Codec::Lz4,
            Codec::Zstd,
        ] {
            let bytes = thinned(&[101, 102, 105, 107], codec);
            let view = BatchView::new(&bytes).unwrap();
            assert!(!is_copied_as_it_is(view));
            let mut out = Vec::new();
            make_dense(view, 0, BOUND, &mut out).unwrap();
            let pieces = views(&out);
            let shape: Vec<_> = pieces
                .iter()
                .map(|one| (one.offsets(), one.record_count(), one.base_sequence()))
                .collect();
            let expected = [
                (101..=102, 2, i32::MAX - 3),
                (105..=105, 1, 0),
                (107..=107, 1, 2),
                (108..=109, 0, 3),
            ];
            assert_eq!(shape, expected);
            for piece in &pieces[..3] {
                piece.check_checksum().unwrap();
                assert!(is_copied_as_it_is(*piece) && !piece.has_delete_horizon());
                assert_eq!((piece.codec(), piece.producer_epoch()), (view.codec(), 3));
                for record in Records::read(*piece, BOUND).unwrap().iter() {
                    let record = record.unwrap();
                    let at = record.offset - 100;
                    assert_eq!(
                        (record.timestamp, record.key),
                        (1_000 + at * at, Some(&b"key"[..]))
                    );
                }
            }
        }
    }

    #[test]
    fn what_lies_below_the_start_is_left_out() {
        let bytes = thinned(&[101, 102, 105], Codec::Lz4);
        let offsets = |from| {
            let mut out = Vec::new();
            make_dense(BatchView::new(&bytes).unwrap(), from, BOUND, &mut out).unwrap();
            views(&out)
                .iter()
                .map(BatchView::offsets)
                .collect::<Vec<_>>()
        };
        assert_eq!(offsets(102), [102..=102, 105..=105, 106..=109]);
        assert_eq!(offsets(103), [105..=105, 106..=109]);
        assert_eq!(offsets(108), [108..=109]);
        assert_eq!(offsets(110), []);
    }

    #[test]
    fn the_time_of_appending_becomes_the_records_own() {
        let mut bytes = thinned(
            &[100, 101, 102, 103, 104, 105, 106, 107, 108, 109],
            Codec::Zstd,
        );
        let mut batch = BatchMut::new(&mut bytes).unwrap();
        batch.set_attributes(attributes::LOG_APPEND_TIME, 0);
        assert!(!is_copied_as_it_is(batch.view()));
        let mut out = Vec::new();
        make_dense(batch.view(), 0, BOUND, &mut out).unwrap();
        let [piece] = views(&out)[..] else { panic!() };
        assert!(is_copied_as_it_is(piece));
        assert_eq!(
            (piece.base_timestamp(), piece.max_timestamp()),
            (1_081, 1_081)
        );
        let records = Records::read(piece, BOUND).unwrap();
        assert!(
            records
                .iter()
                .all(|record| record.unwrap().timestamp == 1_081)
        );
        assert_eq!(records.len(), 10);
    }

    #[test]
    fn damage_is_refused_and_not_signed_anew() {
        let mut bytes = thinned(&[101, 105], Codec::None);
        let at = bytes.len() - 3;
        bytes[at] ^= 1;
        let refused = make_dense(BatchView::new(&bytes).unwrap(), 0, BOUND, &mut Vec::new());
        assert!(matches!(refused, Err(WireError::Checksum { .. })));
    }
}
