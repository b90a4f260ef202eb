//! Pure: answers that Lockgate gives in a coordinator's place while a group moves.

use kafka_protocol::messages::leave_group_response::MemberResponse;
use kafka_protocol::messages::offset_commit_response::{
    OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use kafka_protocol::messages::{
    HeartbeatResponse, JoinGroupResponse, LeaveGroupRequest, LeaveGroupResponse,
    OffsetCommitRequest, OffsetCommitResponse, SyncGroupResponse,
};
use kafka_protocol::protocol::StrBytes;

use crate::flip::desk::GroupResponse;

/// ILLEGAL_GENERATION: members take it as lost partitions.
pub const ILLEGAL_GENERATION: i16 = 22;
/// UNKNOWN_MEMBER_ID: members take it as lost partitions.
pub const UNKNOWN_MEMBER_ID: i16 = 25;
/// REBALANCE_IN_PROGRESS: members rejoin and keep what they hold until then.
pub const REBALANCE_IN_PROGRESS: i16 = 27;
/// MEMBER_ID_REQUIRED: join again with the id that came with it.
pub const MEMBER_ID_REQUIRED: i16 = 79;
/// FENCED_INSTANCE_ID: fatal to a static member.
pub const FENCED_INSTANCE_ID: i16 = 82;

/// The protocol type of every consumer group.
pub(super) const CONSUMER: &str = "consumer";

/// Whether a member must never see this code.
#[must_use]
pub fn is_fatal_to_members(code: i16) -> bool {
    matches!(
        code,
        ILLEGAL_GENERATION | UNKNOWN_MEMBER_ID | FENCED_INSTANCE_ID
    )
}

pub(super) fn heartbeat(code: i16) -> GroupResponse {
    GroupResponse::Heartbeat(HeartbeatResponse::default().with_error_code(code))
}

pub(super) fn sync(code: i16) -> GroupResponse {
    GroupResponse::Sync(SyncGroupResponse::default().with_error_code(code))
}

/// A commit's answer with this code for every partition.
pub(super) fn commit(request: &OffsetCommitRequest, code: i16) -> GroupResponse {
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| {
            OffsetCommitResponsePartition::default()
                .with_partition_index(partition.partition_index)
                .with_error_code(code)
        });
        OffsetCommitResponseTopic::default()
            .with_name(topic.name.clone())
            .with_topic_id(topic.topic_id)
            .with_partitions(partitions.collect())
    });
    GroupResponse::Commit(OffsetCommitResponse::default().with_topics(topics.collect()))
}

/// A coordinator's answer to a commit with what members must not see replaced.
pub(super) fn softened(mut response: OffsetCommitResponse) -> GroupResponse {
    for topic in &mut response.topics {
        for partition in &mut topic.partitions {
            if is_fatal_to_members(partition.error_code) {
                partition.error_code = REBALANCE_IN_PROGRESS;
            }
        }
    }
    GroupResponse::Commit(response)
}

/// A successful answer to a LeaveGroup.
pub(super) fn left(request: &LeaveGroupRequest) -> GroupResponse {
    let members = request.members.iter().map(|member| {
        MemberResponse::default()
            .with_member_id(member.member_id.clone())
            .with_group_instance_id(member.group_instance_id.clone())
    });
    GroupResponse::Leave(LeaveGroupResponse::default().with_members(members.collect()))
}

/// The answer of a rebalance that changed nothing: the member's own id, the generation it has, and nobody to lead.
pub(super) fn unchanged_join(
    member: &str,
    generation: i32,
    protocol: &StrBytes,
    version: i16,
) -> GroupResponse {
    let mut response = JoinGroupResponse::default()
        .with_generation_id(generation)
        .with_protocol_name(Some(protocol.clone()))
        .with_leader(StrBytes::from_static_str(""))
        .with_member_id(StrBytes::from_string(member.to_owned()));
    if version >= 7 {
        response.protocol_type = Some(StrBytes::from_static_str(CONSUMER));
    }
    GroupResponse::Join(response)
}

/// The assignment a member had.
pub(super) fn unchanged_sync(
    assignment: bytes::Bytes,
    protocol: &StrBytes,
    version: i16,
) -> GroupResponse {
    let mut response = SyncGroupResponse::default().with_assignment(assignment);
    if version >= 5 {
        response.protocol_type = Some(StrBytes::from_static_str(CONSUMER));
        response.protocol_name = Some(protocol.clone());
    }
    GroupResponse::Sync(response)
}
