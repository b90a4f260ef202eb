//! Fetch: streamed where it is served here, sent elsewhere where it is not.

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::TopicName;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchRequest, FetchTopic};
use kafka_protocol::messages::fetch_response::{
    FetchResponse, FetchableTopicResponse, PartitionData,
};
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};
use lockgate_wire::records::{BatchSpec, Codec, NewRecord, batch};

use super::broker::{Say, Seen};
use super::client::{Client, produce_body};
use super::world::{ROUTE, World};
use crate::words::Side;

const VERSION: i16 = 11;

fn request(topics: &[&'static str], rack: &'static str, session_epoch: i32) -> Vec<u8> {
    let topic = |name: &&'static str| {
        let partition = FetchPartition::default()
            .with_partition(0)
            .with_current_leader_epoch(3)
            .with_fetch_offset(5)
            .with_partition_max_bytes(1 << 20);
        FetchTopic::default()
            .with_topic(TopicName(StrBytes::from_static_str(name)))
            .with_partitions(vec![partition])
    };
    let mut out = BytesMut::new();
    FetchRequest::default()
        .with_max_wait_ms(100)
        .with_min_bytes(1)
        .with_max_bytes(1 << 20)
        .with_session_epoch(session_epoch)
        .with_rack_id(StrBytes::from_static_str(rack))
        .with_topics(topics.iter().map(topic).collect())
        .encode(&mut out, VERSION)
        .unwrap();
    out.to_vec()
}

/// Every partition gets `batches` batches of 64 KiB that bear leader epoch 0.
fn records(batches: usize) -> impl Fn(&Seen) -> Option<Say> {
    let value = vec![7; 64 << 10];
    let record = NewRecord {
        timestamp: 1,
        key: None,
        value: Some(&value),
        headers: &[],
    };
    let spec = BatchSpec {
        producer: None,
        transactional: false,
        codec: Codec::None,
    };
    let mut batch = BytesMut::from(batch(&[record], spec).unwrap());
    batch[12..16].copy_from_slice(&[0; 4]);
    let records: Bytes = std::iter::repeat_n(&batch[..], batches)
        .collect::<Vec<_>>()
        .concat()
        .into();
    move |seen| {
        if seen.api_key != 1 {
            return None;
        }
        let asked = FetchRequest::decode(&mut seen.body.clone(), seen.version).unwrap();
        assert_eq!(asked.rack_id.as_str(), "");
        assert_eq!((asked.session_id, asked.session_epoch), (0, -1));
        let topic = |topic: &FetchTopic| {
            assert_eq!(topic.partitions[0].current_leader_epoch, -1);
            let partition = PartitionData::default()
                .with_high_watermark(9)
                .with_records(Some(records.clone()));
            FetchableTopicResponse::default()
                .with_topic(topic.topic.clone())
                .with_partitions(vec![partition])
        };
        let mut out = BytesMut::new();
        FetchResponse::default()
            .with_session_id(77)
            .with_responses(asked.topics.iter().map(topic).collect())
            .encode(&mut out, seen.version)
            .unwrap();
        Some(Say::Body(out.freeze()))
    }
}

/// Per topic: error code and bytes of records. Every batch has leader epoch -1.
async fn fetched(client: &mut Client) -> Vec<(String, i16, usize)> {
    let answer = client.answer(1, VERSION).await;
    let mut body = answer.body;
    let response = FetchResponse::decode(&mut body, VERSION).unwrap();
    assert_eq!((response.session_id, response.error_code), (0, 0));
    let topics = response.responses.iter().map(|topic| {
        let partition = &topic.partitions[0];
        let records = partition.records.clone().unwrap_or_default();
        for batch in lockgate_wire::batch::Batches::new(&records) {
            let lockgate_wire::batch::Batch::Whole(view) = batch.unwrap() else {
                panic!("a batch was broken");
            };
            assert_eq!(view.partition_leader_epoch(), -1);
        }
        (topic.topic.to_string(), partition.error_code, records.len())
    });
    let mut topics: Vec<_> = topics.collect();
    topics.sort();
    topics
}

#[tokio::test]
async fn a_large_answer_is_streamed_and_patched() {
    let world = World::start().await;
    world.source.script(records(160));
    let mut client = world.connect(Side::Source).await;
    client.send(1, VERSION, 1, &request(&["t"], "", 0)).await;
    let topics = fetched(&mut client).await;
    assert!(topics[0].2 > 10 << 20);
    let minute = std::time::Duration::from_secs(60);
    assert_eq!(world.clients.readers(ROUTE, Side::Source, minute).len(), 1);
}

#[tokio::test]
async fn a_rack_is_stripped() {
    let world = World::start().await;
    world.source.script(records(1));
    let mut client = world.connect(Side::Source).await;
    client
        .send(1, VERSION, 1, &request(&["t", "u"], "west", -1))
        .await;
    let topics = fetched(&mut client).await;
    assert_eq!((topics.len(), topics[0].1), (2, 0));
    assert!(topics[0].2 > 0);
}

#[tokio::test]
async fn a_partition_that_moved_is_refused_and_the_rest_is_served() {
    let world = World::start().await;
    world.source.script(records(1));
    world.destination.script(records(2));
    world.open(Side::Destination);
    let mut client = world.connect(Side::Source).await;
    client
        .send(1, VERSION, 1, &request(&["t", "u"], "", -1))
        .await;
    let topics = fetched(&mut client).await;
    assert_eq!((topics[0].1, topics[0].2), (6, 0));
    assert_eq!(topics[1].1, 0);
    assert!(topics[1].2 > 0);
    // To a sticky client this node stays the leader, so it is served here.
    let plain = produce_body(8, -1, &[("t", 0)], None, b"v");
    client.send(0, 8, 2, &plain).await;
    client.produced().await;
    client.send(1, VERSION, 3, &request(&["t"], "", -1)).await;
    let topics = fetched(&mut client).await;
    assert_eq!(topics[0].1, 0);
    assert!(topics[0].2 > 100 << 10);
}

#[tokio::test]
async fn a_session_of_somebody_else_is_not_continued() {
    let world = World::start().await;
    let mut client = world.connect(Side::Source).await;
    client.send(1, VERSION, 1, &request(&[], "", 4)).await;
    let mut body = client.answer(1, VERSION).await.body;
    let response = FetchResponse::decode(&mut body, VERSION).unwrap();
    assert_eq!(response.error_code, 70);
    let mut hostile = BytesMut::new();
    hostile.put_slice(&request(&["t"], "", -1)[..20]);
    client.send(1, VERSION, 2, &hostile).await;
    client.is_closed().await;
    assert!(world.source.seen(1).is_empty());
}
