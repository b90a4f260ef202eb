//! Walks and patches against the crate in every version, and damaged requests.

use bytes::BytesMut;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic, ForgottenTopic};
use kafka_protocol::messages::{FetchRequest as Theirs, TopicName};
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::*;

fn topic(name: &'static str) -> TopicName {
    StrBytes::from_static_str(name).into()
}

fn theirs(version: i16, rack: &'static str) -> Theirs {
    let partition = |index: i32| {
        let mut partition = FetchPartition::default()
            .with_partition(index)
            .with_fetch_offset(1000 + i64::from(index))
            .with_partition_max_bytes(1 << 20);
        if version >= LOG_START_OFFSET_SINCE {
            partition = partition.with_log_start_offset(-1);
        }
        if version >= CURRENT_LEADER_EPOCH_SINCE {
            partition = partition.with_current_leader_epoch(4 + index);
        }
        if version >= FLEXIBLE_SINCE {
            partition = partition
                .with_last_fetched_epoch(3)
                .with_unknown_tagged_field(55, "tagged".into());
        }
        partition
    };
    let mut request = Theirs::default()
        .with_max_wait_ms(500)
        .with_min_bytes(1)
        .with_max_bytes(50 << 20)
        .with_isolation_level(1)
        .with_topics(vec![
            FetchTopic::default()
                .with_topic(topic("orders"))
                .with_partitions(vec![partition(0), partition(1)]),
            FetchTopic::default()
                .with_topic(topic("payments"))
                .with_partitions(vec![partition(9)]),
        ]);
    if version >= SESSION_SINCE {
        let gone = ForgottenTopic::default()
            .with_topic(topic("gone"))
            .with_partitions(vec![6, 7]);
        request = request
            .with_session_id(1234)
            .with_session_epoch(5)
            .with_forgotten_topics_data(vec![gone]);
    }
    if version >= RACK_SINCE {
        request = request.with_rack_id(StrBytes::from_static_str(rack));
    }
    if version >= FLEXIBLE_SINCE {
        request = request.with_cluster_id(Some(StrBytes::from_static_str("cluster")));
    }
    request
}

fn encode(version: i16, request: &Theirs) -> BytesMut {
    let mut body = BytesMut::new();
    request.encode(&mut body, version).unwrap();
    body
}

#[test]
fn everything_is_found_where_it_stands() {
    let mut ours = FetchRequest::default();
    for version in VERSIONS {
        let since = |first| version >= first;
        let body = encode(version, &theirs(version, "rack-a"));
        ours.walk(version, &body).unwrap();
        assert_eq!(
            (ours.replica_id, ours.max_wait_ms, ours.min_bytes),
            (-1, 500, 1)
        );
        assert_eq!((ours.max_bytes, ours.isolation_level), (50 << 20, 1));
        let session = if since(SESSION_SINCE) {
            (1234, 5)
        } else {
            (0, -1)
        };
        assert_eq!((ours.session_id, ours.session_epoch), session);
        assert_eq!(ours.session_at.is_some(), since(SESSION_SINCE));
        let found: Vec<_> = ours
            .partitions
            .iter()
            .map(|p| (p.topic(&body), p.index))
            .collect();
        assert_eq!(found, [("orders", 0), ("orders", 1), ("payments", 9)]);
        let last = &ours.partitions[2];
        assert_eq!((last.fetch_offset, last.max_bytes), (1009, 1 << 20));
        let epoch = if since(CURRENT_LEADER_EPOCH_SINCE) {
            13
        } else {
            -1
        };
        assert_eq!(last.current_leader_epoch, epoch);
        assert_eq!(
            last.last_fetched_epoch,
            if since(FLEXIBLE_SINCE) { 3 } else { -1 }
        );
        assert_eq!(last.log_start_offset, -1);
        let gone: Vec<_> = ours
            .forgotten
            .iter()
            .map(|p| (p.topic(&body), p.index))
            .collect();
        assert_eq!(
            gone,
            if since(SESSION_SINCE) {
                vec![("gone", 6), ("gone", 7)]
            } else {
                vec![]
            }
        );
        let rack = ours.rack_id.clone().map(|range| &body[range]);
        assert_eq!(rack, since(RACK_SINCE).then_some(&b"rack-a"[..]));
    }
    for version in [3, 13] {
        let unsupported = WireError::UnsupportedVersion {
            api_key: API_KEY,
            version,
        };
        assert_eq!(ours.walk(version, &[]), Err(unsupported));
    }
}

#[test]
fn patches_change_what_they_say_and_nothing_else() {
    let mut ours = FetchRequest::default();
    for version in VERSIONS {
        let mut body = encode(version, &theirs(version, ""));
        ours.walk(version, &body).unwrap();
        assert_eq!(ours.rack_id, None);
        ours.forget_epochs(version, &mut body);
        ours.leave_session(&mut body);
        let mut expected = theirs(version, "");
        (expected.session_id, expected.session_epoch) = (0, -1);
        for partition in expected
            .topics
            .iter_mut()
            .flat_map(|topic| &mut topic.partitions)
        {
            partition.current_leader_epoch = -1;
            partition.last_fetched_epoch = -1;
        }
        let mut again = FetchRequest::default();
        again.walk(version, &body).unwrap();
        assert_eq!(again, ours);
        assert_eq!(
            Theirs::decode(&mut body.freeze(), version).unwrap(),
            expected
        );
    }
}

#[test]
fn a_rack_id_is_taken_out_of_a_copy() {
    let mut ours = FetchRequest::default();
    let long = Box::leak("r".repeat(200).into_boxed_str());
    for version in VERSIONS {
        for rack in ["", "a", long] {
            let body = encode(version, &theirs(version, rack));
            ours.walk(version, &body).unwrap();
            let copy = ours.without_rack_id(version, &body);
            assert_eq!(copy.is_some(), version >= RACK_SINCE && !rack.is_empty());
            if let Some(copy) = copy {
                assert_eq!(copy, encode(version, &theirs(version, "")));
                let mut again = FetchRequest::default();
                again.walk(version, &copy).unwrap();
                assert_eq!(again, ours);
            }
        }
    }
}

#[test]
fn damaged_requests_are_walked_or_refused() {
    let mut random = StdRng::seed_from_u64(10);
    let mut ours = FetchRequest::default();
    for _ in 0..20_000 {
        let version = random.random_range(4..=12);
        let mut body = encode(version, &theirs(version, "rack"));
        for _ in 0..random.random_range(1..4) {
            let at = random.random_range(0..body.len());
            body[at] = random.random();
        }
        body.truncate(random.random_range(0..=body.len()).max(body.len() / 2));
        let walked = ours.walk(version, &body);
        ours.forget_epochs(version, &mut body);
        ours.leave_session(&mut body);
        if walked.is_ok() {
            assert_eq!(ours.walk(version, &body), Ok(()));
        }
        let _ = ours.without_rack_id(version, &body);
        // Positions of one body do no harm in another.
        ours.forget_epochs(version, &mut body[..3]);
    }
}
