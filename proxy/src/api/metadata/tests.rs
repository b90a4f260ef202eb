//! Metadata as clients see it: homes, nodes, ids, creation, and an estate of 24,000 partitions.

use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::metadata_response::MetadataResponseTopic;
use kafka_protocol::messages::{BrokerId, MetadataRequest, MetadataResponse};
use uuid::Uuid;

use crate::api::testing::{Bench, OWN_IDS, TOPIC_ID, commit_all, flip_all, name};
use crate::words::Side;

fn asking(names: &[&str], creates: bool) -> MetadataRequest {
    let topics = names
        .iter()
        .map(|text| MetadataRequestTopic::default().with_name(Some(name(text))));
    MetadataRequest::default()
        .with_topics(Some(topics.collect()))
        .with_allow_auto_topic_creation(creates)
}

fn topic<'a>(answer: &'a MetadataResponse, wanted: &str) -> &'a MetadataResponseTopic {
    let is_wanted = |topic: &&MetadataResponseTopic| topic.name == Some(name(wanted));
    answer.topics.iter().find(is_wanted).unwrap()
}

fn leaders(topic: &MetadataResponseTopic) -> Vec<i32> {
    let mut partitions = topic.partitions.clone();
    partitions.sort_by_key(|partition| partition.partition_index);
    assert!(partitions.iter().all(|known| known.leader_epoch == -1));
    partitions.iter().map(|known| known.leader_id.0).collect()
}

#[tokio::test]
async fn all_topics_are_shown_from_their_homes_in_every_version() {
    let bench = Bench::start().await;
    bench
        .routes
        .update(|snapshot| snapshot.routes[0].home = Side::Destination);
    for side in Side::BOTH {
        for version in 0..=13 {
            let all = if version == 0 { Some(Vec::new()) } else { None };
            let request = MetadataRequest::default().with_topics(all);
            let request = request.with_allow_auto_topic_creation(true);
            let answer = bench.call(side, version, request).await;
            assert_eq!(
                answer.topics.len(),
                2,
                "v{version} at the {side}: the state topic is hidden"
            );
            assert_eq!(
                leaders(topic(&answer, "orders")),
                [1_000_001, 1_000_002, 1_000_001]
            );
            assert_eq!(leaders(topic(&answer, "payments")), [1]);
            let brokers: Vec<(i32, i32)> = answer
                .brokers
                .iter()
                .map(|broker| (broker.node_id.0, broker.port))
                .collect();
            let expected = [(1, 9100), (2, 9101), (1_000_001, 9102), (1_000_002, 9103)];
            assert_eq!(brokers, expected);
            assert!(
                answer
                    .brokers
                    .iter()
                    .all(|broker| broker.host.as_str() == "gate.example")
            );
            if version >= 1 {
                assert_eq!(answer.controller_id, BrokerId(1));
            }
            if version >= 2 {
                assert_eq!(answer.cluster_id.as_deref(), Some("source-id"));
            }
            if version >= 10 {
                // The id that clients know for ever; the home's own where none is recorded.
                assert_eq!(topic(&answer, "orders").topic_id, TOPIC_ID);
                assert_eq!(topic(&answer, "payments").topic_id, OWN_IDS[0]);
            }
        }
    }
}

#[tokio::test]
async fn replicas_are_virtual_too() {
    let bench = Bench::start().await;
    bench.routes.update(flip_all);
    let answer = bench
        .call(Side::Source, 12, asking(&["orders"], false))
        .await;
    let first = &topic(&answer, "orders").partitions[0];
    assert_eq!(
        first.replica_nodes,
        [BrokerId(1_000_001), BrokerId(1_000_002)]
    );
    assert_eq!(first.isr_nodes, [BrokerId(1_000_001)]);
}

