//! Headers by their positions, checksums combined against checksums computed, record sets that end
//! anywhere.

use bytes::Bytes;
use kafka_protocol::records::RecordBatchDecoder;
use rand::rngs::StdRng;
use rand::{Rng, RngCore, SeedableRng};

use super::*;
use crate::records::{self, BatchSpec, NewRecord, Producer};

/// A batch of `count` records with every header field at a value of its own.
fn sample(count: usize, payload: &[u8]) -> Vec<u8> {
    let record = NewRecord {
        timestamp: 1000,
        value: Some(payload),
        ..NewRecord::default()
    };
    let later = NewRecord {
        timestamp: 1007,
        ..record
    };
    let mut all = vec![record; count];
    all[count - 1] = later;
    let producer = Some(Producer {
        id: ProducerId::new(0x0102_0304),
        epoch: 5,
        base_sequence: 60,
    });
    let spec = BatchSpec {
        producer,
        transactional: true,
        ..BatchSpec::default()
    };
    let mut bytes = records::batch(&all, spec).unwrap().to_vec();
    let mut batch = BatchMut::new(&mut bytes).unwrap();
    batch.set_base_offset(4000);
    batch.set_partition_leader_epoch(9);
    bytes
}

#[test]
fn header_fields_stand_where_kafka_puts_them() {
    let bytes = sample(3, b"value");
    let batch = BatchView::new(&bytes).unwrap();
    assert_eq!(
        (
            batch.base_offset(),
            batch.last_offset(),
            batch.next_offset()
        ),
        (4000, 4002, 4003)
    );
    assert_eq!(batch.offsets(), 4000..=4002);
    assert_eq!(batch.partition_leader_epoch(), 9);
    assert_eq!(
        (batch.base_timestamp(), batch.max_timestamp()),
        (1000, 1007)
    );
    assert_eq!(batch.producer_id(), ProducerId::new(0x0102_0304));
    assert_eq!((batch.producer_epoch(), batch.base_sequence()), (5, 60));
    assert_eq!(
        (batch.last_sequence(), batch.record_count(), batch.codec()),
        (62, 3, 0)
    );
    assert!(batch.is_transactional() && batch.is_dense());
    assert!(!batch.is_control() && !batch.has_delete_horizon() && !batch.is_log_append_time());
    batch.check_checksum().unwrap();

    let theirs = RecordBatchDecoder::decode(&mut Bytes::from(bytes)).unwrap();
    assert_eq!(theirs.records.len(), 3);
    assert_eq!(
        (theirs.records[2].offset, theirs.records[2].timestamp),
        (4002, 1007)
    );
    assert_eq!(
        (theirs.records[2].producer_id, theirs.records[2].sequence),
        (0x0102_0304, 62)
    );
    assert!(theirs.records[0].transactional);
}

#[test]
fn sequences_wrap_where_kafka_wraps_them() {
    assert_eq!(last_sequence(i32::MAX, 0), i32::MAX);
    assert_eq!(last_sequence(i32::MAX, 1), 0);
    assert_eq!(last_sequence(i32::MAX - 1, 3), 1);
    assert_eq!(next_sequence(i32::MAX, 1), 0);
    assert_eq!(last_sequence(-1, 10), -1);
}

#[test]
fn combined_checksums_are_the_computed_ones() {
    let mut random = StdRng::seed_from_u64(6);
    for _ in 0..300 {
        let mut payload = vec![0; random.random_range(0..3000)];
        random.fill_bytes(&mut payload);
        let mut bytes = sample(random.random_range(1..4), &payload);
        let id = ProducerId::own(random.random());
        let (epoch, sequence) = (random.random(), random.random());
        let mut batch = BatchMut::new(&mut bytes).unwrap();
        batch.restamp(id, epoch, sequence);
        batch.view().check_checksum().unwrap();
        batch.set_attributes(random.random(), random.random());
        let view = batch.view();
        view.check_checksum().unwrap();
        assert_eq!((view.producer_id(), view.producer_epoch()), (id, epoch));
        assert_eq!(view.base_sequence(), sequence);
    }
}

