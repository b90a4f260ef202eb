//! The work: librdkafka produces or consumes a fixed amount, so that its own cost is the same for every target.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};
use rdkafka::{ClientContext, Offset, TopicPartitionList};

/// Bytes of one record's value.
pub const RECORD_BYTES: usize = 1024;
/// How long one run may take before it is given up.
const RUN_MAX: Duration = Duration::from_secs(120);

/// One kind of Produce load.
#[derive(Debug, Clone, Copy)]
pub struct ProduceLoad {
    /// Appears in the table.
    pub name: &'static str,
    /// `acks`.
    pub acks: &'static str,
    /// `batch.size`.
    pub batch_bytes: usize,
    /// `compression.type`.
    pub codec: &'static str,
}

/// What one run did.
#[derive(Debug, Clone, Copy)]
pub struct Run {
    /// Payload bytes, uncompressed, counted once.
    pub bytes: u64,
    /// Wall time.
    pub seconds: f64,
}

impl Run {
    /// Payload per second, in MB (1e6 bytes).
    #[must_use]
    pub fn mb_per_s(&self) -> f64 {
        self.bytes as f64 / 1e6 / self.seconds
    }
}

#[derive(Debug, Default)]
pub(crate) struct Deliveries {
    acknowledged: AtomicU64,
    failed: Mutex<Option<KafkaError>>,
    latencies_ms: Mutex<Vec<f64>>,
}

#[derive(Debug, Clone)]
pub(crate) struct Count(Arc<Deliveries>);

impl ClientContext for Count {}

impl ProducerContext for Count {
    /// When the record was handed over; none where the latency is of no interest.
    type DeliveryOpaque = Box<Option<Instant>>;

    fn delivery(&self, result: &DeliveryResult<'_>, sent: Self::DeliveryOpaque) {
        match result {
            Ok(_) => {
                self.0.acknowledged.fetch_add(1, Ordering::Relaxed);
                if let Some(sent) = *sent {
                    lock(&self.0.latencies_ms).push(sent.elapsed().as_secs_f64() * 1e3);
                }
            }
            Err((error, _)) => *lock(&self.0.failed) = Some(error.clone()),
        }
    }
}

/// Produces `bytes` of payload as fast as it goes.
pub fn produce(bootstrap: &str, topic: &str, load: &ProduceLoad, bytes: u64) -> Result<Run> {
    let (producer, deliveries) = producer(bootstrap, load, "10")?;
    let pool = pool();
    let records = bytes / RECORD_BYTES as u64;
    let start = Instant::now();
    for index in 0..records {
        send(&producer, topic, value(&pool, index), None, start)?;
    }
    flush(&producer, &deliveries, records, start)?;
    Ok(Run {
        bytes: records * RECORD_BYTES as u64,
        seconds: start.elapsed().as_secs_f64(),
    })
}

/// Produces at a fixed rate with linger 0; every record's time from handing over to acknowledgement, in ms.
pub fn produce_at_rate(
    bootstrap: &str,
    topic: &str,
    bytes_per_s: f64,
    lasting: Duration,
) -> Result<Vec<f64>> {
    let load = ProduceLoad {
        name: "rate",
        acks: "all",
        batch_bytes: 65_536,
        codec: "none",
    };
    let (producer, deliveries) = producer(bootstrap, &load, "0")?;
    let pool = pool();
    let interval = RECORD_BYTES as f64 / bytes_per_s;
    let records = (lasting.as_secs_f64() / interval) as u64;
    let start = Instant::now();
    for index in 0..records {
        let due = start + Duration::from_secs_f64(index as f64 * interval);
        if let Some(wait) = due.checked_duration_since(Instant::now()) {
            std::thread::sleep(wait);
        }
        send(
            &producer,
            topic,
            value(&pool, index),
            Some(Instant::now()),
            start,
        )?;
    }
    flush(&producer, &deliveries, records, start)?;
    Ok(std::mem::take(&mut *lock(&deliveries.latencies_ms)))
}

