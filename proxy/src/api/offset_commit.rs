//! OffsetCommit (key 8), versions 2 to 9. The committed leader epoch is taken out: an epoch of the source that is
//! committed at the destination makes a Java client that later connects directly ignore its metadata for ever
//! (trap 26). Each request holds a commit permit until it is answered.
//!
//! - v3: throttle time (KIP-124). v5: no retention time. v6: the committed leader epoch (KIP-320).
//! - v7: static members (KIP-345). v8: flexible (KIP-482). v9: new errors of KIP-848.
//! - v10 is capped: topic ids instead of names (KIP-848).

use kafka_protocol::ResponseError;
use kafka_protocol::messages::offset_commit_request::OffsetCommitRequestTopic;
use kafka_protocol::messages::offset_commit_response::{
    OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use kafka_protocol::messages::{ApiKey, OffsetCommitRequest, OffsetCommitResponse};

use super::cluster::{NO_EPOCH, is_own_topic};
use super::exchange::Exchange;
use super::group;
use super::handle::Call;
use super::table::Api;
use crate::error::Result;
use crate::flip::{GroupRequest, GroupResponse};

pub(super) const API: Api = Api::handled(ApiKey::OffsetCommit, 2, 9);

pub(super) async fn answer(
    exchange: &Exchange<'_>,
    call: Call<'_>,
    mut request: OffsetCommitRequest,
) -> Result<OffsetCommitResponse> {
    let (forbidden, topics): (Vec<_>, Vec<_>) = std::mem::take(&mut request.topics)
        .into_iter()
        .partition(|topic| is_own_topic(&topic.name));
    let denied = ResponseError::TopicAuthorizationFailed.code();
    let denied: Vec<_> = forbidden
        .iter()
        .map(|topic| failed(topic, denied))
        .collect();
    request.topics = topics;
    if request.topics.is_empty() && !denied.is_empty() {
        return Ok(OffsetCommitResponse::default().with_topics(denied));
    }
    for topic in &mut request.topics {
        for partition in &mut topic.partitions {
            partition.committed_leader_epoch = NO_EPOCH;
        }
    }
    let group = request.group_id.clone();
    let request = GroupRequest::Commit(request);
    match group::serve(exchange, call, &group, request).await? {
        GroupResponse::Commit(mut response) => {
            response.topics.extend(denied);
            Ok(response)
        }
        _ => Err(group::mismatched()),
    }
}

/// The error of the whole answer: a coordinator that is not one says so for every partition.
pub(super) fn error(response: &OffsetCommitResponse) -> i16 {
    let first = response
        .topics
        .iter()
        .flat_map(|topic| &topic.partitions)
        .next();
    first.map_or(0, |partition| partition.error_code)
}

/// The same error for every partition.
pub(super) fn refused(request: &OffsetCommitRequest, code: i16) -> OffsetCommitResponse {
    let topics = request.topics.iter().map(|topic| failed(topic, code));
    OffsetCommitResponse::default().with_topics(topics.collect())
}

fn failed(topic: &OffsetCommitRequestTopic, code: i16) -> OffsetCommitResponseTopic {
    let partitions = topic.partitions.iter().map(|partition| {
        OffsetCommitResponsePartition::default()
            .with_partition_index(partition.partition_index)
            .with_error_code(code)
    });
    OffsetCommitResponseTopic::default()
        .with_name(topic.name.clone())
        .with_partitions(partitions.collect())
}
