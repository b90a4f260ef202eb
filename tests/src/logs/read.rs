//! Reading a partition whole: raw batches with the harness's own Fetch, records through librdkafka (which
//! knows every codec).

use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::{BrokerId, FetchRequest};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers, Message};
use rdkafka::{Offset, TopicPartitionList};

use super::batch::{RawBatch, parse_batches};
use crate::admin::{Admin, Connection, topic_name};

/// The last Fetch version that names topics and carries no session tricks.
const FETCH_VERSION: i16 = 11;
const FETCH_BYTES: i32 = 8 << 20;
const FETCH_WAIT_MS: i32 = 500;
/// How long a read may make no progress before it is given up.
const STALL_DEADLINE: Duration = Duration::from_secs(20);

/// One record as a client sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its place.
    pub offset: i64,
    /// Its timestamp in milliseconds.
    pub timestamp: Option<i64>,
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// Its value.
    pub value: Option<Vec<u8>>,
    /// Its headers in order, duplicates included.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

/// The raw batches that cover the offsets from `from` to before `to`; the first may begin before `from`.
///
/// # Errors
/// When the leader refuses or nothing arrives for [`STALL_DEADLINE`].
pub async fn read_batches(
    admin: &Admin,
    topic: &str,
    partition: i32,
    from: i64,
    to: i64,
) -> Result<Vec<RawBatch>> {
    let mut leader = admin.connect_leader(topic, partition).await?;
    let mut batches: Vec<RawBatch> = Vec::new();
    let mut next = from;
    let mut progress = Instant::now();
    while next < to {
        let fetched = fetch(&mut leader, topic, partition, next).await?;
        if fetched.is_empty() && progress.elapsed() > STALL_DEADLINE {
            bail!(
                "{topic}-{partition} gives nothing at offset {next}, although it should end at {to}"
            );
        }
        for batch in fetched {
            progress = Instant::now();
            next = batch.last_offset + 1;
            if batch.base_offset < to {
                batches.push(batch);
            }
        }
    }
    Ok(batches)
}

async fn fetch(
    leader: &mut Connection,
    topic: &str,
    partition: i32,
    offset: i64,
) -> Result<Vec<RawBatch>> {
    let asked = FetchPartition::default()
        .with_partition(partition)
        .with_current_leader_epoch(-1)
        .with_fetch_offset(offset)
        .with_log_start_offset(-1)
        .with_partition_max_bytes(FETCH_BYTES);
    let request = FetchRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_max_wait_ms(FETCH_WAIT_MS)
        .with_min_bytes(1)
        .with_max_bytes(FETCH_BYTES)
        .with_session_id(0)
        .with_session_epoch(-1)
        .with_topics(vec![
            FetchTopic::default()
                .with_topic(topic_name(topic))
                .with_partitions(vec![asked]),
        ]);
    let answer = leader.call(&request, FETCH_VERSION).await?;
    if answer.error_code != 0 {
        bail!(
            "Fetch of {topic}-{partition} failed with error {}",
            answer.error_code
        );
    }
    let data = answer
        .responses
        .first()
        .and_then(|topic| topic.partitions.first());
    let data = data.context("Fetch was answered without a partition")?;
    if data.error_code != 0 {
        bail!(
            "Fetch of {topic}-{partition} at {offset} failed with error {}",
            data.error_code
        );
    }
    let records = data.records.clone().unwrap_or_default();
    let batches = parse_batches(&records)?;
    // A batch larger than the asked bytes comes whole when it is the first, so this is never a lasting gap.
    Ok(batches
        .into_iter()
        .filter(|batch| batch.last_offset >= offset)
        .collect())
}

/// The records from offset `from` to before `to`, decoded by librdkafka.
///
/// # Errors
/// When nothing arrives for [`STALL_DEADLINE`].
pub async fn read_records(
    bootstrap: &str,
    topic: &str,
    partition: i32,
    from: i64,
    to: i64,
) -> Result<Vec<Record>> {
    let (bootstrap, topic) = (bootstrap.to_owned(), topic.to_owned());
    tokio::task::spawn_blocking(move || read_blocking(&bootstrap, &topic, partition, from, to))
        .await?
}

fn read_blocking(
    bootstrap: &str,
    topic: &str,
    partition: i32,
    from: i64,
    to: i64,
) -> Result<Vec<Record>> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("group.id", "lockgate-harness-reader")
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        .set("check.crcs", "true")
        .set("isolation.level", "read_committed")
        .set("auto.offset.reset", "error")
        .create()?;
    let mut assignment = TopicPartitionList::new();
    assignment.add_partition_offset(topic, partition, Offset::Offset(from))?;
    consumer.assign(&assignment)?;
    let mut records = Vec::new();
    let mut progress = Instant::now();
    while from < to && progress.elapsed() < STALL_DEADLINE {
        match consumer.poll(Duration::from_millis(200)) {
            None => continue,
            Some(Err(rdkafka::error::KafkaError::PartitionEOF(_))) => {
                if end_reached(&consumer, topic, partition, to) {
                    return Ok(records);
                }
            }
            Some(Err(error)) => {
                return Err(anyhow!(error).context(format!("reading {topic}-{partition}")));
            }
            Some(Ok(message)) => {
                progress = Instant::now();
                if message.offset() >= to {
                    return Ok(records);
                }
                records.push(copy(&message));
                if message.offset() + 1 == to {
                    return Ok(records);
                }
            }
        }
    }
    if from < to {
        bail!("reading {topic}-{partition} stalled before offset {to}")
    } else {
        Ok(records)
    }
}

/// Whether the reader's position has passed `to`, also where the last offsets hold no records.
fn end_reached(consumer: &BaseConsumer, topic: &str, partition: i32, to: i64) -> bool {
    let watermarks = consumer.fetch_watermarks(topic, partition, Duration::from_secs(5));
    watermarks.is_ok_and(|(_, high)| high >= to)
}

fn copy(message: &rdkafka::message::BorrowedMessage<'_>) -> Record {
    let headers = message.headers().map(|headers| {
        headers
            .iter()
            .map(|header| (header.key.to_owned(), header.value.map(<[u8]>::to_vec)))
            .collect()
    });
    Record {
        offset: message.offset(),
        timestamp: message.timestamp().to_millis(),
        key: message.key().map(<[u8]>::to_vec),
        value: message.payload().map(<[u8]>::to_vec),
        headers: headers.unwrap_or_default(),
    }
}