/// Consumes `bytes` of payload from the start of the topic.
pub fn consume(bootstrap: &str, topic: &str, partitions: i32, bytes: u64) -> Result<Run> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("group.id", "bench")
        .set("client.id", "bench-consumer")
        .set("enable.auto.commit", "false")
        .set("fetch.message.max.bytes", "1048576")
        .set("check.crcs", "false")
        .set("queued.max.messages.kbytes", "65536")
        .create()?;
    let mut assignment = TopicPartitionList::new();
    for partition in 0..partitions {
        assignment.add_partition_offset(topic, partition, Offset::Beginning)?;
    }
    consumer.assign(&assignment)?;
    let mut read = 0_u64;
    // The clock starts with the first record: finding leaders is not what is measured.
    let mut start = None;
    let begun = Instant::now();
    while read < bytes {
        match consumer.poll(Duration::from_millis(200)) {
            Some(message) => {
                read += message?.payload_len() as u64;
                start.get_or_insert_with(Instant::now);
            }
            None if begun.elapsed() > RUN_MAX => {
                bail!("only {read} of {bytes} bytes could be read")
            }
            None => {}
        }
    }
    let seconds = start.context("nothing was read")?.elapsed().as_secs_f64();
    Ok(Run {
        bytes: read,
        seconds,
    })
}

pub(crate) fn producer(
    bootstrap: &str,
    load: &ProduceLoad,
    linger_ms: &str,
) -> Result<(ThreadedProducer<Count>, Arc<Deliveries>)> {
    let deliveries = Arc::new(Deliveries::default());
    let producer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("client.id", "bench-producer")
        .set("acks", load.acks)
        .set("batch.size", load.batch_bytes.to_string())
        .set("batch.num.messages", "1000000")
        .set("compression.type", load.codec)
        .set("linger.ms", linger_ms)
        .set("queue.buffering.max.kbytes", "65536")
        .create_with_context(Count(deliveries.clone()))?;
    Ok((producer, deliveries))
}

fn send(
    producer: &ThreadedProducer<Count>,
    topic: &str,
    value: &[u8],
    sent: Option<Instant>,
    start: Instant,
) -> Result<()> {
    let record = BaseRecord::with_opaque_to(topic, Box::new(sent)).payload(value);
    hand_over(producer, record, start)
}

/// Waits while the producer's queue is full.
pub(crate) fn hand_over(
    producer: &ThreadedProducer<Count>,
    mut record: BaseRecord<'_, (), [u8], Box<Option<Instant>>>,
    start: Instant,
) -> Result<()> {
    loop {
        match producer.send(record) {
            Ok(()) => return Ok(()),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back))
                if start.elapsed() < RUN_MAX =>
            {
                record = back;
                std::thread::sleep(Duration::from_millis(1));
            }
            Err((error, _)) => return Err(error).context("a record was not taken"),
        }
    }
}

pub(crate) fn flush(
    producer: &ThreadedProducer<Count>,
    deliveries: &Deliveries,
    records: u64,
    start: Instant,
) -> Result<()> {
    producer.flush(RUN_MAX.saturating_sub(start.elapsed()))?;
    if let Some(error) = lock(&deliveries.failed).take() {
        bail!("a record failed: {error}");
    }
    let acknowledged = deliveries.acknowledged.load(Ordering::Relaxed);
    if acknowledged != records {
        bail!("{acknowledged} of {records} records were acknowledged");
    }
    Ok(())
}

/// Where the values are cut from.
const POOL_BYTES: usize = 1 << 20;

/// Text that compresses about as well as JSON does, so that the codec's share is realistic. Every record is cut from
/// another place of it, or a batch would compress to one record.
pub(crate) fn pool() -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    (0..POOL_BYTES)
        .map(|index| {
            if index % 4 == 0 {
                return b'x';
            }
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            b'a' + (state % 16) as u8
        })
        .collect()
}

/// The value of record `index`.
pub(crate) fn value(pool: &[u8], index: u64) -> &[u8] {
    // A step that is odd and no divisor visits nearly every place before one comes again.
    let start = (index as usize).wrapping_mul(7_919) % (POOL_BYTES - RECORD_BYTES);
    &pool[start..start + RECORD_BYTES]
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
