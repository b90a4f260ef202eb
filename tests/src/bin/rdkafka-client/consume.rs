//! The consumer: prints every record, then commits what it printed, synchronously, like Kafka's tool.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, Rebalance};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::{ClientContext, Offset, TopicPartitionList};
use serde_json::{Value, json};

use crate::arguments::{ConsumerArguments, settings};
use crate::events;

/// How long a poll waits for the first record.
const POLL: Duration = Duration::from_millis(100);
/// Records printed between two commits, at most.
const BATCH: usize = 500;

/// Rebalances and what is printed but not committed yet.
#[derive(Default)]
struct Membership {
    uncommitted: Mutex<BTreeMap<(String, i32), i64>>,
}

impl Membership {
    fn printed(&self, message: &BorrowedMessage<'_>) {
        let mut uncommitted = self
            .uncommitted
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        uncommitted.insert(
            (message.topic().to_owned(), message.partition()),
            message.offset() + 1,
        );
    }

    fn commit(&self, consumer: &BaseConsumer<Self>) {
        let offsets = std::mem::take(
            &mut *self
                .uncommitted
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        );
        if offsets.is_empty() {
            return;
        }
        let mut list = TopicPartitionList::new();
        for ((topic, partition), offset) in offsets {
            // Refused only for offsets below -1001; these come from records.
            let _ = list.add_partition_offset(&topic, partition, Offset::Offset(offset));
        }
        match consumer.commit(&list, CommitMode::Sync) {
            Ok(()) => events::print("offsets_committed", json!({ "success": true })),
            Err(error) => events::print(
                "offsets_committed",
                json!({ "success": false, "error": error.to_string() }),
            ),
        }
    }
}

impl ClientContext for Membership {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        events::log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        events::error(&error, reason);
    }
}

impl ConsumerContext for Membership {
    fn pre_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        match rebalance {
            Rebalance::Assign(_) => {}
            Rebalance::Revoke(partitions) => {
                let lost = consumer.assignment_lost();
                if !lost {
                    self.commit(consumer);
                }
                let name = if lost {
                    "partitions_lost"
                } else {
                    "partitions_revoked"
                };
                events::print(name, json!({ "partitions": places(partitions) }));
            }
            Rebalance::Error(error) => events::error(error, "rebalance"),
        }
    }

    fn post_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if let Rebalance::Assign(partitions) = rebalance {
            events::print(
                "partitions_assigned",
                json!({ "partitions": places(partitions) }),
            );
        }
    }
}

fn places(partitions: &TopicPartitionList) -> Vec<Value> {
    let elements = partitions.elements();
    elements
        .iter()
        .map(|at| json!({ "topic": at.topic(), "partition": at.partition() }))
        .collect()
}

/// Consumes until told to stop.
pub(crate) fn run(arguments: &ConsumerArguments, stop: &AtomicBool) -> Result<()> {
    let mut config = settings(arguments.config.as_deref())?;
    config
        .set("bootstrap.servers", &arguments.bootstrap_server)
        .set("group.id", &arguments.group_id)
        .set("auto.offset.reset", &arguments.reset_policy)
        .set("enable.auto.commit", "false");
    if config.get("partition.assignment.strategy").is_none() {
        config.set("partition.assignment.strategy", "range");
    }
    if let Some(id) = &arguments.group_instance_id {
        config.set("group.instance.id", id);
    }
    config.set_log_level(RDKafkaLogLevel::Info);
    let consumer: BaseConsumer<Membership> = config.create_with_context(Membership::default())?;
    consumer.subscribe(&[&arguments.topic])?;
    events::print("startup_complete", json!({}));
    while !stop.load(Ordering::Acquire) {
        drain(&consumer);
        consumer.context().commit(&consumer);
    }
    consumer.unsubscribe();
    drop(consumer);
    events::print("shutdown_complete", json!({}));
    Ok(())
}

/// Prints what is there, up to a batch.
fn drain(consumer: &BaseConsumer<Membership>) {
    let mut wait = POLL;
    for _ in 0..BATCH {
        match consumer.poll(wait) {
            None => return,
            Some(Ok(message)) => {
                print(&message);
                consumer.context().printed(&message);
            }
            // The source of a poll error has reported itself through the error callback unless it is one of these.
            Some(Err(KafkaError::MessageConsumption(RDKafkaErrorCode::PartitionEOF))) => {}
            Some(Err(error)) => events::error(&error, "poll"),
        }
        wait = Duration::ZERO;
    }
}

fn print(message: &BorrowedMessage<'_>) {
    let text =
        |bytes: Option<&[u8]>| bytes.map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    events::print(
        "record_data",
        json!({
            "key": text(message.key()), "value": text(message.payload()), "topic": message.topic(),
            "partition": message.partition(), "offset": message.offset(),
        }),
    );
}
