//! Requests and responses against the crate in every version, and damaged ones.

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::{
    ProduceRequest, ProduceResponse, produce_request, produce_response,
};
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::*;
use crate::records::{self, BatchSpec, NewRecord, Producer};

fn one_batch(id: i64) -> Bytes {
    let record = NewRecord {
        value: Some(b"value"),
        ..NewRecord::default()
    };
    let producer = Producer {
        id: ProducerId::new(id),
        epoch: 2,
        base_sequence: 30,
    };
    let spec = BatchSpec {
        producer: Some(producer),
        ..BatchSpec::default()
    };
    records::batch(&[record, record], spec).unwrap()
}

fn parts() -> Vec<Part<'static>> {
    let part = |topic, partition, records| Part {
        topic,
        partition,
        records,
    };
    vec![
        part("orders", 0, one_batch(7)),
        part("orders", 5, one_batch(8)),
        part("payments", 1, Bytes::from_static(b"not a batch")),
    ]
}

fn build(version: i16, id: Option<&str>, parts: &[Part<'_>]) -> (BytesMut, Vec<Bytes>) {
    let mut chunks = Vec::new();
    let size = build_request(version, id, -1, 500, parts, BytesMut::new(), &mut chunks).unwrap();
    let body: BytesMut = chunks.iter().flatten().copied().collect();
    assert_eq!(body.len(), size);
    (body, chunks)
}

#[test]
fn what_is_built_the_crate_reads_and_the_walk_finds() {
    let mut request = Request::default();
    for version in VERSIONS {
        for id in [None, Some("tx")] {
            let parts = parts();
            let (body, chunks) = build(version, id, &parts);
            // Records are the caller's own bytes, not a copy.
            let shared =
                |part: &Part<'_>| chunks.iter().any(|c| c.as_ptr() == part.records.as_ptr());
            assert!(parts.iter().all(shared));

            let theirs = ProduceRequest::decode(&mut body.clone().freeze(), version).unwrap();
            assert_eq!(theirs.topic_data.len(), 2);
            assert_eq!(
                theirs.topic_data[0].partition_data[1].records,
                Some(parts[1].records.clone())
            );

            request.walk(version, &body).unwrap();
            assert_eq!(request.transactional_id(&body), id);
            assert_eq!((request.acks, request.timeout_ms), (-1, 500));
            assert_eq!(request.partitions.len(), 3);
            for (found, part) in request.partitions.iter().zip(&parts) {
                assert_eq!(
                    (found.topic(&body), found.index),
                    (part.topic, part.partition)
                );
                assert_eq!(found.records(&body), part.records);
            }
            let first = request.partitions[1].batch.unwrap();
            assert_eq!(
                (first.producer_id, first.producer_epoch),
                (ProducerId::new(8), 2)
            );
            assert_eq!((first.base_sequence, first.last_offset_delta), (30, 1));
            assert!(!first.transactional);
            assert_eq!(request.partitions[2].batch, None);
        }
    }
}

#[test]
fn what_the_crate_writes_is_walked_and_acks_are_patched() {
    let mut request = Request::default();
    for version in VERSIONS {
        let partition = |records| {
            produce_request::PartitionProduceData::default()
                .with_index(3)
                .with_records(records)
        };
        let topic = produce_request::TopicProduceData::default()
            .with_name(StrBytes::from_static_str("orders").into())
            .with_partition_data(vec![partition(None), partition(Some(Bytes::new()))]);
        let mut theirs = ProduceRequest::default()
            .with_acks(0)
            .with_topic_data(vec![topic]);
        if version >= FLEXIBLE_SINCE {
            theirs.unknown_tagged_fields.insert(9, "tagged".into());
            theirs.topic_data[0].partition_data[0]
                .unknown_tagged_fields
                .insert(9, "x".into());
        }
        let mut body = BytesMut::new();
        theirs.encode(&mut body, version).unwrap();
        request.walk(version, &body).unwrap();
        assert_eq!((request.acks, request.partitions.len()), (0, 2));
        assert_eq!(request.partitions[0].records, None);
        assert_eq!(request.partitions[1].records(&body), b"");
        request.set_acks(&mut body, 1);
        let again = ProduceRequest::decode(&mut body.freeze(), version).unwrap();
        assert_eq!(again, theirs.with_acks(1));
    }
    assert!(matches!(
        request.walk(10, &[]),
        Err(WireError::UnsupportedVersion { .. })
    ));
    assert!(matches!(
        request.walk(2, &[]),
        Err(WireError::UnsupportedVersion { .. })
    ));
}

#[test]
fn a_request_of_nothing_and_one_behind_a_head() {
    let (body, _) = build(9, None, &[]);
    let mut request = Request::default();
    request.walk(9, &body).unwrap();
    assert_eq!(request.partitions, []);
    let mut chunks = Vec::new();
    let head = BytesMut::from(&b"head"[..]);
    let size = build_request(3, None, 1, 9, &parts()[..1], head, &mut chunks).unwrap();
    assert!(chunks[0].starts_with(b"head"));
    assert_eq!(size, chunks.iter().map(Bytes::len).sum::<usize>());
}

fn response(version: i16) -> ProduceResponse {
    let message = Some(StrBytes::from_static_str("no"));
    let partition = |index| {
        let mut partition = produce_response::PartitionProduceResponse::default()
            .with_index(index)
            .with_error_code(index as i16)
            .with_base_offset(70)
            .with_log_append_time_ms(-1);
        if version >= LOG_START_SINCE {
            partition = partition.with_log_start_offset(5);
        }
        partition
    };
    let mut failed = partition(1);
    if version >= ERRORS_SINCE {
        let error = produce_response::BatchIndexAndErrorMessage::default()
            .with_batch_index(1)
            .with_batch_index_error_message(message.clone());
        failed = failed
            .with_record_errors(vec![error])
            .with_error_message(message);
    }
    let topic = produce_response::TopicProduceResponse::default()
        .with_name(StrBytes::from_static_str("orders").into())
        .with_partition_responses(vec![partition(0), failed]);
    ProduceResponse::default()
        .with_responses(vec![topic])
        .with_throttle_time_ms(11)
}

const LOG_START_SINCE: i16 = 5;
const ERRORS_SINCE: i16 = 8;

#[test]
fn responses_are_read_and_written_as_the_crate_does() {
    let mut ours = Response::default();
    for version in VERSIONS {
        let mut body = BytesMut::new();
        response(version).encode(&mut body, version).unwrap();
        ours.walk(version, &body).unwrap();
        assert_eq!((ours.throttle_time_ms, ours.partitions.len()), (11, 2));
        let failed = &ours.partitions[1];
        assert_eq!(
            (failed.topic(&body), failed.index, failed.error_code),
            ("orders", 1, 1)
        );
        assert_eq!((failed.base_offset, failed.log_append_time_ms), (70, -1));
        assert_eq!(
            failed.log_start_offset,
            if version >= LOG_START_SINCE { 5 } else { -1 }
        );

        let mut written = BytesMut::new();
        let mut writer = ResponseWriter::new(&mut written, version, 1).unwrap();
        writer.topic("orders", ours.partitions.iter()).unwrap();
        writer.finish(11);
        let mut expected = response(version);
        expected.responses[0].partition_responses[1]
            .record_errors
            .clear();
        expected.responses[0].partition_responses[1].error_message = None;
        let theirs = ProduceResponse::decode(&mut written.freeze(), version).unwrap();
        assert_eq!(theirs, expected);
    }
    assert!(ours.walk(10, &[]).is_err());
}

#[test]
fn damaged_bodies_are_walked_or_refused() {
    let mut random = StdRng::seed_from_u64(9);
    let (mut request, mut answer) = (Request::default(), Response::default());
    for _ in 0..20_000 {
        let version = random.random_range(3..=9);
        let (mut body, _) = build(version, Some("tx"), &parts());
        if random.random_bool(0.3) {
            body.clear();
            response(version).encode(&mut body, version).unwrap();
        }
        for _ in 0..random.random_range(1..4) {
            let at = random.random_range(0..body.len());
            body[at] = random.random();
        }
        body.truncate(random.random_range(0..=body.len()).max(body.len() / 2));
        if request.walk(version, &body).is_ok() {
            assert!(
                request
                    .partitions
                    .iter()
                    .all(|p| p.records(&body).len() <= body.len())
            );
        }
        let _ = answer.walk(version, &body);
        // A walk's ranges mean nothing to another body, and do no harm there.
        assert!(
            request
                .partitions
                .iter()
                .all(|p| p.topic(b"x").len() + p.records(b"x").len() <= 2)
        );
        request.set_acks(&mut [], 1);
    }
}
