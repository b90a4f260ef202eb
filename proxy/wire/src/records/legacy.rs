//! Messages of magic 0 and 1, which sources up to Kafka 3.x may still hold, made into batches of
//! magic 2: what brokers take today (`ProduceRequest`).
//!
//! Field positions and the rules for compressed messages are those of `LegacyRecord` and
//! `AbstractLegacyRecordBatch`: a compressed message holds a set of messages; in magic 1 their
//! offsets are relative and the last one's is the outer message's; in magic 0 they are absolute. In
//! magic 0 there are no timestamps (-1), in magic 1 the outer message's counts where the broker's
//! clock gave it.

use std::borrow::Cow;

use super::dense::{Dense, Shape};
use super::{Codec, RawRecord};
use crate::batch::attributes;
use crate::cursor::Cursor;
use crate::producer_id::ProducerId;
use crate::{WireError, put};

/// Bytes of records, uncompressed, that one batch made of such messages gathers.
pub const LEGACY_BATCH_BYTES_MAX: usize = 256 << 10;
/// What the message format says for "no timestamp" (`RecordBatch.NO_TIMESTAMP`).
const NO_TIMESTAMP: i64 = -1;
/// Codec and timestamp type in a message's attributes.
const CODEC: i8 = attributes::CODEC as i8;
const LOG_APPEND_TIME: i8 = attributes::LOG_APPEND_TIME as i8;
/// The magic number, flags and block descriptor in front of what LZ4's header checksum covers.
const LZ4_MAGIC_BYTES: usize = 4;
/// Flag of an LZ4 frame: eight bytes of content size follow the block descriptor.
const LZ4_CONTENT_SIZE: u8 = 1 << 3;

/// Messages in, one after the other; batches of magic 2 out.
#[derive(Debug)]
pub struct LegacyBatches<'o> {
    dense: Dense<'o>,
    from: i64,
    bytes_max: usize,
    next: i64,
    /// One record at a time, encoded.
    body: Vec<u8>,
}

/// One message as it stands in a set.
struct Message<'a> {
    offset: i64,
    magic: i8,
    attributes: i8,
    timestamp: i64,
    key: Option<&'a [u8]>,
    value: Option<&'a [u8]>,
}

impl<'o> LegacyBatches<'o> {
    /// Batches are appended to `out`; messages below `from` are left out. At most `bytes_max` bytes
    /// of one message are decompressed.
    pub fn new(from: i64, bytes_max: usize, out: &'o mut Vec<u8>) -> Self {
        let shape = Shape {
            codec: Codec::None,
            attributes: 0,
            producer_id: ProducerId::NONE,
            producer_epoch: -1,
            sequence_at: None,
            bytes_max: LEGACY_BATCH_BYTES_MAX,
        };
        Self {
            dense: Dense::new(shape, out),
            from,
            bytes_max,
            next: i64::MIN,
            body: Vec::new(),
        }
    }

    /// Takes one entry of a message set with all of its bytes.
    pub fn push(&mut self, entry: &[u8]) -> Result<(), WireError> {
        let mut cursor = Cursor::new(entry);
        let outer = message(&mut cursor)?;
        cursor.finish()?;
        let codec = Codec::from_bits((outer.attributes & CODEC) as u8)?;
        self.dense.set_codec(codec)?;
        if codec == Codec::None {
            return self.record(&outer, outer.offset, outer.timestamp);
        }
        let value = outer.value.ok_or(WireError::UnexpectedNull)?;
        let value = if codec == Codec::Lz4 && outer.magic == 0 {
            lz4_with_its_checksum(value)?
        } else {
            Cow::Borrowed(value)
        };
        let inner = codec.decompress(&value, self.bytes_max)?;
        let messages = messages(&inner)?;
        let last = messages.last().ok_or(WireError::Record)?.offset;
        for message in &messages {
            let offset = match outer.magic {
                0 => message.offset,
                _ => outer.offset.wrapping_sub(last).wrapping_add(message.offset),
            };
            let stamped = outer.attributes & LOG_APPEND_TIME != 0;
            let timestamp = if stamped {
                outer.timestamp
            } else {
                message.timestamp
            };
            self.record(message, offset, timestamp)?;
        }
        Ok(())
    }

    /// Ends the last batch.
    pub fn finish(mut self) -> Result<(), WireError> {
        self.dense.close()
    }

