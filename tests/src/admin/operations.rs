//! What tests do to a cluster: create topics, look at leaders and log ranges, delete records, read committed
//! offsets.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::delete_records_request::{
    DeleteRecordsPartition, DeleteRecordsTopic,
};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestGroup;
use kafka_protocol::messages::{
    BrokerId, CreateTopicsRequest, DeleteRecordsRequest, FindCoordinatorRequest, GroupId,
    ListOffsetsRequest, MetadataRequest, MetadataResponse, OffsetFetchRequest, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use tokio::time::Instant;

use super::Connection;

/// How long brokers may take to do what they were asked.
const BROKER_TIMEOUT_MS: i32 = 20_000;
/// How long a state (leaders, replicas, a coordinator) may take to appear.
const SETTLE_DEADLINE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(100);
/// ListOffsets timestamps with a meaning of their own.
const EARLIEST: i64 = -2;
const LATEST: i64 = -1;
const METADATA_VERSION: i16 = 9;
const TOPIC_ALREADY_EXISTS: i16 = 36;

/// The offsets a partition holds: from `start` (included) to `end` (the high watermark, not included).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogRange {
    /// The log start offset.
    pub start: i64,
    /// The high watermark.
    pub end: i64,
}

/// A partition's leader and how many of its replicas are in sync.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Partition {
    /// Its index.
    pub index: i32,
    /// Node id of the leader.
    pub leader: i32,
    /// The leader's address.
    pub address: SocketAddr,
    /// All replicas.
    pub replicas: usize,
    /// Replicas in sync.
    pub in_sync: usize,
}

/// A client for one cluster (or for Lockgate, which looks like one).
#[derive(Debug, Clone)]
pub struct Admin {
    bootstrap: Vec<SocketAddr>,
}

impl Admin {
    /// A client that asks the first of these addresses that answers.
    #[must_use]
    pub fn new(bootstrap: Vec<SocketAddr>) -> Self {
        Self { bootstrap }
    }

    /// Node ids of the brokers that are alive, in order.
    ///
    /// # Errors
    /// When no broker answers.
    pub async fn live_brokers(&self) -> Result<Vec<i32>> {
        let metadata = self.metadata(Some(&[])).await?;
        let mut ids: Vec<i32> = metadata
            .brokers
            .iter()
            .map(|broker| broker.node_id.0)
            .collect();
        ids.sort_unstable();
        Ok(ids)
    }

    /// Whether every broker that answers sees exactly `count` live brokers.
    pub async fn all_see_brokers(&self, count: usize) -> bool {
        let views = self.views().await;
        for view in &views {
            if !view
                .live_brokers()
                .await
                .is_ok_and(|alive| alive.len() == count)
            {
                return false;
            }
        }
        !views.is_empty()
    }

    /// One client per bootstrap address that takes connections: a broker that has just started answers from
    /// metadata that may be older than its own death, so a state is reached only when all of them show it.
    async fn views(&self) -> Vec<Self> {
        let mut views = Vec::new();
        for address in &self.bootstrap {
            if Connection::open(*address).await.is_ok() {
                views.push(Self::new(vec![*address]));
            }
        }
        views
    }

    /// Metadata of `topics`, or of all when `None`.
    ///
    /// # Errors
    /// When no broker answers.
    pub async fn metadata(&self, topics: Option<&[&str]>) -> Result<MetadataResponse> {
        let topics = topics.map(|names| {
            names
                .iter()
                .map(|name| MetadataRequestTopic::default().with_name(Some(topic_name(name))))
                .collect()
        });
        let request = MetadataRequest::default()
            .with_topics(topics)
            .with_allow_auto_topic_creation(false);
        self.connect().await?.call(&request, METADATA_VERSION).await
    }

    /// Creates a topic and waits until every partition has a leader and all replicas. An existing one is fine.
    ///
    /// # Errors
    /// When the cluster refuses or the leaders do not appear.
    pub async fn create_topic(
        &self,
        name: &str,
        partitions: i32,
        replication: i16,
        configs: &[(&str, &str)],
    ) -> Result<()> {
        let configs = configs
            .iter()
            .map(|(key, value)| {
                CreatableTopicConfig::default()
                    .with_name(text(key))
                    .with_value(Some(text(value)))
            })
            .collect();
        let topic = CreatableTopic::default()
            .with_name(topic_name(name))
            .with_num_partitions(partitions)
            .with_replication_factor(replication)
            .with_configs(configs);
        let request = CreateTopicsRequest::default()
            .with_topics(vec![topic])
            .with_timeout_ms(BROKER_TIMEOUT_MS);
        let answer = self.connect().await?.call(&request, 5).await?;
        let result = answer
            .topics
            .first()
            .context("CreateTopics was answered without a topic")?;
        if result.error_code != 0 && result.error_code != TOPIC_ALREADY_EXISTS {
            bail!(
                "creating {name} failed with error {}: {:?}",
                result.error_code,
                result.error_message
            );
        }
        self.wait_in_sync(name).await
    }

