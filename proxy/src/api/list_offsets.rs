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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::testing::{Bench, flip_all, name};
    use kafka_protocol::messages::list_offsets_request::ListOffsetsPartition;

    fn topic(text: &str, partitions: i32) -> ListOffsetsTopic {
        let partitions = (0..partitions).map(|index| {
            ListOffsetsPartition::default()
                .with_partition_index(index)
                .with_timestamp(-1)
        });
        ListOffsetsTopic::default()
            .with_name(name(text))
            .with_partitions(partitions.collect())
    }

    /// Every partition ends at 40; the broker's epoch is 5.
    fn ends(request: ListOffsetsRequest) -> ListOffsetsResponse {
        assert_eq!(request.replica_id, CONSUMER);
        let topics = request.topics.iter().map(|asked| {
            let mut found = refused(asked, ResponseError::UnknownServerError);
            for (partition, asked) in found.partitions.iter_mut().zip(&asked.partitions) {
                assert_eq!(asked.current_leader_epoch, NO_EPOCH);
                *partition = partition.clone().with_error_code(0).with_offset(40);
                partition.leader_epoch = 5;
            }
            found
        });
        ListOffsetsResponse::default().with_topics(topics.collect())
    }

    fn asking(version: i16) -> ListOffsetsRequest {
        let mut asked = topic("orders", 1);
        if version >= 4 {
            asked.partitions[0].current_leader_epoch = 5;
        }
        ListOffsetsRequest::default()
            .with_replica_id(BrokerId(0))
            .with_topics(vec![asked, topic("__lockgate_state", 1)])
    }

    #[tokio::test]
    async fn a_topic_at_home_is_answered_by_the_own_broker_without_epochs() {
        let bench = Bench::start().await;
        bench.on(Side::Source, 1, |request: ListOffsetsRequest| {
            // Versions below 4 have no epoch: what they lack must not get in the way.
            let topics = request.topics.iter().map(|asked| {
                let mut found = refused(asked, ResponseError::UnknownServerError);
                found.partitions[0].error_code = 0;
                found.partitions[0].offset = 40;
                found
            });
            ListOffsetsResponse::default().with_topics(topics.collect())
        });
        for version in 1..=10 {
            let answer = bench.call(Side::Source, version, asking(version)).await;
            let found = &answer.topics[0].partitions[0];
            assert_eq!((found.offset, found.leader_epoch), (40, NO_EPOCH));
            assert_eq!(answer.topics[1].partitions[0].error_code, 29);
        }
        bench.on(Side::Source, 1, ends);
        let answer = bench.call(Side::Source, 6, asking(6)).await;
        assert_eq!(answer.topics[0].partitions[0].leader_epoch, NO_EPOCH);
    }

    #[tokio::test]
    async fn a_topic_that_moved_is_not_led_here() {
        let bench = Bench::start().await;
        bench.routes.update(flip_all);
        let answer = bench.call(Side::Source, 6, asking(6)).await;
        let mut codes: Vec<i16> = answer
            .topics
            .iter()
            .map(|topic| topic.partitions[0].error_code)
            .collect();
        codes.sort_unstable();
        assert_eq!(codes, [6, 29]);
        assert_eq!(bench.seen(Side::Source, 1, ApiKey::ListOffsets), 0);

        let mut exchange = bench.exchange(Side::Destination);
        exchange.own = None;
        let answer = bench.call_on(&exchange, 6, asking(6)).await;
        assert!(
            answer
                .topics
                .iter()
                .any(|topic| topic.partitions[0].error_code == 6)
        );
    }

    #[tokio::test]
    async fn a_forward_asks_every_leader_and_answers_once_per_topic() {
        let bench = Bench::start().await;
        bench.on(Side::Destination, 1, ends);
        bench.on(Side::Destination, 2, ends);
        let exchange = bench.exchange(Side::Source);
        // Partition 3 does not exist, so it has no leader.
        let topics = vec![(Side::Destination, topic("orders", 4))];
        let request = ListOffsetsRequest::default().with_replica_id(CONSUMER);
        let answers = forward(&exchange, 6, &request, topics).await;
        assert_eq!(answers.len(), 1);
        let mut partitions = answers[0].partitions.clone();
        partitions.sort_by_key(|partition| partition.partition_index);
        let found: Vec<_> = partitions
            .iter()
            .map(|known| (known.offset, known.error_code))
            .collect();
        assert_eq!(found, [(40, 0), (40, 0), (40, 0), (-1, 5)]);
    }
}
