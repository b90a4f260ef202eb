//! TxnOffsetCommit (key 28), versions 0 to 4: to the group's coordinator at the source, with leader epochs -1, under
//! a commit permit. Refused for a group or topic whose home is the destination; while the group moves the producer is
//! told to come again.
//!
//! - v0: KIP-98. v2: the committed leader epoch (KIP-320). v3: member and generation (KIP-447), flexible (KIP-482).
//! - v4: TRANSACTION_ABORTABLE (KIP-890). v5 is capped: transactions v2.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::txn_offset_commit_request::TxnOffsetCommitRequestTopic;
use kafka_protocol::messages::txn_offset_commit_response::{
    TxnOffsetCommitResponsePartition, TxnOffsetCommitResponseTopic,
};
use kafka_protocol::messages::{ApiKey, TxnOffsetCommitRequest, TxnOffsetCommitResponse};

use super::ask::CoordinatorKey;
use super::cluster::{self, NO_EPOCH};
use super::exchange::Exchange;
use super::handle::Call;
use super::table::Api;
use super::transaction::{self, Answered};
use crate::error::Result;
use crate::route::Snapshot;

pub(super) const API: Api = Api::handled(ApiKey::TxnOffsetCommit, 0, 4);

pub(super) async fn answer(
    exchange: &Exchange<'_>,
    call: Call<'_>,
    mut request: TxnOffsetCommitRequest,
) -> Result<TxnOffsetCommitResponse> {
    let (snapshot, permit) = exchange.routes.load_with_commit_permit();
    let refusal = group_refusal(&snapshot, &request);
    drop(snapshot);
    let refusal = refusal.or_else(|| {
        let mut topics = request.topics.iter();
        topics.find_map(|topic| transaction::refuses_topic(exchange, &topic.name))
    });
    if let Some(error) = refusal {
        permit.answered();
        return Ok(refused(&request, error));
    }
    for topic in &mut request.topics {
        for partition in &mut topic.partitions {
            partition.committed_leader_epoch = NO_EPOCH;
        }
    }
    let group = request.group_id.clone();
    let key = CoordinatorKey::Group(&group);
    match transaction::to(exchange, call, key, &request, error).await? {
        Answered::By(response) => {
            permit.answered();
            Ok(response)
        }
        // The permit is dropped unanswered: the commit may still be executed.
        Answered::Refused(error) => Ok(refused(&request, error)),
    }
}

fn group_refusal(snapshot: &Snapshot, request: &TxnOffsetCommitRequest) -> Option<ResponseError> {
    if cluster::is_own_group(snapshot, &request.group_id) {
        return Some(ResponseError::GroupAuthorizationFailed);
    }
    let place = snapshot.group(&request.group_id);
    if place.home != transaction::SIDE {
        return Some(transaction::ACROSS);
    }
    // Every producer tries again after this one.
    place.desk.map(|_| ResponseError::CoordinatorLoadInProgress)
}

/// A coordinator that is not one says so for every partition.
fn error(response: &TxnOffsetCommitResponse) -> i16 {
    let partitions = response.topics.iter().flat_map(|topic| &topic.partitions);
    let first = partitions.map(|partition| partition.error_code).next();
    first.unwrap_or(0)
}

fn refused(request: &TxnOffsetCommitRequest, error: ResponseError) -> TxnOffsetCommitResponse {
    let topics = request.topics.iter().map(|topic| failed(topic, error));
    TxnOffsetCommitResponse::default().with_topics(topics.collect())
}

fn failed(
    topic: &TxnOffsetCommitRequestTopic,
    error: ResponseError,
) -> TxnOffsetCommitResponseTopic {
    let partitions = topic.partitions.iter().map(|partition| {
        TxnOffsetCommitResponsePartition::default()
            .with_partition_index(partition.partition_index)
            .with_error_code(error.code())
    });
    TxnOffsetCommitResponseTopic::default()
        .with_name(topic.name.clone())
        .with_partitions(partitions.collect())
}