#[test]
fn passthrough_changes_what_the_replicator_must_change() {
    let mut bytes = sample(2, b"payload");
    let set = attributes::DELETE_HORIZON | attributes::TRANSACTIONAL;
    BatchMut::new(&mut bytes).unwrap().set_attributes(set, 0);
    let source = BatchView::new(&bytes).unwrap();

    let kept = passthrough(source, Stamp::Keep);
    let copy = BatchView::new(&kept).unwrap();
    copy.check_checksum().unwrap();
    assert_eq!(copy.base_offset(), 0);
    assert_eq!(copy.attributes(), 0);
    assert_eq!(copy.producer_id(), source.producer_id());
    assert_eq!(copy.base_sequence(), source.base_sequence());
    assert_eq!(copy.payload(), source.payload());

    let producer_id = ProducerId::own(1);
    let stamp = Stamp::Restamp {
        producer_id,
        producer_epoch: 0,
        base_sequence: 7,
    };
    let stamped = passthrough(source, stamp);
    let copy = BatchView::new(&stamped).unwrap();
    copy.check_checksum().unwrap();
    assert_eq!((copy.attributes(), copy.producer_id()), (0, producer_id));
    assert_eq!((copy.producer_epoch(), copy.base_sequence()), (0, 7));
    assert_eq!(copy.max_timestamp(), source.max_timestamp());
}

#[test]
fn damage_stays_visible_after_a_rewrite() {
    let mut bytes = sample(2, b"payload");
    *bytes.last_mut().unwrap() ^= 1;
    let source = BatchView::new(&bytes).unwrap();
    assert!(matches!(
        source.check_checksum(),
        Err(WireError::Checksum { .. })
    ));
    let copy = passthrough(source, Stamp::Keep);
    assert!(BatchView::new(&copy).unwrap().check_checksum().is_err());
}

#[test]
fn a_record_set_may_end_anywhere() {
    let (first, second) = (sample(1, b"a"), sample(2, b"b"));
    let set = [first.clone(), second.clone()].concat();
    for cut in 0..=set.len() {
        let batches: Vec<_> = Batches::new(&set[..cut]).map(Result::unwrap).collect();
        let whole = usize::from(cut >= first.len()) + usize::from(cut == set.len());
        let partial = cut != 0 && cut != first.len() && cut != set.len();
        assert_eq!(batches.len(), whole + usize::from(partial), "{cut}");
        assert!(
            batches[..whole]
                .iter()
                .all(|batch| matches!(batch, Batch::Whole(_)))
        );
        assert_eq!(matches!(batches.last(), Some(Batch::Partial(_))), partial);
    }
}

#[test]
fn old_formats_are_reported_and_impossible_batches_refused() {
    let mut legacy = vec![0; 12 + 20];
    (legacy[7], legacy[11], legacy[16]) = (3, 20, 1);
    let mut batches = Batches::new(&legacy);
    let expected = Batch::Legacy {
        magic: 1,
        offset: 3,
        bytes: &legacy,
    };
    assert_eq!(batches.next(), Some(Ok(expected)));
    assert_eq!(batches.next(), None);

    let mut bytes = sample(1, b"a");
    bytes[at::MAGIC] = 3;
    assert_eq!(Batches::new(&bytes).next(), Some(Err(WireError::Magic(3))));
    assert_eq!(BatchView::new(&bytes), Err(WireError::Magic(3)));
    for length in [48, 0, -1, i32::MIN] {
        let mut bytes = sample(1, b"a");
        bytes[at::LENGTH..at::LENGTH + 4].copy_from_slice(&length.to_be_bytes());
        let mut batches = Batches::new(&bytes);
        assert_eq!(batches.next(), Some(Err(WireError::BatchLength(length))));
        assert_eq!(batches.next(), None);
        assert!(BatchView::new(&bytes).is_err());
    }
    let bytes = sample(1, b"a");
    assert!(BatchView::new(&bytes[..bytes.len() - 1]).is_err());
    assert!(BatchView::new(&[bytes.clone(), vec![0]].concat()).is_err());
    assert!(BatchView::new(&[]).is_err());
}

#[test]
fn hostile_sets_end() {
    let mut random = StdRng::seed_from_u64(7);
    let set = [sample(1, b"a"), sample(3, b"bc"), sample(2, b"")].concat();
    for _ in 0..20_000 {
        let mut bytes = set.clone();
        for _ in 0..random.random_range(1..4) {
            let at = random.random_range(0..bytes.len());
            bytes[at] = random.random();
        }
        bytes.truncate(random.random_range(0..=bytes.len()));
        for batch in Batches::new(&bytes) {
            if let Ok(Batch::Whole(batch)) = batch {
                let _ = (batch.is_dense(), batch.last_sequence(), batch.next_offset());
                let _ = batch.check_checksum();
            }
        }
    }
}
