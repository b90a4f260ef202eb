//! The producer: values `<prefix>.<counter>` at a steady rate, one event per delivery report.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};
use serde_json::json;

use crate::arguments::{ProducerArguments, settings};
use crate::events;

/// How often the rate is looked at.
const TICK: Duration = Duration::from_millis(5);
/// How long a flush at the end may take.
const FLUSH_DEADLINE: Duration = Duration::from_secs(30);

/// Prints delivery reports and logs.
#[derive(Default)]
struct Reports {
    acknowledged: AtomicU64,
}

impl ClientContext for Reports {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        events::log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        events::error(&error, reason);
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let value = |message: &rdkafka::message::BorrowedMessage<'_>| {
            String::from_utf8_lossy(message.payload().unwrap_or_default()).into_owned()
        };
        match result {
            Ok(message) => {
                self.acknowledged.fetch_add(1, Ordering::Relaxed);
                events::print(
                    "producer_send_success",
                    json!({
                        "value": value(message), "topic": message.topic(),
                        "partition": message.partition(), "offset": message.offset(),
                    }),
                );
            }
            Err((error, message)) => events::print(
                "producer_send_error",
                json!({ "value": value(message), "topic": message.topic(), "message": error.to_string() }),
            ),
        }
    }
}

/// Produces until told to stop or until the asked number is sent.
pub(crate) fn run(arguments: &ProducerArguments, stop: &AtomicBool) -> Result<()> {
    let mut config = settings(arguments.config.as_deref())?;
    config
        .set("bootstrap.servers", &arguments.bootstrap_server)
        .set("acks", &arguments.acks);
    config.set_log_level(RDKafkaLogLevel::Info);
    let producer: ThreadedProducer<Reports> = config.create_with_context(Reports::default())?;
    events::print("startup_complete", json!({}));
    let began = Instant::now();
    let mut sent = 0_u64;
    while !stop.load(Ordering::Acquire) && !reached(sent, arguments.max_messages) {
        if is_ahead(sent, arguments.throughput, began.elapsed()) {
            std::thread::sleep(TICK);
            continue;
        }
        if send(&producer, arguments, sent)? {
            sent += 1;
        } else {
            std::thread::sleep(TICK);
        }
    }
    let flushed = producer.flush(FLUSH_DEADLINE);
    let acknowledged = producer.context().acknowledged.load(Ordering::Relaxed);
    events::print("shutdown_complete", json!({}));
    events::print("tool_data", json!({ "sent": sent, "acked": acknowledged }));
    flushed.map_err(|error| anyhow!("not everything was delivered: {error}"))
}

/// Queues record number `counter`; `false` when the queue is full.
fn send(
    producer: &ThreadedProducer<Reports>,
    arguments: &ProducerArguments,
    counter: u64,
) -> Result<bool> {
    let value = format!("{}.{counter}", arguments.value_prefix);
    let key = arguments
        .repeating_keys
        .map(|keys| (counter % keys.max(1)).to_string());
    let mut record = BaseRecord::<str, str>::to(&arguments.topic).payload(&value);
    if let Some(key) = &key {
        record = record.key(key);
    }
    match producer.send(record) {
        Ok(()) => Ok(true),
        Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => Ok(false),
        Err((error, _)) => Err(error.into()),
    }
}

fn reached(sent: u64, limit: i64) -> bool {
    u64::try_from(limit).is_ok_and(|limit| sent >= limit)
}

/// Whether more was sent than the rate allows by now; a negative rate allows everything.
fn is_ahead(sent: u64, per_second: i64, elapsed: Duration) -> bool {
    u64::try_from(per_second).is_ok_and(|rate| sent as f64 >= elapsed.as_secs_f64() * rate as f64)
}