    fn record(&mut self, message: &Message<'_>, offset: i64, at: i64) -> Result<(), WireError> {
        if offset < self.next || offset == i64::MAX {
            return Err(WireError::Record);
        }
        self.next = offset + 1;
        if offset < self.from {
            return Ok(());
        }
        let body = &mut self.body;
        body.clear();
        for field in [message.key, message.value] {
            let length = field.map_or(Ok(-1), |bytes| i32::try_from(bytes.len()));
            put::varint(body, length.map_err(|_| WireError::Record)?);
            body.extend_from_slice(field.unwrap_or_default());
        }
        // No headers.
        put::varint(body, 0);
        self.dense.push(RawRecord {
            offset,
            timestamp: at,
            attributes: 0,
            body,
        })
    }
}

fn messages(set: &[u8]) -> Result<Vec<Message<'_>>, WireError> {
    let mut cursor = Cursor::new(set);
    let mut messages = Vec::new();
    while !cursor.is_empty() {
        let message = message(&mut cursor)?;
        if message.attributes & CODEC != 0 {
            // Compressed within compressed: no client writes that.
            return Err(WireError::Record);
        }
        messages.push(message);
    }
    Ok(messages)
}

fn message<'a>(cursor: &mut Cursor<'a>) -> Result<Message<'a>, WireError> {
    let offset = cursor.i64()?;
    let size = cursor.i32()?;
    let size = usize::try_from(size).map_err(|_| WireError::NegativeLength(size.into()))?;
    let mut cursor = Cursor::new(cursor.take(size)?);
    let stored = cursor.i32()?.cast_unsigned();
    let mut checksum = flate2::Crc::new();
    checksum.update(cursor.clone().take(cursor.remaining())?);
    if checksum.sum() != stored {
        return Err(WireError::Checksum {
            stored,
            computed: checksum.sum(),
        });
    }
    let (magic, attributes) = (cursor.i8()?, cursor.i8()?);
    let timestamp = match magic {
        0 => NO_TIMESTAMP,
        1 => cursor.i64()?,
        other => return Err(WireError::Magic(other)),
    };
    let (key, value) = (field(&mut cursor)?, field(&mut cursor)?);
    cursor.finish()?;
    Ok(Message {
        offset,
        magic,
        attributes,
        timestamp,
        key,
        value,
    })
}

fn field<'a>(cursor: &mut Cursor<'a>) -> Result<Option<&'a [u8]>, WireError> {
    let length = cursor.i32()?;
    if length == -1 {
        return Ok(None);
    }
    let length = usize::try_from(length).map_err(|_| WireError::NegativeLength(length.into()))?;
    cursor.take(length).map(Some)
}

