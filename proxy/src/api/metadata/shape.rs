//! A topic of one cluster as clients see it.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::metadata_response::{
    MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::{BrokerId, TopicName};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use crate::api::cluster::{self, Announced, NO_EPOCH, NO_NODE, NO_OPERATIONS, is_own_topic};
use crate::api::exchange::Exchange;
use crate::upstream::TopicView;
use crate::words::{Side, UpstreamNode};

/// What is needed to give a topic its shape.
#[derive(Debug)]
pub(super) struct Shape<'a> {
    exchange: &'a Exchange<'a>,
    nodes: &'a Announced,
}

impl<'a> Shape<'a> {
    pub(super) fn new(exchange: &'a Exchange<'a>, nodes: &'a Announced) -> Self {
        Self { exchange, nodes }
    }

    /// A topic of a side's answer; none where another side shows it, or nobody.
    pub(super) fn answered(
        &self,
        side: Side,
        mut topic: MetadataResponseTopic,
    ) -> Option<MetadataResponseTopic> {
        let name = topic.name.clone()?;
        if is_own_topic(&name) || cluster::shown(self.exchange, &name) != side {
            return None;
        }
        topic.topic_id = cluster::topic_id(&self.exchange.snapshot, &name, topic.topic_id);
        for partition in &mut topic.partitions {
            self.place(side, partition);
        }
        Some(topic)
    }

    /// A topic as a side's view knows it.
    pub(super) fn known(&self, side: Side, name: &TopicName) -> Option<MetadataResponseTopic> {
        let view = self.exchange.clusters.on(side).view();
        let topic = view.topics.get(name.as_str())?;
        Some(self.viewed(side, name.clone(), topic))
    }

    /// All topics of a side's view that this side shows.
    pub(super) fn all_known(&self, side: Side) -> Vec<MetadataResponseTopic> {
        let view = self.exchange.clusters.on(side).view();
        let shown = view
            .topics
            .iter()
            .filter(|(name, _)| !is_own_topic(name) && cluster::shown(self.exchange, name) == side);
        shown
            .map(|(name, topic)| {
                let name = TopicName(StrBytes::from_string(name.to_string()));
                self.viewed(side, name, topic)
            })
            .collect()
    }

    fn viewed(&self, side: Side, name: TopicName, topic: &TopicView) -> MetadataResponseTopic {
        let ids = |nodes: &[UpstreamNode]| nodes.iter().map(|node| BrokerId(node.0)).collect();
        let partitions = (0..).zip(&topic.partitions).map(|(index, known)| {
            let mut partition = MetadataResponsePartition::default()
                .with_partition_index(index)
                .with_leader_id(known.leader.map_or(NO_NODE, |node| BrokerId(node.0)))
                .with_replica_nodes(ids(&known.replicas))
                .with_isr_nodes(ids(&known.isr));
            self.place(side, &mut partition);
            partition
        });
        MetadataResponseTopic::default()
            .with_topic_id(cluster::topic_id(&self.exchange.snapshot, &name, topic.id))
            .with_name(Some(name))
            .with_is_internal(topic.internal)
            .with_partitions(partitions.collect())
            .with_topic_authorized_operations(NO_OPERATIONS)
    }

    /// Puts a partition on virtual nodes. A leader that clients cannot reach is no leader yet.
    fn place(&self, side: Side, partition: &mut MetadataResponsePartition) {
        partition.leader_epoch = NO_EPOCH;
        match self.nodes.node(side, partition.leader_id) {
            Some(leader) => partition.leader_id = leader,
            None => {
                partition.leader_id = NO_NODE;
                if partition.error_code == 0 {
                    partition.error_code = ResponseError::LeaderNotAvailable.code();
                }
            }
        }
        for list in [
            &mut partition.replica_nodes,
            &mut partition.isr_nodes,
            &mut partition.offline_replicas,
        ] {
            rename(side, list);
        }
    }
}

/// Replicas keep their place in the list also while they are away.
fn rename(side: Side, nodes: &mut Vec<BrokerId>) {
    nodes.retain_mut(|node| match UpstreamNode(node.0).to_virtual(side) {
        Some(seen) => {
            *node = BrokerId(seen.0);
            true
        }
        None => false,
    });
}

/// A topic with an error and nothing else.
pub(super) fn failed(name: TopicName, error: ResponseError) -> MetadataResponseTopic {
    MetadataResponseTopic::default()
        .with_name(Some(name))
        .with_error_code(error.code())
        .with_topic_authorized_operations(NO_OPERATIONS)
}

/// The answer for an id that belongs to no topic. Its name is null from version 12 on, empty before.
pub(super) fn unknown_id(id: Uuid, version: i16) -> MetadataResponseTopic {
    /// From here on a request may name topics by id.
    const BY_ID: i16 = 12;
    MetadataResponseTopic::default()
        .with_topic_id(id)
        .with_name((version < BY_ID).then(TopicName::default))
        .with_error_code(ResponseError::UnknownTopicId.code())
        .with_topic_authorized_operations(NO_OPERATIONS)
}
