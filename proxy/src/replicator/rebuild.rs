//! Pure: what a source's log holds, made into what brokers take from producers. Most answers pass as they are; where a
//! batch was thinned by compaction, bears the broker's own timestamps or is of a format older than Kafka 0.11, the
//! answer is written anew (DESIGN section 4).

use bytes::Bytes;
use lockgate_wire::WireError;
use lockgate_wire::batch::{Batch, BatchView, Batches};
use lockgate_wire::records::{
    DECOMPRESSED_BYTES_MAX, LegacyBatches, is_copied_as_it_is, make_dense,
};

/// Whether [`rebuild`] has to be asked: one look at each header.
pub(super) fn is_needed(records: &Bytes, from: Start) -> bool {
    Batches::new(records).any(|batch| match batch {
        Ok(Batch::Whole(batch)) => from.is_inside(batch) || !is_copied_as_it_is(batch),
        Ok(Batch::Legacy { .. }) => true,
        Ok(Batch::Partial(_)) | Err(_) => false,
    })
}

/// Where an answer is to begin.
#[derive(Debug, Clone, Copy)]
pub(super) struct Start {
    /// The offset that was asked for.
    pub(super) offset: i64,
    /// The topic is compacted: a leader whose cleaner has not come that far may have one batch where another leader had
    /// several, and the copy may end inside it.
    pub(super) may_cut: bool,
}

impl Start {
    fn is_inside(self, batch: BatchView<'_>) -> bool {
        let is_data = !batch.is_control() && batch.record_count() > 0;
        let inside = batch.base_offset() < self.offset && self.offset <= batch.last_offset();
        self.may_cut && is_data && inside
    }
}

/// The same records at the same offsets in batches that can be copied. A partial batch at the end is left out.
pub(super) fn rebuild(records: &Bytes, from: Start) -> Result<Bytes, String> {
    let mut out = Vec::with_capacity(records.len());
    let mut batches = Batches::new(records).peekable();
    while let Some(batch) = batches.next() {
        let rebuilt = match batch {
            Ok(Batch::Whole(batch)) if from.is_inside(batch) || !is_copied_as_it_is(batch) => {
                let made = make_dense(batch, from.offset, DECOMPRESSED_BYTES_MAX, &mut out);
                made.map_err(|error| (batch.base_offset(), error))
            }
            Ok(Batch::Whole(batch)) => {
                out.extend_from_slice(batch.bytes());
                Ok(())
            }
            Ok(Batch::Legacy { bytes, offset, .. }) => {
                let mut gathered =
                    LegacyBatches::new(from.offset, DECOMPRESSED_BYTES_MAX, &mut out);
                let mut result = gathered.push(bytes);
                while let Some(Ok(Batch::Legacy { bytes, .. })) = batches.peek()
                    && result.is_ok()
                {
                    result = gathered.push(bytes);
                    batches.next();
                }
                result
                    .and_then(|()| gathered.finish())
                    .map_err(|error| (offset, error))
            }
            Ok(Batch::Partial(_)) => break,
            Err(error) => Err((from.offset, error)),
        };
        rebuilt.map_err(|(offset, error)| unreadable(offset, &error))?;
    }
    Ok(out.into())
}

fn unreadable(offset: i64, error: &WireError) -> String {
    format!("the source's records at or behind offset {offset} cannot be read: {error}")
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use lockgate_wire::batch::{BatchMut, attributes};
    use lockgate_wire::records::{BatchSpec, NewRecord, Records, batch};

    use super::*;

    fn at(base: i64, records: usize, set: i16) -> BytesMut {
        let list: Vec<_> = (0..records as i64)
            .map(|delta| NewRecord {
                timestamp: 1_000 + delta,
                ..NewRecord::default()
            })
            .collect();
        let mut bytes = BytesMut::from(&batch(&list, BatchSpec::default()).unwrap()[..]);
        let mut batch = BatchMut::new(&mut bytes).unwrap();
        batch.set_base_offset(base);
        batch.set_attributes(set, 0);
        bytes
    }

    /// A message of magic 1 without key and value; the checksum is that of its bytes.
    fn message(offset: i64) -> Vec<u8> {
        let body = [&[1, 0][..], &7_i64.to_be_bytes(), &[0xff; 8]].concat();
        let mut checksum = flate_crc(&body).to_be_bytes().to_vec();
        checksum.extend_from_slice(&body);
        [
            &offset.to_be_bytes()[..],
            &(checksum.len() as i32).to_be_bytes(),
            &checksum,
        ]
        .concat()
    }

    /// CRC-32 bit by bit: the tests need it for a few bytes.
    fn flate_crc(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(!0_u32, |crc, byte| {
            (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
                (crc >> 1) ^ if crc & 1 == 1 { 0xedb8_8320 } else { 0 }
            })
        })
    }

    fn offsets(records: &Bytes) -> Vec<(i64, i64)> {
        let mut seen = Vec::new();
        for one in Batches::new(records) {
            let Ok(Batch::Whole(batch)) = one else {
                panic!()
            };
            for record in &Records::read(batch, 1 << 20).unwrap() {
                let record = record.unwrap();
                seen.push((record.offset, record.timestamp));
            }
        }
        seen
    }

    fn start(offset: i64, may_cut: bool) -> Start {
        Start { offset, may_cut }
    }

    #[test]
    fn ordinary_answers_need_nothing() {
        let mut bytes = at(5, 3, 0);
        bytes.extend_from_slice(&at(8, 1, attributes::CONTROL | attributes::TRANSACTIONAL));
        bytes.extend_from_slice(&at(9, 2, 0)[..70]);
        let records = bytes.freeze();
        assert!(!is_needed(&records, start(5, true)));
        assert!(!is_needed(&records, start(6, false)));
        assert!(is_needed(&records, start(6, true)));
    }

    #[test]
    fn old_messages_and_stamped_batches_are_made_anew_in_their_order() {
        let mut bytes = at(5, 2, 0);
        bytes.extend_from_slice(&message(7));
        bytes.extend_from_slice(&message(8));
        bytes.extend_from_slice(&at(9, 2, attributes::LOG_APPEND_TIME));
        bytes.extend_from_slice(&message(11));
        bytes.extend_from_slice(&message(12)[..20]);
        let records = bytes.freeze();
        assert!(is_needed(&records, start(5, false)));
        let made = rebuild(&records, start(5, false)).unwrap();
        let expected = [
            (5, 1000),
            (6, 1001),
            (7, 7),
            (8, 7),
            (9, 1001),
            (10, 1001),
            (11, 7),
        ];
        assert_eq!(offsets(&made), expected);
        assert_eq!(Batches::new(&made).count(), 4);
    }

    #[test]
    fn a_batch_is_cut_only_where_the_cleaner_may_have_been() {
        let records = at(5, 4, 0).freeze();
        let cut = rebuild(&records, start(7, true)).unwrap();
        assert_eq!(offsets(&cut), [(7, 1002), (8, 1003)]);
        assert_eq!(rebuild(&records, start(7, false)).unwrap(), records);
    }

    #[test]
    fn damage_is_named_with_its_place() {
        let mut bytes = at(5, 2, attributes::LOG_APPEND_TIME);
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        let why = rebuild(&bytes.freeze(), start(5, false)).unwrap_err();
        assert!(
            why.contains("offset 5") && why.contains("checksum"),
            "{why}"
        );
    }
}
