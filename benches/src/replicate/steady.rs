//! The delay at a steady rate: one producer at the source, one consumer at each cluster. The consumer of the source is
//! the plain produce-and-fetch loop that the other is compared with.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use lockgate_tests::admin::Progress;
use lockgate_tests::kafka::Pair;
use rdkafka::Message;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::BaseRecord;
use rdkafka::{Offset, TopicPartitionList};

use super::Work;
use super::report::Figures;
use crate::load::{self, ProduceLoad};
use crate::stats::percentile;

/// Payload per second.
const RATE: f64 = 10e6;
/// How often records are handed over: few at a time, as applications do.
const BEAT: Duration = Duration::from_millis(2);
/// What is produced first and not counted: connections, leaders, the copier's turn from bulk to trickle.
const SETTLE: Duration = Duration::from_secs(3);
/// How long the last record may take to arrive.
const LATE_MAX: Duration = Duration::from_secs(30);
/// librdkafka's own default.
const LINGER_MS: &str = "5";

/// Delays from handing a record to the producer until a consumer has it, at both clusters. Everything that the topic
/// held before is copied already.
pub async fn measure(pair: &Pair, work: &Work, lasting: Duration) -> Result<Figures> {
    let ends = Progress::of(&pair.source.admin(), work.topic, work.partitions)
        .await?
        .ends()
        .await?;
    let (source, destination) = (pair.source.bootstrap(), pair.destination.bootstrap());
    let work = *work;
    tokio::task::spawn_blocking(move || run(&source, &destination, &work, &ends, lasting)).await?
}

fn run(
    source: &str,
    destination: &str,
    work: &Work,
    ends: &[i64],
    lasting: Duration,
) -> Result<Figures> {
    let epoch = Instant::now();
    let records = ((SETTLE + lasting).as_secs_f64() * RATE / load::RECORD_BYTES as f64) as u64;
    let given_up = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = [source, destination]
        .map(|bootstrap| consumer(bootstrap, work, ends))
        .into_iter()
        .map(|consumer| {
            let given_up = given_up.clone();
            let consumer = consumer?;
            let reading = move || read(&consumer, records, epoch, &given_up);
            Ok(std::thread::spawn(reading))
        })
        .collect::<Result<_>>()?;
    let produced = produce(source, work, records, epoch);
    given_up.store(produced.is_err(), Ordering::Relaxed);
    let mut delays = Vec::new();
    for reader in readers {
        let read = reader.join().map_err(|_| anyhow!("a reader panicked"))?;
        delays.push(read?);
    }
    produced?;
    let [plain, copied] = [&delays[0], &delays[1]];
    let at = |delays: &[f64], percent| percentile(delays, percent).into_iter().collect();
    Ok(Figures {
        plain_p50_ms: at(plain, 50.0),
        plain_p99_ms: at(plain, 99.0),
        p50_ms: at(copied, 50.0),
        p99_ms: at(copied, 99.0),
        ..Figures::default()
    })
}

/// Each value begins with the microseconds since `epoch` at which it was handed over.
fn produce(bootstrap: &str, work: &Work, records: u64, epoch: Instant) -> Result<()> {
    let load = ProduceLoad {
        name: "steady",
        acks: "all",
        batch_bytes: 65_536,
        codec: "none",
    };
    let (producer, deliveries) = load::producer(bootstrap, &load, LINGER_MS)?;
    let pool = load::pool();
    let start = Instant::now();
    let mut sent = 0;
    while sent < records {
        let due = (start.elapsed().as_secs_f64() * RATE / load::RECORD_BYTES as f64) as u64;
        while sent < due.min(records) {
            let mut value = load::value(&pool, sent).to_vec();
            let now = epoch.elapsed().as_micros() as u64;
            value[..8].copy_from_slice(&now.to_be_bytes());
            let record = BaseRecord::with_opaque_to(work.topic, Box::new(None))
                .partition((sent % u64::from(work.partitions.unsigned_abs())) as i32)
                .payload(&value[..]);
            load::hand_over(&producer, record, start)?;
            sent += 1;
        }
        std::thread::sleep(BEAT);
    }
    load::flush(&producer, &deliveries, records, start)
}

fn consumer(bootstrap: &str, work: &Work, from: &[i64]) -> Result<BaseConsumer> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("group.id", "bench-steady")
        .set("enable.auto.commit", "false")
        .create()?;
    let mut assignment = TopicPartitionList::new();
    for (partition, offset) in (0..).zip(from) {
        assignment.add_partition_offset(work.topic, partition, Offset::Offset(*offset))?;
    }
    consumer.assign(&assignment)?;
    Ok(consumer)
}

/// Milliseconds from handing over to here of every record behind [`SETTLE`].
fn read(
    consumer: &BaseConsumer,
    records: u64,
    epoch: Instant,
    given_up: &AtomicBool,
) -> Result<Vec<f64>> {
    let mut delays = Vec::with_capacity(records as usize);
    let mut last = Instant::now();
    let mut first_sent = None;
    for _ in 0..records {
        let message = loop {
            if let Some(message) = consumer.poll(Duration::from_millis(100)) {
                break message?;
            }
            if last.elapsed() > LATE_MAX || given_up.load(Ordering::Relaxed) {
                let seen = delays.len();
                return Err(anyhow!("of {records} records only {seen} arrived"));
            }
        };
        last = Instant::now();
        let now = epoch.elapsed().as_micros() as u64;
        let head = message.payload().and_then(|value| value.first_chunk());
        let sent = u64::from_be_bytes(*head.context("a record without its time")?);
        let begun = *first_sent.get_or_insert(sent);
        if sent >= begun + SETTLE.as_micros() as u64 {
            delays.push(now.saturating_sub(sent) as f64 / 1e3);
        }
    }
    Ok(delays)
}