/// Frames of magic 0 have a header checksum over the wrong bytes (KAFKA-3160); this one has the
/// right one.
fn lz4_with_its_checksum(frame: &[u8]) -> Result<Cow<'_, [u8]>, WireError> {
    let flags = frame.get(LZ4_MAGIC_BYTES).ok_or(WireError::Compression)?;
    let descriptor = if flags & LZ4_CONTENT_SIZE == 0 { 2 } else { 10 };
    let end = LZ4_MAGIC_BYTES + descriptor;
    let mut frame = frame.to_vec();
    let covered = frame
        .get(LZ4_MAGIC_BYTES..end)
        .ok_or(WireError::Compression)?;
    let checksum = (twox_hash::XxHash32::oneshot(0, covered) >> 8) as u8;
    *frame.get_mut(end).ok_or(WireError::Compression)? = checksum;
    Ok(Cow::Owned(frame))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::{Batch, Batches};
    use crate::records::Records;

    const BOUND: usize = 1 << 20;

    fn entry(
        offset: i64,
        magic: i8,
        attributes: i8,
        time: i64,
        key: &[u8],
        value: &[u8],
    ) -> Vec<u8> {
        let mut body = vec![magic as u8, attributes as u8];
        if magic == 1 {
            body.extend_from_slice(&time.to_be_bytes());
        }
        for field in [key, value] {
            // An empty field stands for null here.
            let length = if field.is_empty() {
                -1
            } else {
                field.len() as i32
            };
            body.extend_from_slice(&length.to_be_bytes());
            body.extend_from_slice(field);
        }
        let mut checksum = flate2::Crc::new();
        checksum.update(&body);
        let mut out = offset.to_be_bytes().to_vec();
        out.extend_from_slice(&(body.len() as i32 + 4).to_be_bytes());
        out.extend_from_slice(&checksum.sum().to_be_bytes());
        out.extend_from_slice(&body);
        out
    }

    type Read = Vec<(i64, i64, Option<Vec<u8>>, Option<Vec<u8>>)>;

    fn read(entries: &[Vec<u8>], from: i64) -> Result<(usize, Read), WireError> {
        let mut out = Vec::new();
        let mut batches = LegacyBatches::new(from, BOUND, &mut out);
        for entry in entries {
            batches.push(entry)?;
        }
        batches.finish()?;
        let mut seen = Vec::new();
        let mut count = 0;
        for one in Batches::new(&out) {
            let Batch::Whole(view) = one.unwrap() else {
                panic!()
            };
            view.check_checksum().unwrap();
            assert!(view.is_dense());
            count += 1;
            for record in Records::read(view, BOUND).unwrap().iter() {
                let record = record.unwrap();
                let owned = |field: Option<&[u8]>| field.map(<[u8]>::to_vec);
                seen.push((
                    record.offset,
                    record.timestamp,
                    owned(record.key),
                    owned(record.value),
                ));
            }
        }
        Ok((count, seen))
    }

    #[test]
    fn plain_messages_are_gathered_up_to_a_gap() {
        let entries = [
            entry(10, 1, 0, 500, b"k", b"v"),
            entry(11, 1, 8, 400, b"", b"w"),
            entry(20, 0, 0, 0, b"k", b""),
        ];
        let (count, seen) = read(&entries, 0).unwrap();
        assert_eq!(count, 2);
        let some = |bytes: &[u8]| Some(bytes.to_vec());
        let expected = vec![
            (10, 500, some(b"k"), some(b"v")),
            (11, 400, None, some(b"w")),
            (20, NO_TIMESTAMP, some(b"k"), None),
        ];
        assert_eq!(seen, expected);
        assert_eq!(read(&entries, 11).unwrap().1, expected[1..]);
    }

    #[test]
    fn compressed_messages_hold_relative_or_absolute_offsets() {
        for codec in [Codec::Gzip, Codec::Snappy, Codec::Lz4] {
            let bits = codec.bits() as i8;
            let inner = |first| {
                let set: Vec<u8> = (0..3)
                    .flat_map(|at| entry(first + 2 * at, 1, 0, 70 + at, b"k", b"v"))
                    .collect();
                codec.compress(set).unwrap()
            };
            let offsets = |seen: &Read| seen.iter().map(|one| (one.0, one.1)).collect::<Vec<_>>();
            let (count, seen) = read(&[entry(104, 1, bits, 9, b"", &inner(0))], 0).unwrap();
            assert_eq!(
                offsets(&seen),
                [(100, 70), (102, 71), (104, 72)],
                "{codec:?}"
            );
            assert_eq!(count, 3);
            let (_, seen) = read(&[entry(104, 1, bits | 8, 9, b"", &inner(0))], 0).unwrap();
            assert_eq!(offsets(&seen), [(100, 9), (102, 9), (104, 9)]);

            let set: Vec<u8> = (0..3)
                .flat_map(|at| entry(7 + at, 0, 0, 0, b"k", b"v"))
                .collect();
            let mut value = codec.compress(set).unwrap();
            if codec == Codec::Lz4 {
                value[6] ^= 0xff;
            }
            let (count, seen) = read(&[entry(9, 0, bits, 0, b"", &value)], 8).unwrap();
            assert_eq!((count, offsets(&seen)), (1, vec![(8, -1), (9, -1)]));
        }
    }

    #[test]
    fn large_sets_become_several_batches() {
        let value = vec![7; LEGACY_BATCH_BYTES_MAX / 2];
        let entries: Vec<_> = (0..5).map(|at| entry(at, 1, 0, at, b"", &value)).collect();
        let (count, seen) = read(&entries, 0).unwrap();
        assert_eq!((count, seen.len()), (3, 5));
    }

    #[test]
    fn damage_and_lies_are_errors() {
        let good = entry(10, 1, 0, 500, b"k", b"v");
        for at in 12..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            assert!(read(&[bad], 0).is_err(), "byte {at}");
        }
        for cut in 0..good.len() {
            assert!(read(&[good[..cut].to_vec()], 0).is_err());
        }
        assert_eq!(read(&[good.clone(), good], 0), Err(WireError::Record));
        let nested = Codec::Gzip.compress(entry(0, 1, 1, 0, b"", b"x")).unwrap();
        assert_eq!(
            read(&[entry(0, 1, 1, 0, b"", &nested)], 0),
            Err(WireError::Record)
        );
        let nothing = Codec::Gzip.compress(Vec::new()).unwrap();
        assert_eq!(
            read(&[entry(0, 1, 1, 0, b"", &nothing)], 0),
            Err(WireError::Record)
        );
    }
}
