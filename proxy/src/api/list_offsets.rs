//! ListOffsets (key 2), versions 1 to 10. Answered by the topic's home, for the request's isolation level, wherever
//! the group reads: what a client wrote must be below the end it is told. Leader epochs are taken out both ways.
//!
//! A topic whose home is the other side gets NOT_LEADER_OR_FOLLOWER if Metadata would name the home to this client;
//! a client that still sees this side (sticky view) is answered from the home over a side connection.
//!
//! - v1: one offset per partition (KIP-79). v2: isolation level (KIP-98). v4: leader epochs (KIP-320).
//! - v6: flexible (KIP-482). v7: the offset of the largest timestamp (KIP-734). v8: the local log start (KIP-405).
//! - v9: the last tiered offset (KIP-1005). v10: a timeout for remote storage (KIP-1075).

use std::collections::{BTreeMap, HashMap};

use kafka_protocol::ResponseError;
use kafka_protocol::messages::list_offsets_request::ListOffsetsTopic;
use kafka_protocol::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsTopicResponse,
};
use kafka_protocol::messages::{
    ApiKey, BrokerId, ListOffsetsRequest, ListOffsetsResponse, TopicName,
};

use super::ask;
use super::cluster::{self, NO_EPOCH, is_own_topic};
use super::exchange::Exchange;
use super::handle::Call;
use super::table::Api;
use crate::error::Result;
use crate::words::{Side, UpstreamNode};

pub(super) const API: Api = Api::handled(ApiKey::ListOffsets, 1, 10);
/// The replica id of consumers.
const CONSUMER: BrokerId = BrokerId(-1);

/// What becomes of one topic.
#[derive(Debug, PartialEq, Eq)]
enum Path {
    Own,
    Forward(Side),
    Refuse(ResponseError),
}

pub(super) async fn answer(
    exchange: &Exchange<'_>,
    call: Call<'_>,
    mut request: ListOffsetsRequest,
) -> Result<ListOffsetsResponse> {
    // Replica ids of brokers see past the high watermark; clients are consumers.
    request.replica_id = CONSUMER;
    let mut own = Vec::new();
    let mut forwarded = Vec::new();
    let mut answers = Vec::new();
    for mut topic in std::mem::take(&mut request.topics) {
        for partition in &mut topic.partitions {
            partition.current_leader_epoch = NO_EPOCH;
        }
        match path(exchange, &topic.name) {
            Path::Own => own.push(topic),
            Path::Forward(side) => forwarded.push((side, topic)),
            Path::Refuse(error) => answers.push(refused(&topic, error)),
        }
    }
    let mut response = match &exchange.own {
        Some(broker) if !own.is_empty() => {
            let request = request.clone().with_topics(own);
            broker.call(&request, call.version).await?
        }
        _ => ListOffsetsResponse::default(),
    };
    response.topics.extend(answers);
    if !forwarded.is_empty() {
        let found = forward(exchange, call.version, &request, forwarded).await;
        response.topics.extend(found);
    }
    for topic in &mut response.topics {
        for partition in &mut topic.partitions {
            partition.leader_epoch = NO_EPOCH;
        }
    }
    Ok(response)
}

fn path(exchange: &Exchange<'_>, topic: &str) -> Path {
    if is_own_topic(topic) {
        return Path::Refuse(ResponseError::TopicAuthorizationFailed);
    }
    let home = cluster::home(&exchange.snapshot, topic);
    let here = home == exchange.side;
    if here && exchange.own.is_some() {
        Path::Own
    } else if !here && cluster::shown(exchange, topic) == exchange.side {
        Path::Forward(home)
    } else {
        Path::Refuse(ResponseError::NotLeaderOrFollower)
    }
}

type ByLeader = BTreeMap<(Side, UpstreamNode), Vec<ListOffsetsTopic>>;

/// Asks the leaders at the home, one request each.
async fn forward(
    exchange: &Exchange<'_>,
    version: i16,
    request: &ListOffsetsRequest,
    topics: Vec<(Side, ListOffsetsTopic)>,
) -> Vec<ListOffsetsTopicResponse> {
    let mut answers = Vec::new();
    let mut by_leader = ByLeader::new();
    for (side, topic) in topics {
        split(exchange, side, topic, &mut by_leader, &mut answers);
    }
    for ((side, leader), topics) in by_leader {
        let request = request.clone().with_topics(topics);
        match ask::node(exchange, side, leader, &request, version).await {
            Ok(response) => answers.extend(response.topics),
            Err(error) => {
                tracing::debug!(%side, %leader, %error, "offsets could not be asked for");
                let error = ResponseError::NotLeaderOrFollower;
                answers.extend(request.topics.iter().map(|topic| refused(topic, error)));
            }
        }
    }
    merged(answers)
}

fn split(
    exchange: &Exchange<'_>,
    side: Side,
    mut topic: ListOffsetsTopic,
    by_leader: &mut ByLeader,
    answers: &mut Vec<ListOffsetsTopicResponse>,
) {
    let view = exchange.clusters.on(side).view();
    let mut of_leader: BTreeMap<UpstreamNode, Vec<_>> = BTreeMap::new();
    let mut leaderless = Vec::new();
    for partition in std::mem::take(&mut topic.partitions) {
        match view.leader(&topic.name, partition.partition_index) {
            Some(leader) => of_leader.entry(leader).or_default().push(partition),
            None => leaderless.push(partition),
        }
    }
    for (leader, partitions) in of_leader {
        let part = topic.clone().with_partitions(partitions);
        by_leader.entry((side, leader)).or_default().push(part);
    }
    if !leaderless.is_empty() {
        let part = topic.with_partitions(leaderless);
        answers.push(refused(&part, ResponseError::LeaderNotAvailable));
    }
}

/// One entry per topic, as clients expect it.
fn merged(answers: Vec<ListOffsetsTopicResponse>) -> Vec<ListOffsetsTopicResponse> {
    let mut at: HashMap<TopicName, usize> = HashMap::new();
    let mut merged: Vec<ListOffsetsTopicResponse> = Vec::new();
    for topic in answers {
        let next = merged.len();
        let index = *at.entry(topic.name.clone()).or_insert(next);
        match merged.get_mut(index) {
            Some(known) => known.partitions.extend(topic.partitions),
            None => merged.push(topic),
        }
    }
    merged
}

fn refused(topic: &ListOffsetsTopic, error: ResponseError) -> ListOffsetsTopicResponse {
    let partitions = topic.partitions.iter().map(|partition| {
        ListOffsetsPartitionResponse::default()
            .with_partition_index(partition.partition_index)
            .with_error_code(error.code())
            .with_timestamp(-1)
            .with_offset(-1)
            .with_leader_epoch(NO_EPOCH)
    });
    ListOffsetsTopicResponse::default()
        .with_name(topic.name.clone())
        .with_partitions(partitions.collect())
}
