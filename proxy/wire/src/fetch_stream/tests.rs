//! The stream against the whole buffer: whatever the split, what comes out decodes to the response
//! that went in with the patched fields changed and nothing else.

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::fetch_response::{
    AbortedTransaction, FetchResponse, FetchableTopicResponse, LeaderIdAndEpoch, PartitionData,
};
use kafka_protocol::protocol::{Decodable, Encodable};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::*;
use crate::records::{BatchSpec, Codec, NewRecord, batch};

fn tag(random: &mut StdRng, version: i16) -> std::collections::BTreeMap<i32, Bytes> {
    let tagged = version >= FLEXIBLE_SINCE && random.random_bool(0.3);
    tagged
        .then(|| (77, Bytes::from_static(b"unknown")))
        .into_iter()
        .collect()
}

/// Some batches, of magic 2 or as old logs hold them, perhaps cut off at the end.
fn records(random: &mut StdRng) -> Option<Bytes> {
    if random.random_bool(0.1) {
        return None;
    }
    let mut out = BytesMut::new();
    for _ in 0..random.random_range(0..4) {
        if random.random_bool(0.2) {
            let payload = random.random_range(14..40);
            out.put_i64(random.random());
            out.put_i32(payload);
            out.put_i32(0x5eed_5eed);
            out.put_u8(random.random_range(0..2));
            out.put_bytes(9, payload as usize - 5);
            continue;
        }
        let value = vec![b'x'; random.random_range(0..200)];
        let record = NewRecord {
            value: Some(&value),
            ..NewRecord::default()
        };
        let spec = BatchSpec {
            codec: Codec::None,
            ..BatchSpec::default()
        };
        let mut bytes = batch(&[record, record], spec).unwrap().to_vec();
        bytes[at::PARTITION_LEADER_EPOCH..at::MAGIC].copy_from_slice(&77i32.to_be_bytes());
        out.extend_from_slice(&bytes);
    }
    if random.random_bool(0.5) {
        out.truncate(random.random_range(0..=out.len()));
    }
    Some(out.freeze())
}

fn partition(random: &mut StdRng, version: i16) -> PartitionData {
    let aborted = (0..random.random_range(0..4)).map(|_| {
        AbortedTransaction::default()
            .with_producer_id(random.random::<i64>().into())
            .with_first_offset(random.random())
            .with_unknown_tagged_fields(tag(random, version))
    });
    let aborted: Vec<_> = aborted.collect();
    let mut partition = PartitionData::default()
        .with_partition_index(random.random())
        .with_error_code(random.random())
        .with_high_watermark(random.random())
        .with_last_stable_offset(random.random())
        .with_aborted_transactions(random.random_bool(0.8).then_some(aborted))
        .with_records(records(random))
        .with_unknown_tagged_fields(tag(random, version));
    if version >= LOG_START_OFFSET_SINCE {
        partition = partition.with_log_start_offset(random.random());
    }
    if version >= PREFERRED_READ_REPLICA_SINCE {
        partition = partition.with_preferred_read_replica(3.into());
    }
    if version >= FLEXIBLE_SINCE && random.random_bool(0.5) {
        let mut leader = LeaderIdAndEpoch::default()
            .with_leader_id(5.into())
            .with_leader_epoch(17);
        leader.unknown_tagged_fields = tag(random, version);
        partition = partition.with_current_leader(leader);
    }
    partition
}

fn response(random: &mut StdRng, version: i16) -> FetchResponse {
    let topics = (0..random.random_range(0..3)).map(|_| {
        let partitions = (0..random.random_range(0..4))
            .map(|_| partition(random, version))
            .collect();
        FetchableTopicResponse::default()
            .with_topic(kafka_protocol::protocol::StrBytes::from_static_str("orders").into())
            .with_partitions(partitions)
            .with_unknown_tagged_fields(tag(random, version))
    });
    let topics = topics.collect();
    let mut response = FetchResponse::default()
        .with_throttle_time_ms(random.random())
        .with_responses(topics)
        .with_unknown_tagged_fields(tag(random, version));
    if version >= SESSION_SINCE {
        response = response
            .with_error_code(random.random())
            .with_session_id(99);
    }
    response
}

fn frame(random: &mut StdRng, version: i16, response: &FetchResponse) -> Vec<u8> {
    let mut out = BytesMut::new();
    out.put_i32(0x0bad_cafe);
    if version >= FLEXIBLE_SINCE {
        out.put_slice(if random.random_bool(0.5) {
            &[0]
        } else {
            &[1, 9, 2, 8, 8]
        });
    }
    response.encode(&mut out, version).unwrap();
    out.to_vec()
}

fn decode(frame: &[u8], version: i16) -> FetchResponse {
    let (_, body) = crate::header::peek_response(API_KEY, version, frame).unwrap();
    let mut body = Bytes::copy_from_slice(&frame[body..]);
    let response = FetchResponse::decode(&mut body, version).unwrap();
    assert!(body.is_empty());
    response
}