    /// Waits until every partition of a topic has a leader and all its replicas in sync.
    ///
    /// # Errors
    /// When that does not come to pass.
    pub async fn wait_in_sync(&self, topic: &str) -> Result<()> {
        let end = Instant::now() + SETTLE_DEADLINE;
        loop {
            let mut last = Err(anyhow!("no broker answers"));
            let mut agreed = false;
            for view in self.views().await {
                last = view.partitions(topic).await;
                agreed = last.as_ref().is_ok_and(|all| {
                    all.iter()
                        .all(|partition| partition.in_sync == partition.replicas)
                });
                if !agreed {
                    break;
                }
            }
            if agreed {
                return Ok(());
            }
            if Instant::now() >= end {
                bail!("{topic} is not in sync after {SETTLE_DEADLINE:?}: {last:?}");
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// The partitions of a topic with their leaders, in order.
    ///
    /// # Errors
    /// When the topic is unknown or a partition has no leader.
    pub async fn partitions(&self, topic: &str) -> Result<Vec<Partition>> {
        let metadata = self.metadata(Some(&[topic])).await?;
        let brokers: BTreeMap<i32, SocketAddr> = metadata
            .brokers
            .iter()
            .filter_map(|broker| Some((broker.node_id.0, self.past_relays(broker.port)?)))
            .collect();
        let found = metadata
            .topics
            .first()
            .with_context(|| format!("no metadata for {topic}"))?;
        if found.error_code != 0 {
            bail!("{topic} has error {}", found.error_code);
        }
        let mut partitions = Vec::with_capacity(found.partitions.len());
        for partition in &found.partitions {
            let (index, leader) = (partition.partition_index, partition.leader_id.0);
            let address = *brokers
                .get(&leader)
                .ok_or_else(|| anyhow!("{topic}-{index} has no live leader"))?;
            let (replicas, in_sync) = (partition.replica_nodes.len(), partition.isr_nodes.len());
            partitions.push(Partition {
                index,
                leader,
                address,
                replicas,
                in_sync,
            });
        }
        partitions.sort_unstable_by_key(|partition| partition.index);
        Ok(partitions)
    }

    /// A connection to the leader of a partition.
    ///
    /// # Errors
    /// When there is none.
    pub async fn connect_leader(&self, topic: &str, partition: i32) -> Result<Connection> {
        let partitions = self.partitions(topic).await?;
        let place = partitions.iter().find(|place| place.index == partition);
        Connection::open(
            place
                .with_context(|| format!("{topic} has no partition {partition}"))?
                .address,
        )
        .await
    }

    /// Log start and high watermark of one partition.
    ///
    /// # Errors
    /// When its leader does not answer.
    pub async fn log_range(&self, topic: &str, partition: i32) -> Result<LogRange> {
        let mut leader = self.connect_leader(topic, partition).await?;
        let start = list_offset(&mut leader, topic, partition, EARLIEST).await?;
        let end = list_offset(&mut leader, topic, partition, LATEST).await?;
        Ok(LogRange { start, end })
    }

    /// Log start and high watermark of every partition of a topic, in order.
    ///
    /// # Errors
    /// When a leader does not answer.
    pub async fn log_ranges(&self, topic: &str) -> Result<Vec<LogRange>> {
        let mut ranges = Vec::new();
        for place in self.partitions(topic).await? {
            let mut leader = Connection::open(place.address).await?;
            let start = list_offset(&mut leader, topic, place.index, EARLIEST).await?;
            let end = list_offset(&mut leader, topic, place.index, LATEST).await?;
            ranges.push(LogRange { start, end });
        }
        Ok(ranges)
    }

    /// Deletes the records before `offset`; returns the new log start.
    ///
    /// # Errors
    /// When the leader refuses.
    pub async fn delete_records(&self, topic: &str, partition: i32, offset: i64) -> Result<i64> {
        let asked = DeleteRecordsPartition::default()
            .with_partition_index(partition)
            .with_offset(offset);
        let asked = DeleteRecordsTopic::default()
            .with_name(topic_name(topic))
            .with_partitions(vec![asked]);
        let request = DeleteRecordsRequest::default()
            .with_topics(vec![asked])
            .with_timeout_ms(BROKER_TIMEOUT_MS);
        let answer = self
            .connect_leader(topic, partition)
            .await?
            .call(&request, 2)
            .await?;
        let result = answer
            .topics
            .first()
            .and_then(|topic| topic.partitions.first());
        let result = result.context("DeleteRecords was answered without a partition")?;
        if result.error_code != 0 {
            bail!(
                "deleting records of {topic}-{partition} failed with error {}",
                result.error_code
            );
        }
        Ok(result.low_watermark)
    }

    /// The offsets a group has committed, by topic and partition.
    ///
    /// # Errors
    /// When its coordinator does not answer in time.
    pub async fn committed_offsets(&self, group: &str) -> Result<BTreeMap<(String, i32), i64>> {
        let mut coordinator = Connection::open(self.coordinator(group).await?).await?;
        let asked = OffsetFetchRequestGroup::default()
            .with_group_id(GroupId(text(group)))
            .with_topics(None);
        let request = OffsetFetchRequest::default()
            .with_groups(vec![asked])
            .with_require_stable(true);
        let answer = coordinator.call(&request, 8).await?;
        let found = answer
            .groups
            .first()
            .context("OffsetFetch was answered without a group")?;
        if found.error_code != 0 {
            bail!(
                "reading the offsets of {group} failed with error {}",
                found.error_code
            );
        }
        let partitions = found.topics.iter().flat_map(|topic| {
            let name = topic.name.0.to_string();
            topic
                .partitions
                .iter()
                .map(move |at| ((name.clone(), at.partition_index), at.committed_offset))
        });
        Ok(partitions.filter(|(_, offset)| *offset >= 0).collect())
    }

    /// The address of a group's coordinator; a new cluster takes a moment to have one.
    ///
    /// # Errors
    /// When there is none in time.
    pub async fn coordinator(&self, group: &str) -> Result<SocketAddr> {
        let end = Instant::now() + SETTLE_DEADLINE;
        let request = FindCoordinatorRequest::default().with_coordinator_keys(vec![text(group)]);
        loop {
            let answer = self.connect().await?.call(&request, 4).await?;
            let found = answer
                .coordinators
                .first()
                .context("FindCoordinator was answered without a coordinator")?;
            if found.error_code == 0 && found.node_id != BrokerId(-1) {
                return self
                    .past_relays(found.port)
                    .context("the coordinator's address");
            }
            if Instant::now() >= end {
                bail!(
                    "group {group} has no coordinator after {SETTLE_DEADLINE:?}: error {}",
                    found.error_code
                );
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// A broker's own address: relays sit on another loopback address with the same ports.
    fn past_relays(&self, port: i32) -> Option<SocketAddr> {
        let port = u16::try_from(port).ok()?;
        self.bootstrap
            .first()
            .map(|address| SocketAddr::new(address.ip(), port))
    }

    /// A connection to the first bootstrap address that answers.
    ///
    /// # Errors
    /// When none does.
    pub async fn connect(&self) -> Result<Connection> {
        let mut last = anyhow!("there is no bootstrap address");
        for address in &self.bootstrap {
            match Connection::open(*address).await {
                Ok(connection) => return Ok(connection),
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

async fn list_offset(
    leader: &mut Connection,
    topic: &str,
    partition: i32,
    timestamp: i64,
) -> Result<i64> {
    let asked = ListOffsetsPartition::default()
        .with_partition_index(partition)
        .with_timestamp(timestamp);
    let asked = ListOffsetsTopic::default()
        .with_name(topic_name(topic))
        .with_partitions(vec![asked]);
    let request = ListOffsetsRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_topics(vec![asked]);
    let answer = leader.call(&request, 5).await?;
    let found = answer
        .topics
        .first()
        .and_then(|topic| topic.partitions.first());
    let found = found.context("ListOffsets was answered without a partition")?;
    if found.error_code != 0 {
        bail!(
            "ListOffsets of {topic}-{partition} failed with error {}",
            found.error_code
        );
    }
    Ok(found.offset)
}

pub(crate) fn topic_name(name: &str) -> TopicName {
    TopicName(text(name))
}

fn text(value: &str) -> StrBytes {
    StrBytes::from_string(value.to_owned())
}
