//! Fetch answers built by hand: committed, aborted, partial, foreign.

use lockgate_wire::batch::attributes;
use lockgate_wire::producer_id::ProducerId;
use lockgate_wire::records::{BatchSpec, NewRecord, Producer, batch};

use super::super::entry::encode;
use super::super::keys::Kind;
use super::*;

fn value(version: u64) -> Versioned {
    Versioned {
        version,
        value: Some(serde_json::json!(version)),
    }
}

fn at_offset(bytes: &[u8], offset: i64) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[..8].copy_from_slice(&offset.to_be_bytes());
    bytes
}

fn data(offset: i64, producer: i64, names: &[&str], transactional: bool) -> Vec<u8> {
    let encoded: Vec<_> = names
        .iter()
        .map(|name| encode(&Key::new(Kind::Route, *name), &value(1)).unwrap())
        .collect();
    let records: Vec<_> = encoded
        .iter()
        .map(|(key, value)| NewRecord {
            timestamp: 1,
            key: Some(key),
            value: Some(value),
            headers: &[],
        })
        .collect();
    let spec = BatchSpec {
        producer: Some(Producer {
            id: ProducerId::new(producer),
            epoch: 0,
            base_sequence: 0,
        }),
        transactional,
        ..BatchSpec::default()
    };
    at_offset(&batch(&records, spec).unwrap(), offset)
}

fn marker(offset: i64, producer: i64, kind: i16) -> Vec<u8> {
    let key = [0_i16.to_be_bytes(), kind.to_be_bytes()].concat();
    let record = NewRecord {
        timestamp: 1,
        key: Some(&key),
        value: Some(&[0; 6]),
        headers: &[],
    };
    let spec = BatchSpec {
        producer: Some(Producer {
            id: ProducerId::new(producer),
            epoch: 0,
            base_sequence: -1,
        }),
        transactional: true,
        ..BatchSpec::default()
    };
    let mut bytes = at_offset(&batch(&[record], spec).unwrap(), offset);
    bytes[22] |= u8::try_from(attributes::CONTROL).unwrap();
    bytes
}

fn names(read: &Committed) -> Vec<&str> {
    read.entries
        .iter()
        .map(|(key, _)| key.name.as_str())
        .collect()
}

#[test]
fn aborted_records_are_dropped_and_later_ones_of_the_same_producer_are_not() {
    let log = [
        data(10, 7, &["a", "b"], true),
        marker(12, 7, 0),
        data(13, 7, &["c"], true),
        marker(14, 7, 1),
    ]
    .concat();
    let aborted = vec![Aborted {
        producer_id: 7,
        first_offset: 10,
    }];
    let read = committed(&log, aborted, 10).unwrap();
    assert_eq!(names(&read), ["c"]);
    assert_eq!(read.next, Some(15));
    assert_eq!(
        names(&committed(&log, Vec::new(), 10).unwrap()),
        ["a", "b", "c"]
    );
}

#[test]
fn records_below_the_position_and_partial_batches_are_left_out() {
    let mut log = data(10, 7, &["a", "b"], true);
    let next = data(12, 7, &["c"], true);
    log.extend_from_slice(&next[..next.len() - 1]);
    let read = committed(&log, Vec::new(), 11).unwrap();
    assert_eq!(names(&read), ["b"]);
    assert_eq!(read.next, Some(12));
}

#[test]
fn what_lockgate_did_not_write_is_an_error() {
    let foreign = data(0, 7, &["a"], false);
    assert!(
        committed(&foreign, Vec::new(), 0)
            .unwrap_err()
            .contains("transaction")
    );
    let mut damaged = data(0, 7, &["a"], true);
    let last = damaged.len() - 3;
    damaged[last] ^= 1;
    assert!(committed(&damaged, Vec::new(), 0).is_err());
}
