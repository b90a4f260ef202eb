//! Where a partition's log starts and ends. The end that ListOffsets answers is the high watermark; acks=1 records
//! lie above it, so whoever must not lose them asks for the true end (DESIGN section 4).

use std::collections::HashMap;
use std::time::Duration;

use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::offset_for_leader_epoch_request::{
    OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use kafka_protocol::messages::{
    BrokerId, ListOffsetsRequest, OffsetForLeaderEpochRequest, TopicName,
};
use kafka_protocol::protocol::StrBytes;

use super::cluster::{Cluster, Target};
use crate::error::{Error, Kind, Result};
use crate::words::{TopicPartition, UpstreamNode};

const TIMEOUT: Duration = Duration::from_secs(5);

/// What ListOffsets is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OffsetAt {
    /// The log start offset.
    LogStart,
    /// The high watermark.
    HighWatermark,
    /// The last stable offset.
    LastStable,
}

/// A partition's true end, with the leader epoch under which it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogEnd {
    /// The offset that the next record gets.
    pub offset: i64,
    /// Two reads agree only under the same epoch.
    pub leader_epoch: i32,
}

type ByLeader = HashMap<UpstreamNode, Vec<(TopicPartition, i32)>>;

impl Cluster {
    fn by_leader(&self, partitions: &[TopicPartition]) -> Result<ByLeader> {
        let view = self.view();
        let mut by_leader = ByLeader::new();
        for at in partitions {
            let (leader, epoch) = view.leader_and_epoch(at).ok_or_else(|| {
                Error::kafka(self.side(), 5, format!("partition {at} has no leader"))
            })?;
            by_leader
                .entry(leader)
                .or_default()
                .push((at.clone(), epoch));
        }
        Ok(by_leader)
    }

    /// The offsets that the leaders answer, one request per leader.
    pub async fn list_offsets(
        &self,
        partitions: &[TopicPartition],
        what: OffsetAt,
    ) -> Result<HashMap<TopicPartition, i64>> {
        self.list_offsets_as(partitions, what, -1).await
    }

    async fn list_offsets_as(
        &self,
        partitions: &[TopicPartition],
        what: OffsetAt,
        replica: i32,
    ) -> Result<HashMap<TopicPartition, i64>> {
        let (timestamp, isolation) = match what {
            OffsetAt::LogStart => (-2, 0),
            OffsetAt::HighWatermark => (-1, 0),
            OffsetAt::LastStable => (-1, 1),
        };
        let mut found = HashMap::with_capacity(partitions.len());
        for (leader, list) in self.by_leader(partitions)? {
            let topics = grouped(&list).into_iter().map(|(topic, list)| {
                let partitions = list.iter().map(|(partition, _)| {
                    ListOffsetsPartition::default()
                        .with_partition_index(*partition)
                        .with_timestamp(timestamp)
                });
                ListOffsetsTopic::default()
                    .with_name(topic_name(topic))
                    .with_partitions(partitions.collect())
            });
            let request = ListOffsetsRequest::default()
                .with_replica_id(BrokerId(replica))
                .with_isolation_level(isolation)
                .with_topics(topics.collect());
            let answer = self
                .call_within(Target::Broker(leader), &request, TIMEOUT)
                .await?;
            for topic in answer.topics {
                for partition in topic.partitions {
                    let at = TopicPartition::new(topic.name.as_str(), partition.partition_index);
                    if partition.error_code != 0 {
                        return Err(Error::kafka(
                            self.side(),
                            partition.error_code,
                            format!("asking for offsets of {at}"),
                        ));
                    }
                    found.insert(at, partition.offset);
                }
            }
        }
        self.all_answered(partitions, found)
    }

    /// The true ends: OffsetForLeaderEpoch for the current leader epoch; where the log has no epochs (magic 0 and
    /// 1), ListOffsets with replica id 0, which answers the log end to anyone with DESCRIBE.
    pub async fn true_ends(
        &self,
        partitions: &[TopicPartition],
    ) -> Result<HashMap<TopicPartition, LogEnd>> {
        let mut found = HashMap::with_capacity(partitions.len());
        let mut without_epochs = Vec::new();
        for (leader, list) in self.by_leader(partitions)? {
            let topics = grouped(&list).into_iter().map(|(topic, list)| {
                let partitions = list.iter().map(|(partition, epoch)| {
                    OffsetForLeaderPartition::default()
                        .with_partition(*partition)
                        .with_current_leader_epoch(*epoch)
                        .with_leader_epoch(*epoch)
                });
                OffsetForLeaderTopic::default()
                    .with_topic(topic_name(topic))
                    .with_partitions(partitions.collect())
            });
            let request = OffsetForLeaderEpochRequest::default()
                .with_replica_id(BrokerId(-1))
                .with_topics(topics.collect());
            let answer = self
                .call_within(Target::Broker(leader), &request, TIMEOUT)
                .await?;
            for topic in answer.topics {
                for partition in topic.partitions {
                    let at = TopicPartition::new(topic.topic.as_str(), partition.partition);
                    if partition.error_code != 0 {
                        return Err(Error::kafka(
                            self.side(),
                            partition.error_code,
                            format!("asking for the end of {at}"),
                        ));
                    }
                    if partition.end_offset < 0 {
                        without_epochs.push(at);
                        continue;
                    }
                    let epoch = list
                        .iter()
                        .find(|(known, _)| *known == at)
                        .map_or(-1, |(_, epoch)| *epoch);
                    found.insert(
                        at,
                        LogEnd {
                            offset: partition.end_offset,
                            leader_epoch: epoch,
                        },
                    );
                }
            }
        }
        if !without_epochs.is_empty() {
            let ends = self
                .list_offsets_as(&without_epochs, OffsetAt::HighWatermark, 0)
                .await?;
            found.extend(ends.into_iter().map(|(at, offset)| {
                (
                    at,
                    LogEnd {
                        offset,
                        leader_epoch: -1,
                    },
                )
            }));
        }
        self.all_answered(partitions, found)
    }

    fn all_answered<T>(
        &self,
        asked: &[TopicPartition],
        found: HashMap<TopicPartition, T>,
    ) -> Result<HashMap<TopicPartition, T>> {
        match asked.iter().find(|at| !found.contains_key(*at)) {
            None => Ok(found),
            Some(at) => Err(Error::new(
                self.side(),
                Kind::Malformed,
                format!("the broker's answer about offsets leaves out {at}"),
            )),
        }
    }
}

/// By topic, since the requests nest partitions in topics.
fn grouped(list: &[(TopicPartition, i32)]) -> HashMap<&str, Vec<(i32, i32)>> {
    let mut topics: HashMap<&str, Vec<(i32, i32)>> = HashMap::new();
    for (at, epoch) in list {
        topics
            .entry(&at.topic)
            .or_default()
            .push((at.partition, *epoch));
    }
    topics
}

fn topic_name(name: &str) -> TopicName {
    TopicName(StrBytes::from_string(name.to_owned()))
}
