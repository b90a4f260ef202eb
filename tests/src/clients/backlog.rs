//! History that lies on the source before anything else happens: many records, all codecs, headers, old
//! timestamps, and log starts that lie inside batches.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use rdkafka::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header, Message, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};

use crate::history::History;
use crate::kafka::Cluster;
use crate::logs::read_batches;

/// The codecs that librdkafka writes; partitions take turns.
const CODECS: [&str; 5] = ["none", "gzip", "snappy", "lz4", "zstd"];
/// Every so many records one carries headers, two of them with the same name.
const HEADER_EVERY: u64 = 7;
/// How far back the oldest record's timestamp lies.
const AGE_MS: i64 = 3 * 24 * 3600 * 1000;
const FLUSH_DEADLINE: Duration = Duration::from_secs(120);

/// What to write.
#[derive(Debug, Clone)]
pub struct Backlog {
    /// Where; the topic exists.
    pub topic: String,
    /// Its partitions.
    pub partitions: i32,
    /// Records over all partitions.
    pub records: u64,
    /// The part of each partition that is deleted again, in percent.
    pub deleted_percent: u64,
}

/// Writes a backlog straight to a cluster and notes it in the history as acknowledged by `h<topic>`.
///
/// # Errors
/// When a record is not accepted or a log start cannot be moved.
pub async fn write_backlog(cluster: &Cluster, backlog: &Backlog, history: &History) -> Result<()> {
    let (bootstrap, spec, noted) = (cluster.bootstrap(), backlog.clone(), history.clone());
    tokio::task::spawn_blocking(move || write_all(&bootstrap, &spec, &noted)).await??;
    if backlog.deleted_percent > 0 {
        for partition in 0..backlog.partitions {
            delete_start(cluster, backlog, partition, history).await?;
        }
    }
    Ok(())
}

/// One producer per codec, each for its share of the partitions.
fn write_all(bootstrap: &str, backlog: &Backlog, history: &History) -> Result<()> {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)?
        .as_millis() as i64;
    let refused = Arc::new(Mutex::new(None));
    let mut producers = Vec::new();
    for codec in CODECS {
        let noting = Noting {
            history: history.clone(),
            refused: Arc::clone(&refused),
        };
        let producer: ThreadedProducer<Noting> = ClientConfig::new()
            .set("bootstrap.servers", bootstrap)
            .set("enable.idempotence", "true")
            .set("compression.type", codec)
            .set("linger.ms", "20")
            .set("batch.num.messages", "500")
            .create_with_context(noting)?;
        producers.push(producer);
    }
    for number in 0..backlog.records {
        let partition = (number % backlog.partitions.unsigned_abs() as u64) as i32;
        let timestamp = now - AGE_MS + (number as i64 * AGE_MS / backlog.records.max(1) as i64);
        send(
            &producers[partition as usize % CODECS.len()],
            backlog,
            partition,
            number,
            timestamp,
        )?;
    }
    for producer in &producers {
        producer.flush(FLUSH_DEADLINE)?;
    }
    match refused
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .take()
    {
        Some(error) => Err(anyhow!("a record of the backlog was refused: {error}")),
        None => Ok(()),
    }
}

fn send(
    producer: &ThreadedProducer<Noting>,
    backlog: &Backlog,
    partition: i32,
    number: u64,
    timestamp: i64,
) -> Result<()> {
    let value = format!("h{}.{number}", backlog.topic);
    let key = format!("k{}", number % 1000);
    let mut record = BaseRecord::to(&backlog.topic)
        .partition(partition)
        .key(&key)
        .payload(&value)
        .timestamp(timestamp);
    if number.is_multiple_of(HEADER_EVERY) {
        let headers = OwnedHeaders::new()
            .insert(Header {
                key: "origin",
                value: Some("backlog"),
            })
            .insert(Header {
                key: "origin",
                value: None::<&str>,
            });
        record = record.headers(headers);
    }
    loop {
        match producer.send(record) {
            Ok(()) => return Ok(()),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                std::thread::sleep(Duration::from_millis(5));
                record = back;
            }
            Err((error, _)) => return Err(anyhow!(error).context("sending the backlog")),
        }
    }
}

/// Moves the log start into the inside of a batch.
async fn delete_start(
    cluster: &Cluster,
    backlog: &Backlog,
    partition: i32,
    history: &History,
) -> Result<()> {
    let admin = cluster.admin();
    let end = admin.log_range(&backlog.topic, partition).await?.end;
    let wanted = end * backlog.deleted_percent as i64 / 100;
    let batches = read_batches(&admin, &backlog.topic, partition, wanted, end).await?;
    let batch = batches
        .iter()
        .find(|batch| batch.count > 1 && batch.last_offset < end - 1);
    let batch = batch
        .with_context(|| format!("{}-{partition} has no batch of two records", backlog.topic))?;
    let start = batch.base_offset + i64::from(batch.count / 2).max(1);
    let moved = admin
        .delete_records(&backlog.topic, partition, start)
        .await?;
    if moved != start {
        bail!(
            "{}-{partition} starts at {moved}, not at {start}",
            backlog.topic
        );
    }
    history.deleted_before(&backlog.topic, partition, start);
    Ok(())
}

/// Notes each delivery in the history.
struct Noting {
    history: History,
    refused: Arc<Mutex<Option<String>>>,
}

impl ClientContext for Noting {}

impl ProducerContext for Noting {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        match result {
            Ok(message) => {
                let value = message
                    .payload()
                    .map(String::from_utf8_lossy)
                    .unwrap_or_default();
                self.history.acknowledged(
                    message.topic(),
                    message.partition(),
                    message.offset(),
                    &value,
                    0,
                );
            }
            Err((error, _)) => {
                *self.refused.lock().unwrap_or_else(PoisonError::into_inner) =
                    Some(error.to_string());
            }
        }
    }
}
