//! OffsetFetch (key 9), versions 1 to 9. Leader epochs are taken out of the answer (trap 26). A request for several
//! groups is split: those that the client's own broker coordinates in one, every other by itself.
//!
//! - v2: all topics, and an error for the whole answer (KIP-88). v3: throttle time (KIP-124).
//! - v5: the committed leader epoch (KIP-320). v6: flexible (KIP-482). v7: only stable offsets (KIP-447).
//! - v8: several groups in one request (KIP-709). v9: the member (KIP-848). v10 is capped: topic ids.

use std::collections::HashMap;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestGroup;
use kafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
    OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};
use kafka_protocol::messages::{ApiKey, GroupId, OffsetFetchRequest, OffsetFetchResponse};

use super::cluster::{self, NO_EPOCH, is_own_topic};
use super::exchange::Exchange;
use super::group;
use super::handle::Call;
use super::table::Api;
use crate::error::Result;
use crate::flip::{GroupRequest, GroupResponse};

pub(super) const API: Api = Api::handled(ApiKey::OffsetFetch, 1, 9);
/// From here on a request names groups in a list.
const MANY_GROUPS: i16 = 8;
/// Kafka's "nothing is committed".
const NO_OFFSET: i64 = -1;

pub(super) async fn answer(
    exchange: &Exchange<'_>,
    call: Call<'_>,
    mut request: OffsetFetchRequest,
) -> Result<OffsetFetchResponse> {
    let mut response = if call.version < MANY_GROUPS {
        let denied = take_forbidden(&mut request);
        let mut response = one(exchange, call, request).await?;
        response.topics.extend(denied);
        response
    } else {
        many(exchange, call, request).await?
    };
    without_epochs(&mut response);
    Ok(response)
}

/// A request that names one group, in either form.
async fn one(
    exchange: &Exchange<'_>,
    call: Call<'_>,
    request: OffsetFetchRequest,
) -> Result<OffsetFetchResponse> {
    let group = match request.groups.first() {
        Some(group) => group.group_id.clone(),
        None => request.group_id.clone(),
    };
    let request = GroupRequest::Fetch(request);
    match group::serve(exchange, call, &group, request).await? {
        GroupResponse::Fetch(response) => Ok(response),
        _ => Err(group::mismatched()),
    }
}

async fn many(
    exchange: &Exchange<'_>,
    call: Call<'_>,
    mut request: OffsetFetchRequest,
) -> Result<OffsetFetchResponse> {
    let snapshot = &exchange.snapshot;
    let mut merged = OffsetFetchResponse::default();
    let own = exchange.own.as_ref();
    let is_here = |group: &OffsetFetchRequestGroup| {
        let place = snapshot.group(&group.group_id);
        let hidden = cluster::is_own_group(snapshot, &group.group_id);
        place.desk.is_none() && place.home == exchange.side && own.is_some() && !hidden
    };
    let mut groups = std::mem::take(&mut request.groups);
    let denied: HashMap<GroupId, OffsetFetchResponseTopics> = groups
        .iter_mut()
        .filter_map(|group| Some((group.group_id.clone(), take_forbidden_of(group)?)))
        .collect();
    let (here, elsewhere): (Vec<_>, Vec<_>) = groups.into_iter().partition(is_here);
    if let Some(own) = own.filter(|_| !here.is_empty()) {
        let request = request.clone().with_groups(here);
        merged = own.call(&request, call.version).await?;
    }
    for group in elsewhere {
        let request = request.clone().with_groups(vec![group]);
        merged
            .groups
            .extend(one(exchange, call, request).await?.groups);
    }
    for group in &mut merged.groups {
        group.topics.extend(denied.get(&group.group_id).cloned());
    }
    Ok(merged)
}

fn take_forbidden_of(group: &mut OffsetFetchRequestGroup) -> Option<OffsetFetchResponseTopics> {
    let topics = group.topics.as_mut()?;
    let at = topics.iter().position(|topic| is_own_topic(&topic.name))?;
    let forbidden = topics.remove(at);
    // Named twice, it is answered once.
    topics.retain(|topic| !is_own_topic(&topic.name));
    let denied = ResponseError::TopicAuthorizationFailed.code();
    let partitions = forbidden.partition_indexes.iter().map(|index| {
        OffsetFetchResponsePartitions::default()
            .with_partition_index(*index)
            .with_committed_offset(NO_OFFSET)
            .with_error_code(denied)
    });
    Some(
        OffsetFetchResponseTopics::default()
            .with_name(forbidden.name)
            .with_partitions(partitions.collect()),
    )
}

/// Takes Lockgate's own topic out of a request for one group; returns what is answered for it.
fn take_forbidden(request: &mut OffsetFetchRequest) -> Vec<OffsetFetchResponseTopic> {
    let Some(topics) = &mut request.topics else {
        return Vec::new();
    };
    let (forbidden, rest): (Vec<_>, Vec<_>) = std::mem::take(topics)
        .into_iter()
        .partition(|topic| is_own_topic(&topic.name));
    *topics = rest;
    let denied = ResponseError::TopicAuthorizationFailed.code();
    let denied = forbidden.into_iter().map(|topic| {
        let partitions = topic
            .partition_indexes
            .iter()
            .map(|index| failed(*index, denied));
        OffsetFetchResponseTopic::default()
            .with_name(topic.name.clone())
            .with_partitions(partitions.collect())
    });
    denied.collect()
}

fn without_epochs(response: &mut OffsetFetchResponse) {
    for topic in &mut response.topics {
        for partition in &mut topic.partitions {
            partition.committed_leader_epoch = NO_EPOCH;
        }
    }
    for group in &mut response.groups {
        for topic in &mut group.topics {
            for partition in &mut topic.partitions {
                partition.committed_leader_epoch = NO_EPOCH;
            }
        }
    }
}

/// The error of the whole answer. Version 1 has none, and repeats it for every partition.
pub(super) fn error(response: &OffsetFetchResponse) -> i16 {
    let group = response.groups.first().map(|group| group.error_code);
    let partition = response
        .topics
        .iter()
        .flat_map(|topic| &topic.partitions)
        .map(|partition| partition.error_code)
        .next();
    match response.error_code {
        0 => group.or(partition).unwrap_or(0),
        code => code,
    }
}

/// An answer that says the same error everywhere it can be said.
pub(super) fn refused(request: &OffsetFetchRequest, code: i16) -> OffsetFetchResponse {
    let groups = request.groups.iter().map(|group| {
        OffsetFetchResponseGroup::default()
            .with_group_id(group.group_id.clone())
            .with_error_code(code)
    });
    let topics = request.topics.iter().flatten().map(|topic| {
        let partitions = topic
            .partition_indexes
            .iter()
            .map(|index| failed(*index, code));
        OffsetFetchResponseTopic::default()
            .with_name(topic.name.clone())
            .with_partitions(partitions.collect())
    });
    OffsetFetchResponse::default()
        .with_error_code(code)
        .with_topics(topics.collect())
        .with_groups(groups.collect())
}

fn failed(index: i32, code: i16) -> OffsetFetchResponsePartition {
    OffsetFetchResponsePartition::default()
        .with_partition_index(index)
        .with_committed_offset(NO_OFFSET)
        .with_committed_leader_epoch(NO_EPOCH)
        .with_metadata(Some(Default::default()))
        .with_error_code(code)
}