/// The straightforward way: decode, change, and count.
fn patched(mut response: FetchResponse) -> (FetchResponse, Counters) {
    let mut seen = Counters::default();
    response.session_id = 0;
    for partition in response
        .responses
        .iter_mut()
        .flat_map(|topic| &mut topic.partitions)
    {
        seen.partitions += 1;
        partition.preferred_read_replica = (-1).into();
        partition.current_leader.leader_id = (-1).into();
        partition.current_leader.leader_epoch = -1;
        let Some(records) = &partition.records else {
            continue;
        };
        let mut records = records.to_vec();
        seen.records_bytes += records.len() as u64;
        let mut rest = &mut records[..];
        while rest.len() >= MAGIC_END {
            let size = 12 + i32::from_be_bytes(rest[8..12].try_into().unwrap()) as usize;
            if rest[16] == 2 {
                rest[12..16].fill(0xff);
            }
            seen.batches += u64::from(size <= rest.len());
            let size = size.min(rest.len());
            rest = &mut rest[size..];
        }
        partition.records = Some(records.into());
    }
    (response, seen)
}

/// Feeds `frame` in random pieces as a session would, with bytes of a next frame behind it.
fn stream(
    random: &mut StdRng,
    version: i16,
    frame: &[u8],
    piece_max: usize,
) -> Result<(Vec<u8>, Counters), WireError> {
    let mut stream = FetchStream::new(version, frame.len())?;
    let input = [frame, &[0xee; 40]].concat();
    let (mut out, mut buffer, mut read) = (Vec::new(), Vec::new(), 0);
    while !stream.is_done() {
        assert!(
            read < input.len(),
            "the stream waits for bytes beyond its frame"
        );
        let piece = random.random_range(1..=piece_max).min(input.len() - read);
        buffer.extend_from_slice(&input[read..read + piece]);
        read += piece;
        let done = stream.feed(&mut buffer)?;
        assert!(buffer.len() - done < WITHHELD_MAX || stream.is_done());
        assert_eq!(
            buffer[done..],
            input[read - (buffer.len() - done)..read],
            "consumed too early"
        );
        out.extend(buffer.drain(..done));
        assert_eq!(stream.remaining(), frame.len() - out.len());
    }
    assert_eq!(stream.feed(&mut buffer), Ok(0));
    Ok((out, stream.counters()))
}

#[test]
fn what_comes_out_is_what_went_in_with_the_patched_fields_changed() {
    let mut random = StdRng::seed_from_u64(4);
    for version in VERSIONS {
        for _ in 0..150 {
            let response = response(&mut random, version);
            let frame = frame(&mut random, version, &response);
            let (expected, counters) = patched(decode(&frame, version));
            for piece_max in [1, 7, 100, 10_000] {
                let (out, seen) = stream(&mut random, version, &frame, piece_max).unwrap();
                assert_eq!(out.len(), frame.len());
                assert_eq!(out[..4], frame[..4]);
                assert_eq!(decode(&out, version), expected, "v{version}");
                assert_eq!(seen, counters);
            }
        }
    }
}

#[test]
fn damaged_frames_end_in_an_error_or_in_order_whatever_the_split() {
    let mut random = StdRng::seed_from_u64(5);
    let (mut passed, mut refused) = (0, 0);
    for round in 0..20_000 {
        let version = random.random_range(4..=12);
        let response = response(&mut random, version);
        let mut frame = frame(&mut random, version, &response);
        for _ in 0..random.random_range(1..4) {
            let at = random.random_range(0..frame.len());
            match random.random_range(0..4) {
                0 => frame[at] = random.random(),
                1 => frame[at] ^= 1 << random.random_range(0..8),
                2 => frame.truncate(at.max(1)),
                _ => frame[at] = 0xff,
            }
        }
        let whole = stream(&mut random, version, &frame, usize::MAX >> 1);
        let pieces = stream(&mut random, version, &frame, 9);
        match (whole, pieces) {
            (Ok(whole), Ok(pieces)) => {
                assert_eq!(whole, pieces, "round {round}");
                passed += 1;
            }
            (Err(_), Err(_)) => refused += 1,
            (whole, pieces) => panic!("round {round}: {whole:?} but {pieces:?}"),
        }
    }
    assert!(passed > 1000 && refused > 1000, "{passed} {refused}");
}

#[test]
fn lengths_beyond_the_frame_are_refused_at_once() {
    // Version 4: correlation id, throttle time, then a topic count that the frame cannot hold.
    let mut frame = [&[0; 8][..], &[0x7f, 0xff, 0xff, 0xff], &[0; 20]].concat();
    let mut stream = FetchStream::new(4, frame.len()).unwrap();
    assert!(matches!(
        stream.feed(&mut frame),
        Err(WireError::LengthBeyondFrame { .. })
    ));
    let mut empty = vec![0; 14];
    let mut stream = FetchStream::new(4, empty.len()).unwrap();
    assert_eq!(stream.feed(&mut empty), Err(WireError::TrailingBytes(2)));
    assert!(FetchStream::new(13, 9).is_err());
    assert!(FetchStream::new(3, 9).is_err());
}
