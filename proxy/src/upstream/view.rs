//! What is known of a cluster at one moment: brokers, topics, leaders. Immutable; a refresh replaces the whole.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use kafka_protocol::messages::MetadataResponse;
use kafka_protocol::messages::metadata_response::MetadataResponseTopic;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::words::{TopicPartition, UpstreamNode};

/// Where a broker listens.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BrokerAddress {
    /// Host name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

impl fmt::Display for BrokerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl FromStr for BrokerAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || format!("{text:?} is not host:port");
        let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() {
            return Err(wrong());
        }
        Ok(Self {
            host: host.to_owned(),
            port: port.parse().map_err(|_| wrong())?,
        })
    }
}

impl TryFrom<String> for BrokerAddress {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<BrokerAddress> for String {
    fn from(address: BrokerAddress) -> Self {
        address.to_string()
    }
}

/// One partition's leader and replicas.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionView {
    /// None while the partition has no leader.
    pub leader: Option<UpstreamNode>,
    /// The leader's epoch; never shown to clients.
    pub leader_epoch: i32,
    /// All replicas.
    pub replicas: Vec<UpstreamNode>,
    /// Those in sync.
    pub isr: Vec<UpstreamNode>,
}

/// One topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicView {
    /// This cluster's id of the topic; nil where the brokers give none.
    pub id: Uuid,
    /// Kafka's own topic.
    pub internal: bool,
    /// By partition index.
    pub partitions: Vec<PartitionView>,
}

/// A cluster at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClusterView {
    /// Empty before first contact.
    pub cluster_id: String,
    /// Where topics are created.
    pub controller: Option<UpstreamNode>,
    /// The live brokers.
    pub brokers: BTreeMap<UpstreamNode, BrokerAddress>,
    /// By name.
    pub topics: HashMap<Arc<str>, Arc<TopicView>>,
}

impl ClusterView {
    /// The leader of a partition, if the partition is known and has one.
    #[must_use]
    pub fn leader(&self, topic: &str, partition: i32) -> Option<UpstreamNode> {
        let index = usize::try_from(partition).ok()?;
        self.topics.get(topic)?.partitions.get(index)?.leader
    }

    /// The leader and its epoch.
    #[must_use]
    pub fn leader_and_epoch(&self, at: &TopicPartition) -> Option<(UpstreamNode, i32)> {
        let index = usize::try_from(at.partition).ok()?;
        let partition = self.topics.get(&at.topic)?.partitions.get(index)?;
        Some((partition.leader?, partition.leader_epoch))
    }

    /// A whole cluster's metadata answer as a view. Topics with an error are left out.
    pub(super) fn from_response(response: &MetadataResponse) -> Self {
        let brokers = response
            .brokers
            .iter()
            .filter_map(|broker| {
                let address = BrokerAddress {
                    host: broker.host.to_string(),
                    port: u16::try_from(broker.port).ok()?,
                };
                Some((UpstreamNode(broker.node_id.0), address))
            })
            .collect();
        let topics = response
            .topics
            .iter()
            .filter(|topic| topic.error_code == 0)
            .filter_map(|topic| {
                let name = topic.name.as_ref()?;
                Some((Arc::from(name.as_str()), Arc::new(topic_view(topic))))
            })
            .collect();
        Self {
            cluster_id: response
                .cluster_id
                .as_deref()
                .unwrap_or_default()
                .to_owned(),
            controller: Some(UpstreamNode(response.controller_id.0)).filter(|node| node.0 >= 0),
            brokers,
            topics,
        }
    }
}

fn topic_view(topic: &MetadataResponseTopic) -> TopicView {
    let absent = PartitionView {
        leader: None,
        leader_epoch: -1,
        replicas: Vec::new(),
        isr: Vec::new(),
    };
    let mut partitions = vec![absent; topic.partitions.len()];
    for partition in &topic.partitions {
        // A broker names partitions 0 to n-1; an index beyond that is dropped rather than believed.
        let slot = usize::try_from(partition.partition_index).ok();
        if let Some(slot) = slot.and_then(|index| partitions.get_mut(index)) {
            let nodes = |list: &[kafka_protocol::messages::BrokerId]| {
                list.iter().map(|node| UpstreamNode(node.0)).collect()
            };
            *slot = PartitionView {
                leader: Some(UpstreamNode(partition.leader_id.0)).filter(|node| node.0 >= 0),
                leader_epoch: partition.leader_epoch,
                replicas: nodes(&partition.replica_nodes),
                isr: nodes(&partition.isr_nodes),
            };
        }
    }
    TopicView {
        id: topic.topic_id,
        internal: topic.is_internal,
        partitions,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_parse_and_print() {
        for text in ["127.0.0.1:9092", "[::1]:9092", "kafka.example:1"] {
            assert_eq!(text.parse::<BrokerAddress>().unwrap().to_string(), text);
        }
        for text in ["", "host", ":9092", "host:port", "host:70000"] {
            assert!(text.parse::<BrokerAddress>().is_err(), "{text}");
        }
    }
}
