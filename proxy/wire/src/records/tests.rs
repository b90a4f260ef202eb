//! Records out and in again, and against the crate; hostile payloads; the filler.

use bytes::Bytes;
use kafka_protocol::records::RecordBatchDecoder;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::*;
use crate::batch::BatchMut;
use crate::producer_id::ProducerId;

const HEADERS: [RecordHeader<'static>; 3] = [
    RecordHeader {
        key: "a",
        value: Some(b"1"),
    },
    RecordHeader {
        key: "a",
        value: Some(b"2"),
    },
    RecordHeader {
        key: "b",
        value: None,
    },
];

fn samples() -> Vec<NewRecord<'static>> {
    vec![
        NewRecord {
            timestamp: 5000,
            key: Some(b"k"),
            value: Some(b"v"),
            headers: &HEADERS,
        },
        NewRecord {
            timestamp: 4000,
            key: None,
            value: Some(b""),
            headers: &[],
        },
        NewRecord {
            timestamp: 9000,
            key: Some(&[7; 300]),
            value: None,
            headers: &HEADERS[2..],
        },
    ]
}

#[test]
fn what_was_built_is_read_back() {
    for codec in [
        Codec::None,
        Codec::Gzip,
        Codec::Snappy,
        Codec::Lz4,
        Codec::Zstd,
    ] {
        let built = batch(
            &samples(),
            BatchSpec {
                codec,
                ..BatchSpec::default()
            },
        )
        .unwrap();
        let view = BatchView::new(&built).unwrap();
        view.check_checksum().unwrap();
        assert_eq!(
            (view.producer_id(), view.base_sequence()),
            (ProducerId::NONE, -1)
        );
        assert_eq!((view.base_timestamp(), view.max_timestamp()), (5000, 9000));
        let records = Records::read(view, DECOMPRESSED_BYTES_MAX).unwrap();
        assert_eq!((records.len(), records.is_empty()), (3, false));
        for (offset, (read, written)) in (0..).zip(records.iter().zip(samples())) {
            let read = read.unwrap();
            assert_eq!((read.offset, read.timestamp), (offset, written.timestamp));
            assert_eq!((read.key, read.value), (written.key, written.value));
            assert_eq!(read.headers, written.headers);
        }
    }
    assert_eq!(batch(&[], BatchSpec::default()), Err(WireError::Record));
}

#[test]
fn the_crate_reads_the_same() {
    let mut built = batch(&samples(), BatchSpec::default()).unwrap();
    let theirs = RecordBatchDecoder::decode(&mut built).unwrap().records;
    assert_eq!(theirs.len(), 3);
    assert_eq!(theirs[0].key.as_deref(), Some(&b"k"[..]));
    assert_eq!((theirs[1].timestamp, theirs[1].offset), (4000, 1));
    assert_eq!(
        (theirs[2].key.as_deref(), &theirs[2].value),
        (Some(&[7; 300][..]), &None)
    );
}

#[test]
fn the_brokers_time_replaces_the_records() {
    let mut built = batch(&samples(), BatchSpec::default()).unwrap().to_vec();
    let bit = crate::batch::attributes::LOG_APPEND_TIME;
    BatchMut::new(&mut built).unwrap().set_attributes(bit, 0);
    let records = Records::read(BatchView::new(&built).unwrap(), 1000).unwrap();
    assert!(
        records
            .iter()
            .all(|record| record.unwrap().timestamp == 9000)
    );
}

#[test]
fn decompression_is_bounded() {
    let zeroes = vec![0; 1 << 20];
    let record = NewRecord {
        value: Some(&zeroes),
        ..NewRecord::default()
    };
    let spec = BatchSpec {
        codec: Codec::Zstd,
        ..BatchSpec::default()
    };
    let built = batch(&[record], spec).unwrap();
    assert!(built.len() < 1000);
    let view = BatchView::new(&built).unwrap();
    assert_eq!(
        Records::read(view, 1000).err(),
        Some(WireError::DecompressedTooLarge(1000))
    );
    assert_eq!(Records::read(view, 2 << 20).unwrap().iter().count(), 1);
}

#[test]
fn other_codecs_and_lying_counts_are_refused() {
    let built = batch(&samples(), BatchSpec::default()).unwrap().to_vec();
    let read = |bytes: &[u8]| Records::read(BatchView::new(bytes).unwrap(), 1000).map(drop);
    let mut unknown = built.clone();
    BatchMut::new(&mut unknown).unwrap().set_attributes(5, 0);
    assert_eq!(read(&unknown), Err(WireError::Codec(5)));
    let mut zstd = built.clone();
    BatchMut::new(&mut zstd).unwrap().set_attributes(4, 0);
    assert_eq!(read(&zstd), Err(WireError::Compression));
    for count in [-1, 100, i32::MAX] {
        let mut lying = built.clone();
        lying[57..61].copy_from_slice(&i32::to_be_bytes(count));
        assert!(read(&lying).is_err());
    }
    let mut fewer = built;
    fewer[57..61].copy_from_slice(&2i32.to_be_bytes());
    let records = Records::read(BatchView::new(&fewer).unwrap(), 1000).unwrap();
    assert!(matches!(
        records.iter().last(),
        Some(Err(WireError::TrailingBytes(_)))
    ));
}

#[test]
fn hostile_payloads_end_in_records_or_an_error() {
    let mut random = StdRng::seed_from_u64(8);
    for codec in [
        Codec::None,
        Codec::Gzip,
        Codec::Snappy,
        Codec::Lz4,
        Codec::Zstd,
    ] {
        let built = batch(
            &samples(),
            BatchSpec {
                codec,
                ..BatchSpec::default()
            },
        )
        .unwrap();
        for _ in 0..10_000 {
            let mut bytes = built.to_vec();
            for _ in 0..random.random_range(1..4) {
                let at = random.random_range(57..bytes.len());
                bytes[at] = random.random();
            }
            let Ok(records) = Records::read(BatchView::new(&bytes).unwrap(), 1 << 16) else {
                continue;
            };
            assert!(records.iter().count() <= records.len());
        }
    }
}

#[test]
fn filler_takes_offsets_and_little_else() {
    let producer = Producer {
        id: ProducerId::own(3),
        epoch: 0,
        base_sequence: 100_000,
    };
    for count in [1, 63, 64, 65, 8192, 8193, FILLER_RECORDS_MAX] {
        let built = filler(count, 42, Some(producer)).unwrap();
        let view = BatchView::new(&built).unwrap();
        view.check_checksum().unwrap();
        assert!(view.is_dense());
        assert_eq!((view.record_count() as u32, view.codec()), (count, 4));
        assert_eq!(
            (view.base_sequence(), view.producer_id()),
            (100_000, producer.id)
        );
        assert!(built.len() < 600_000, "{}", built.len());
        let records = Records::read(view, DECOMPRESSED_BYTES_MAX).unwrap();
        assert!((0..).zip(&records).all(|(offset, record)| {
            let expected = Record {
                offset,
                timestamp: 42,
                key: None,
                value: None,
                headers: Vec::new(),
            };
            record == Ok(expected)
        }));
        assert_eq!(records.iter().count(), count as usize);
    }
    assert!(filler(0, 0, None).is_err());
    assert!(filler(FILLER_RECORDS_MAX + 1, 0, None).is_err());
    let none: Bytes = filler(5, 0, None).unwrap();
    assert_eq!(BatchView::new(&none).unwrap().base_sequence(), -1);
}