#[tokio::test]
async fn topics_are_created_at_their_home_only() {
    let bench = Bench::start().await;
    bench
        .routes
        .update(|snapshot| snapshot.routes[0].home = Side::Destination);
    let names = ["orders-new", "other-new"];
    let answer = bench.call(Side::Source, 3, asking(&names, true)).await;
    assert_eq!(bench.created(Side::Destination), ["orders-new"]);
    assert_eq!(bench.created(Side::Source), ["other-new"]);
    assert_eq!(leaders(topic(&answer, "orders-new")), [1_000_001]);

    let answer = bench
        .call(Side::Source, 9, asking(&["orders-2", "other-2"], false))
        .await;
    assert!(answer.topics.iter().all(|topic| topic.error_code == 3));
    // Brokers create their internal topics themselves.
    bench
        .call(
            Side::Source,
            9,
            asking(&["__consumer_offsets", "other-3"], true),
        )
        .await;
    assert_eq!(bench.created(Side::Source), ["other-new", "other-3"]);
}

#[tokio::test]
async fn the_state_topic_is_nobodys() {
    let bench = Bench::start().await;
    let answer = bench
        .call(
            Side::Source,
            9,
            asking(&["__lockgate_state", "orders"], true),
        )
        .await;
    let hidden = topic(&answer, "__lockgate_state");
    assert_eq!((hidden.error_code, hidden.partitions.len()), (29, 0));
    assert_eq!(topic(&answer, "orders").error_code, 0);
}

#[tokio::test]
async fn ids_become_names_first() {
    let bench = Bench::start().await;
    bench.routes.update(flip_all);
    let by_id = |id| {
        MetadataRequestTopic::default()
            .with_topic_id(id)
            .with_name(None)
    };
    let nobody = Uuid::from_u128(99);
    let request =
        MetadataRequest::default().with_topics(Some(vec![by_id(TOPIC_ID), by_id(nobody)]));
    let answer = bench.call(Side::Source, 12, request).await;
    let known = topic(&answer, "orders");
    assert_eq!((known.topic_id, known.error_code), (TOPIC_ID, 0));
    assert_eq!(leaders(known)[0], 1_000_001);
    let unknown = answer
        .topics
        .iter()
        .find(|topic| topic.name.is_none())
        .unwrap();
    assert_eq!((unknown.topic_id, unknown.error_code), (nobody, 100));
    let request = MetadataRequest::default().with_topics(Some(vec![by_id(nobody)]));
    let answer = bench.call(Side::Source, 10, request).await;
    assert_eq!(answer.topics[0].error_code, 100);
}

#[tokio::test]
async fn without_an_own_broker_the_views_answer() {
    let bench = Bench::start().await;
    bench.routes.update(commit_all);
    let mut exchange = bench.exchange(Side::Source);
    exchange.own = None;
    let request = MetadataRequest::default().with_topics(None);
    let answer = bench.call_on(&exchange, 12, request).await;
    assert_eq!(answer.topics.len(), 2);
    assert_eq!(leaders(topic(&answer, "payments")), [1_000_001]);
    let brokers: Vec<i32> = answer
        .brokers
        .iter()
        .map(|broker| broker.node_id.0)
        .collect();
    assert_eq!(brokers, [1_000_001, 1_000_002]);
    assert_eq!(answer.controller_id, BrokerId(1_000_001));
    assert_eq!(answer.cluster_id.as_deref(), Some("source-id"));
}

#[tokio::test]
async fn a_thousand_topics_are_answered_quickly() {
    let bench = Bench::start().await;
    let many = |topics: &mut std::collections::BTreeMap<&'static str, i32>| {
        topics.extend((0..1_000).map(|n| (&*format!("orders-{n}").leak(), 24)));
    };
    bench.topics(Side::Source, many).await;
    bench.topics(Side::Destination, many).await;
    bench.routes.update(flip_all);
    let begun = std::time::Instant::now();
    let request = MetadataRequest::default().with_topics(None);
    let answer = bench.call(Side::Source, 12, request).await;
    assert_eq!(answer.topics.len(), 1_002);
    // A lookup in a list per partition would take minutes here.
    assert!(begun.elapsed() < std::time::Duration::from_secs(10));
}
