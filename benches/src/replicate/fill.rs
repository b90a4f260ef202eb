//! Filling a topic of the source: with librdkafka, or batch by batch where no client makes batches so small.

use std::time::{Instant, SystemTime};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{ProduceRequest, TopicName};
use kafka_protocol::protocol::StrBytes;
use lockgate_tests::admin::Connection;
use lockgate_tests::kafka::Cluster;
use lockgate_wire::records::{BatchSpec, NewRecord, batch};
use rdkafka::producer::BaseRecord;

use super::{Shape, Work};
use crate::load::{self, ProduceLoad};

/// Records that go to one partition before the next has its turn: a batch is full before others are begun.
const TURN_RECORDS: u64 = 100;
/// Requests on the way at once.
const PIPELINE: u64 = 16;
const PRODUCE_VERSION: i16 = 9;
const BROKER_TIMEOUT_MS: i32 = 30_000;

/// Writes everything that the work asks for; returns when it is acknowledged.
pub async fn fill(source: &Cluster, work: Work) -> Result<()> {
    match work.shape {
        Shape::Batches { bytes, codec } => {
            let bootstrap = source.bootstrap();
            let filling = move || fill_batches(&bootstrap, &work, bytes, codec);
            tokio::task::spawn_blocking(filling).await?
        }
        Shape::Singles => fill_singles(source, &work).await,
    }
}

fn fill_batches(
    bootstrap: &str,
    work: &Work,
    batch_bytes: usize,
    codec: &'static str,
) -> Result<()> {
    let load = ProduceLoad {
        name: work.name,
        acks: "all",
        batch_bytes,
        codec,
    };
    let (producer, deliveries) = load::producer(bootstrap, &load, "20")?;
    let pool = load::pool();
    let start = Instant::now();
    let partitions = u64::from(work.partitions.unsigned_abs());
    for index in 0..work.records() {
        let partition = index / TURN_RECORDS % partitions;
        let record = BaseRecord::with_opaque_to(work.topic, Box::new(None))
            .partition(partition as i32)
            .payload(load::value(&pool, index));
        load::hand_over(&producer, record, start)?;
    }
    load::flush(&producer, &deliveries, work.records(), start)
}

async fn fill_singles(source: &Cluster, work: &Work) -> Result<()> {
    let mut broker = source.admin().connect().await?;
    let (mut sent, mut answered) = (0, 0);
    let requests = work.records() / u64::from(work.partitions.unsigned_abs());
    let pool = load::pool();
    while answered < requests {
        while sent < requests && sent - answered < PIPELINE {
            let value = &load::value(&pool, sent)[..work.record_bytes];
            broker.send(&single(work, value)?, PRODUCE_VERSION).await?;
            sent += 1;
        }
        take_answer(&mut broker).await?;
        answered += 1;
    }
    Ok(())
}

/// One batch of one record for every partition.
fn single(work: &Work, value: &[u8]) -> Result<ProduceRequest> {
    let record = NewRecord {
        timestamp: SystemTime::UNIX_EPOCH.elapsed()?.as_millis() as i64,
        value: Some(value),
        ..NewRecord::default()
    };
    let records: Bytes = batch(&[record], BatchSpec::default())?;
    let partitions = (0..work.partitions).map(|partition| {
        PartitionProduceData::default()
            .with_index(partition)
            .with_records(Some(records.clone()))
    });
    let topic = TopicProduceData::default()
        .with_name(TopicName(StrBytes::from_static_str(work.topic)))
        .with_partition_data(partitions.collect());
    Ok(ProduceRequest::default()
        .with_acks(-1)
        .with_timeout_ms(BROKER_TIMEOUT_MS)
        .with_topic_data(vec![topic]))
}

async fn take_answer(broker: &mut Connection) -> Result<()> {
    use kafka_protocol::messages::ProduceResponse;
    use kafka_protocol::protocol::{Decodable, HeaderVersion};
    let header_version = ProduceResponse::header_version(PRODUCE_VERSION);
    let (_, mut body) = broker.receive(header_version).await?;
    let answer = ProduceResponse::decode(&mut body, PRODUCE_VERSION)
        .context("the answer to a Produce is malformed")?;
    let partitions = answer
        .responses
        .iter()
        .flat_map(|topic| &topic.partition_responses);
    match partitions.map(|one| one.error_code).find(|code| *code != 0) {
        Some(code) => bail!("a batch was refused with error {code}"),
        None => Ok(()),
    }
}
