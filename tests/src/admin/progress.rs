//! How far a topic has grown, asked often and cheaply; and its end.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::{BrokerId, DeleteTopicsRequest, ListOffsetsRequest};
use tokio::time::Instant;

use super::{Admin, Connection, topic_name};

const LATEST: i64 = -1;
const BROKER_TIMEOUT_MS: i32 = 20_000;
const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
/// How long a deleted topic may be seen.
const DELETE_DEADLINE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(100);

/// The high watermarks of a topic whose leaders are all on one broker: one request tells all.
#[derive(Debug)]
pub struct Progress {
    connection: Connection,
    request: ListOffsetsRequest,
}

impl Progress {
    /// Watches `topic` with this many partitions on a cluster of one broker.
    ///
    /// # Errors
    /// When the broker does not answer.
    pub async fn of(admin: &Admin, topic: &str, partitions: i32) -> Result<Self> {
        let asked = (0..partitions).map(|partition| {
            ListOffsetsPartition::default()
                .with_partition_index(partition)
                .with_timestamp(LATEST)
        });
        let topic = ListOffsetsTopic::default()
            .with_name(topic_name(topic))
            .with_partitions(asked.collect());
        Ok(Self {
            connection: admin.connect().await?,
            request: ListOffsetsRequest::default()
                .with_replica_id(BrokerId(-1))
                .with_topics(vec![topic]),
        })
    }

    /// The high watermark of every partition, in order; 0 where there is none yet.
    ///
    /// # Errors
    /// When the broker does not answer.
    pub async fn ends(&mut self) -> Result<Vec<i64>> {
        let answer = self.connection.call(&self.request, 5).await?;
        let topic = answer.topics.into_iter().next();
        let mut partitions = topic
            .context("ListOffsets was answered without a topic")?
            .partitions;
        partitions.sort_unstable_by_key(|partition| partition.partition_index);
        Ok(partitions
            .iter()
            .map(|partition| partition.offset.max(0))
            .collect())
    }
}

impl Admin {
    /// Deletes a topic and waits until it is gone; one that is not there is fine.
    ///
    /// # Errors
    /// When the cluster refuses or the topic stays.
    pub async fn delete_topic(&self, name: &str) -> Result<()> {
        let request = DeleteTopicsRequest::default()
            .with_topic_names(vec![topic_name(name)])
            .with_timeout_ms(BROKER_TIMEOUT_MS);
        let answer = self.connect().await?.call(&request, 5).await?;
        let result = answer.responses.first();
        let code = result.map_or(0, |result| result.error_code);
        if code != 0 && code != UNKNOWN_TOPIC_OR_PARTITION {
            bail!("deleting {name} failed with error {code}");
        }
        let end = Instant::now() + DELETE_DEADLINE;
        while self.partitions(name).await.is_ok() {
            if Instant::now() >= end {
                bail!("{name} is still there after {DELETE_DEADLINE:?}");
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }
}
