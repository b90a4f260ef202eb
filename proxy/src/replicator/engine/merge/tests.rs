//! What is merged, what is not, and what becomes of a merged batch that is refused.

use bytes::{Bytes, BytesMut};
use lockgate_wire::producer_id::ProducerId;
use lockgate_wire::records::Producer;

use super::MERGED_BYTES_MAX;
use crate::replicator::engine::model::{stored, transactional, view};
use crate::replicator::engine::tests::{MARKERS, copying, drain, feed, inspected};
use crate::replicator::engine::{Engine, Outcome};

/// What goes out, in order, as base and records of each batch.
fn batches(engine: &mut Engine) -> Vec<(i64, i64)> {
    let written = drain(engine).into_iter();
    written.map(|(base, records, _)| (base, records)).collect()
}

#[test]
fn small_batches_of_the_links_own_id_go_out_as_one() {
    let client = Producer {
        id: ProducerId::client(5),
        epoch: 0,
        base_sequence: 0,
    };
    let log = [
        stored(0, 2, None, 1),
        stored(2, 1, None, 2),
        transactional(3, 3, ProducerId::new(7), 3),
        stored(6, 1, Some(client), 4),
        stored(7, 1, None, 5),
        stored(9, 1, None, 6),
        stored(10, 1, None, 7),
    ];
    let mut engine = copying(0);
    engine.activated(ProducerId::own(1));
    feed(&mut engine, &Bytes::from(log.concat()));
    let first = engine.take_write(0, MARKERS).unwrap();
    assert_eq!((first.records, view(&first.bytes).base_sequence()), (6, 0));
    engine.answered(Outcome::Written(0), 0);
    let expected = [(6, 1), (7, 1), (8, 1), (9, 2)];
    assert_eq!(batches(&mut engine), expected);
    assert_eq!(engine.pending_bytes(), 0);
}

#[test]
fn a_merged_batch_has_a_bound() {
    let mut engine = copying(0);
    engine.activated(ProducerId::own(1));
    let log: Vec<Bytes> = (0..40_000).map(|base| stored(base, 1, None, 1)).collect();
    feed(&mut engine, &Bytes::from(log.concat()));
    let mut written = 0;
    while let Some(write) = engine.take_write(0, MARKERS) {
        assert!(write.bytes.len() <= MERGED_BYTES_MAX);
        assert_eq!(write.base, written);
        written += write.records;
        engine.answered(Outcome::Written(write.base), 0);
    }
    assert_eq!(written, 40_000);
}

#[test]
fn what_a_broker_does_not_take_merged_is_copied_one_by_one() {
    let log = Bytes::from([stored(0, 2, None, 1), stored(2, 1, None, 2)].concat());
    let mut engine = copying(0);
    engine.activated(ProducerId::own(1));
    feed(&mut engine, &log);
    engine.take_write(0, MARKERS).unwrap();
    engine.answered(Outcome::Fatal("MESSAGE_TOO_LARGE".to_owned()), 0);
    assert_eq!(engine.wants_inspection(), Some(None));
    engine.inspected(inspected(0), 0);
    feed(&mut engine, &log);
    engine.activated(ProducerId::own(2));
    assert_eq!(batches(&mut engine), [(0, 2), (2, 1)]);
}

#[test]
fn a_damaged_batch_is_not_merged() {
    let mut damaged = BytesMut::from(&stored(2, 1, None, 2)[..]);
    *damaged.last_mut().unwrap() ^= 1;
    let log = [stored(0, 2, None, 1), damaged.freeze()];
    let mut engine = copying(0);
    engine.activated(ProducerId::own(1));
    feed(&mut engine, &Bytes::from(log.concat()));
    assert_eq!(engine.take_write(0, MARKERS).unwrap().records, 2);
    engine.answered(Outcome::Written(0), 0);
    let write = engine.take_write(0, MARKERS).unwrap();
    assert!(view(&write.bytes).check_checksum().is_err());
}
