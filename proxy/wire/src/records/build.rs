//! Building batches: from records, and the filler that moves a partition's start (DESIGN 5).

use bytes::{BufMut, Bytes};

use super::{Codec, RecordHeader};
use crate::batch::{Fields, attributes};
use crate::producer_id::ProducerId;
use crate::{WireError, put};

/// Records in one filler batch at most: about 800 kB before compression, under the 1 MiB that
/// brokers take by default.
pub const FILLER_RECORDS_MAX: u32 = 100_000;

/// One record to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct NewRecord<'a> {
    /// Milliseconds.
    pub timestamp: i64,
    /// The key.
    pub key: Option<&'a [u8]>,
    /// The value.
    pub value: Option<&'a [u8]>,
    /// Written in this order, duplicates kept.
    pub headers: &'a [RecordHeader<'a>],
}

/// Who writes a batch, for brokers to recognise a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Producer {
    /// The producer's id.
    pub id: ProducerId,
    /// Its epoch.
    pub epoch: i16,
    /// The sequence number of the first record.
    pub base_sequence: i32,
}

/// What all records of a batch share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BatchSpec {
    /// Without one the batch is not idempotent.
    pub producer: Option<Producer>,
    /// Whether it belongs to a transaction.
    pub transactional: bool,
    /// How the records are compressed.
    pub codec: Codec,
}

/// One batch with base offset 0 that holds `records` at offsets 0, 1, 2 and so on. No records make
/// no batch: that is an error.
pub fn batch(records: &[NewRecord<'_>], spec: BatchSpec) -> Result<Bytes, WireError> {
    let first = records.first().ok_or(WireError::Record)?;
    let mut payload = Vec::new();
    for (delta, record) in (0i32..).zip(records) {
        let timestamp_delta = record.timestamp.wrapping_sub(first.timestamp);
        put_record(&mut payload, delta, timestamp_delta, record)?;
    }
    let max_timestamp = records
        .iter()
        .map(|record| record.timestamp)
        .max()
        .unwrap_or(-1);
    sealed(
        spec,
        records.len(),
        (first.timestamp, max_timestamp),
        payload,
    )
}

/// One zstd batch of `count` records (1 to [`FILLER_RECORDS_MAX`]) with neither key nor value, all
/// of one old `timestamp`. A few milliseconds for the largest; the next batch of the same count
/// differs only in its header, so copy it with [`crate::batch::passthrough`] and a new stamp.
pub fn filler(count: u32, timestamp: i64, producer: Option<Producer>) -> Result<Bytes, WireError> {
    if !(1..=FILLER_RECORDS_MAX).contains(&count) {
        return Err(WireError::TooLongToEncode(count as usize));
    }
    let mut payload = Vec::with_capacity(count as usize * 9);
    for delta in 0..count.cast_signed() {
        // Length, attributes, timestamp delta, offset delta, null key, null value, no headers.
        payload.put_u8((put::varint_bytes(delta) as u8 + 5) << 1);
        payload.put_slice(&[0, 0]);
        put::varint(&mut payload, delta);
        payload.put_slice(&[1, 1, 0]);
    }
    let spec = BatchSpec {
        producer,
        transactional: false,
        codec: Codec::Zstd,
    };
    sealed(spec, count as usize, (timestamp, timestamp), payload)
}

fn sealed(
    spec: BatchSpec,
    count: usize,
    (base_timestamp, max_timestamp): (i64, i64),
    payload: Vec<u8>,
) -> Result<Bytes, WireError> {
    let payload = spec.codec.compress(payload)?;
    let producer = spec.producer.unwrap_or(Producer {
        id: ProducerId::NONE,
        epoch: -1,
        base_sequence: -1,
    });
    let record_count = i32::try_from(count).map_err(|_| WireError::TooLongToEncode(count))?;
    let fields = Fields {
        attributes: spec.codec.bits()
            | if spec.transactional {
                attributes::TRANSACTIONAL
            } else {
                0
            },
        record_count,
        last_offset_delta: record_count - 1,
        base_timestamp,
        max_timestamp,
        producer_id: producer.id,
        producer_epoch: producer.epoch,
        base_sequence: producer.base_sequence,
    };
    fields.batch(&payload).map(|batch| batch.freeze())
}

/// A record: its length, then its fields.
fn put_record(
    out: &mut Vec<u8>,
    offset_delta: i32,
    timestamp_delta: i64,
    record: &NewRecord<'_>,
) -> Result<(), WireError> {
    let headers = record.headers;
    let count =
        i32::try_from(headers.len()).map_err(|_| WireError::TooLongToEncode(headers.len()))?;
    let headers_bytes: usize = headers
        .iter()
        .map(|header| field_bytes(Some(header.key.as_bytes())) + field_bytes(header.value))
        .sum();
    let length = 1
        + put::varlong_bytes(timestamp_delta)
        + put::varint_bytes(offset_delta)
        + field_bytes(record.key)
        + field_bytes(record.value)
        + put::varint_bytes(count)
        + headers_bytes;
    // Every length inside is smaller than this one, so none of them overflows its field.
    put::varint(
        out,
        i32::try_from(length).map_err(|_| WireError::TooLongToEncode(length))?,
    );
    out.put_u8(0);
    put::varlong(out, timestamp_delta);
    put::varint(out, offset_delta);
    put_field(out, record.key);
    put_field(out, record.value);
    put::varint(out, count);
    for header in headers {
        put_field(out, Some(header.key.as_bytes()));
        put_field(out, header.value);
    }
    Ok(())
}

fn field_bytes(field: Option<&[u8]>) -> usize {
    field.map_or(1, |bytes| {
        put::varint_bytes(bytes.len() as i32) + bytes.len()
    })
}

fn put_field(out: &mut Vec<u8>, field: Option<&[u8]>) {
    put::varint(out, field.map_or(-1, |bytes| bytes.len() as i32));
    out.put_slice(field.unwrap_or_default());
}
