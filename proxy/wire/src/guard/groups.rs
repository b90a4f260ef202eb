//! Consumer groups: membership and committed offsets.

use super::schema::Kind::{Array, Struct};
use super::schema::{Api, Half, BYTES, INT16, INT32, INT64, INT8, STR, UUID, fields};

/// The APIs of this family.
pub(super) const APIS: &[Api] = &[
    Api {
        key: 8,
        request: Half { versions: (2, 9), flexible_since: 8, fields: &OFFSET_COMMIT_REQUEST },
        response: Half { versions: (2, 10), flexible_since: 8, fields: &OFFSET_COMMIT_RESPONSE },
    },
    Api {
        key: 9,
        request: Half { versions: (1, 9), flexible_since: 6, fields: &OFFSET_FETCH_REQUEST },
        response: Half { versions: (1, 10), flexible_since: 6, fields: &OFFSET_FETCH_RESPONSE },
    },
    Api {
        key: 11,
        request: Half { versions: (0, 9), flexible_since: 6, fields: &JOIN_GROUP_REQUEST },
        response: Half { versions: (0, 9), flexible_since: 6, fields: &JOIN_GROUP_RESPONSE },
    },
    Api {
        key: 12,
        request: Half { versions: (0, 4), flexible_since: 4, fields: &HEARTBEAT_REQUEST },
        response: Half { versions: (0, 4), flexible_since: 4, fields: &HEARTBEAT_RESPONSE },
    },
    Api {
        key: 13,
        request: Half { versions: (0, 5), flexible_since: 4, fields: &LEAVE_GROUP_REQUEST },
        response: Half { versions: (0, 5), flexible_since: 4, fields: &LEAVE_GROUP_RESPONSE },
    },
    Api {
        key: 14,
        request: Half { versions: (0, 5), flexible_since: 4, fields: &SYNC_GROUP_REQUEST },
        response: Half { versions: (0, 5), flexible_since: 4, fields: &SYNC_GROUP_RESPONSE },
    },
    Api {
        key: 15,
        request: Half { versions: (0, 6), flexible_since: 5, fields: &DESCRIBE_GROUPS_REQUEST },
        response: Half { versions: (0, 6), flexible_since: 5, fields: &DESCRIBE_GROUPS_RESPONSE },
    },
    Api {
        key: 16,
        request: Half { versions: (0, 5), flexible_since: 3, fields: &LIST_GROUPS_REQUEST },
        response: Half { versions: (0, 5), flexible_since: 3, fields: &LIST_GROUPS_RESPONSE },
    },
    Api {
        key: 42,
        request: Half { versions: (0, 2), flexible_since: 2, fields: &DELETE_GROUPS_REQUEST },
        response: Half { versions: (0, 2), flexible_since: 2, fields: &DELETE_GROUPS_RESPONSE },
    },
];

// OffsetCommit

fields!(OFFSET_COMMIT_REQUEST_OFFSET_COMMIT_REQUEST_PARTITION {
    partition_index: INT32,
    committed_offset: INT64,
    committed_leader_epoch: INT32 => 6..,
    committed_metadata: STR,
});

fields!(OFFSET_COMMIT_REQUEST_OFFSET_COMMIT_REQUEST_TOPIC {
    name: STR,
    partitions: Array(&Struct(&OFFSET_COMMIT_REQUEST_OFFSET_COMMIT_REQUEST_PARTITION)),
});

fields!(OFFSET_COMMIT_REQUEST {
    group_id: STR,
    generation_id_or_member_epoch: INT32,
    member_id: STR,
    group_instance_id: STR => 7..,
    retention_time_ms: INT64 => 0..=4,
    topics: Array(&Struct(&OFFSET_COMMIT_REQUEST_OFFSET_COMMIT_REQUEST_TOPIC)),
});

fields!(OFFSET_COMMIT_RESPONSE_OFFSET_COMMIT_RESPONSE_PARTITION {
    partition_index: INT32,
    error_code: INT16,
});

fields!(OFFSET_COMMIT_RESPONSE_OFFSET_COMMIT_RESPONSE_TOPIC {
    name: STR => 0..=9,
    topic_id: UUID => 10..,
    partitions: Array(&Struct(&OFFSET_COMMIT_RESPONSE_OFFSET_COMMIT_RESPONSE_PARTITION)),
});

fields!(OFFSET_COMMIT_RESPONSE {
    throttle_time_ms: INT32 => 3..,
    topics: Array(&Struct(&OFFSET_COMMIT_RESPONSE_OFFSET_COMMIT_RESPONSE_TOPIC)),
});

// OffsetFetch

fields!(OFFSET_FETCH_REQUEST_OFFSET_FETCH_REQUEST_TOPIC {
    name: STR => 0..=7,
    partition_indexes: Array(&INT32) => 0..=7,
});

fields!(OFFSET_FETCH_REQUEST_OFFSET_FETCH_REQUEST_TOPICS {
    name: STR => 8..,
    partition_indexes: Array(&INT32) => 8..,
});

fields!(OFFSET_FETCH_REQUEST_OFFSET_FETCH_REQUEST_GROUP {
    group_id: STR => 8..,
    member_id: STR => 9..,
    member_epoch: INT32 => 9..,
    topics: Array(&Struct(&OFFSET_FETCH_REQUEST_OFFSET_FETCH_REQUEST_TOPICS)) => 8..,
});

fields!(OFFSET_FETCH_REQUEST {
    group_id: STR => 0..=7,
    topics: Array(&Struct(&OFFSET_FETCH_REQUEST_OFFSET_FETCH_REQUEST_TOPIC)) => 0..=7,
    groups: Array(&Struct(&OFFSET_FETCH_REQUEST_OFFSET_FETCH_REQUEST_GROUP)) => 8..,
    require_stable: INT8 => 7..,
});

fields!(OFFSET_FETCH_RESPONSE_OFFSET_FETCH_RESPONSE_PARTITION {
    partition_index: INT32 => 0..=7,
    committed_offset: INT64 => 0..=7,
    committed_leader_epoch: INT32 => 5..=7,
    metadata: STR => 0..=7,
    error_code: INT16 => 0..=7,
});

fields!(OFFSET_FETCH_RESPONSE_OFFSET_FETCH_RESPONSE_TOPIC {
    name: STR => 0..=7,
    partitions: Array(&Struct(&OFFSET_FETCH_RESPONSE_OFFSET_FETCH_RESPONSE_PARTITION)) => 0..=7,
});

fields!(OFFSET_FETCH_RESPONSE_OFFSET_FETCH_RESPONSE_PARTITIONS {
    partition_index: INT32 => 8..,
    committed_offset: INT64 => 8..,
    committed_leader_epoch: INT32 => 8..,
    metadata: STR => 8..,
    error_code: INT16 => 8..,
});

fields!(OFFSET_FETCH_RESPONSE_OFFSET_FETCH_RESPONSE_TOPICS {
    name: STR => 8..=9,
    topic_id: UUID => 10..,
    partitions: Array(&Struct(&OFFSET_FETCH_RESPONSE_OFFSET_FETCH_RESPONSE_PARTITIONS)) => 8..,
});

fields!(OFFSET_FETCH_RESPONSE_OFFSET_FETCH_RESPONSE_GROUP {
    group_id: STR => 8..,
    topics: Array(&Struct(&OFFSET_FETCH_RESPONSE_OFFSET_FETCH_RESPONSE_TOPICS)) => 8..,
    error_code: INT16 => 8..,
});

fields!(OFFSET_FETCH_RESPONSE {
    throttle_time_ms: INT32 => 3..,
    topics: Array(&Struct(&OFFSET_FETCH_RESPONSE_OFFSET_FETCH_RESPONSE_TOPIC)) => 0..=7,
    error_code: INT16 => 2..=7,
    groups: Array(&Struct(&OFFSET_FETCH_RESPONSE_OFFSET_FETCH_RESPONSE_GROUP)) => 8..,
});

// JoinGroup

fields!(JOIN_GROUP_REQUEST_JOIN_GROUP_REQUEST_PROTOCOL {
    name: STR,
    metadata: BYTES,
});

fields!(JOIN_GROUP_REQUEST {
    group_id: STR,
    session_timeout_ms: INT32,
    rebalance_timeout_ms: INT32 => 1..,
    member_id: STR,
    group_instance_id: STR => 5..,
    protocol_type: STR,
    protocols: Array(&Struct(&JOIN_GROUP_REQUEST_JOIN_GROUP_REQUEST_PROTOCOL)),
    reason: STR => 8..,
});

fields!(JOIN_GROUP_RESPONSE_JOIN_GROUP_RESPONSE_MEMBER {
    member_id: STR,
    group_instance_id: STR => 5..,
    metadata: BYTES,
});

fields!(JOIN_GROUP_RESPONSE {
    throttle_time_ms: INT32 => 2..,
    error_code: INT16,
    generation_id: INT32,
    protocol_type: STR => 7..,
    protocol_name: STR,
    leader: STR,
    skip_assignment: INT8 => 9..,
    member_id: STR,
    members: Array(&Struct(&JOIN_GROUP_RESPONSE_JOIN_GROUP_RESPONSE_MEMBER)),
});

// Heartbeat

fields!(HEARTBEAT_REQUEST {
    group_id: STR,
    generation_id: INT32,
    member_id: STR,
    group_instance_id: STR => 3..,
});

fields!(HEARTBEAT_RESPONSE {
    throttle_time_ms: INT32 => 1..,
    error_code: INT16,
});

// LeaveGroup

fields!(LEAVE_GROUP_REQUEST_MEMBER_IDENTITY {
    member_id: STR => 3..,
    group_instance_id: STR => 3..,
    reason: STR => 5..,
});

fields!(LEAVE_GROUP_REQUEST {
    group_id: STR,
    member_id: STR => 0..=2,
    members: Array(&Struct(&LEAVE_GROUP_REQUEST_MEMBER_IDENTITY)) => 3..,
});

fields!(LEAVE_GROUP_RESPONSE_MEMBER_RESPONSE {
    member_id: STR => 3..,
    group_instance_id: STR => 3..,
    error_code: INT16 => 3..,
});

fields!(LEAVE_GROUP_RESPONSE {
    throttle_time_ms: INT32 => 1..,
    error_code: INT16,
    members: Array(&Struct(&LEAVE_GROUP_RESPONSE_MEMBER_RESPONSE)) => 3..,
});

// SyncGroup

fields!(SYNC_GROUP_REQUEST_SYNC_GROUP_REQUEST_ASSIGNMENT {
    member_id: STR,
    assignment: BYTES,
});

fields!(SYNC_GROUP_REQUEST {
    group_id: STR,
    generation_id: INT32,
    member_id: STR,
    group_instance_id: STR => 3..,
    protocol_type: STR => 5..,
    protocol_name: STR => 5..,
    assignments: Array(&Struct(&SYNC_GROUP_REQUEST_SYNC_GROUP_REQUEST_ASSIGNMENT)),
});

fields!(SYNC_GROUP_RESPONSE {
    throttle_time_ms: INT32 => 1..,
    error_code: INT16,
    protocol_type: STR => 5..,
    protocol_name: STR => 5..,
    assignment: BYTES,
});

// DescribeGroups

fields!(DESCRIBE_GROUPS_REQUEST {
    groups: Array(&STR),
    include_authorized_operations: INT8 => 3..,
});

fields!(DESCRIBE_GROUPS_RESPONSE_DESCRIBED_GROUP_MEMBER {
    member_id: STR,
    group_instance_id: STR => 4..,
    client_id: STR,
    client_host: STR,
    member_metadata: BYTES,
    member_assignment: BYTES,
});

fields!(DESCRIBE_GROUPS_RESPONSE_DESCRIBED_GROUP {
    error_code: INT16,
    error_message: STR => 6..,
    group_id: STR,
    group_state: STR,
    protocol_type: STR,
    protocol_data: STR,
    members: Array(&Struct(&DESCRIBE_GROUPS_RESPONSE_DESCRIBED_GROUP_MEMBER)),
    authorized_operations: INT32 => 3..,
});

fields!(DESCRIBE_GROUPS_RESPONSE {
    throttle_time_ms: INT32 => 1..,
    groups: Array(&Struct(&DESCRIBE_GROUPS_RESPONSE_DESCRIBED_GROUP)),
});

// ListGroups

fields!(LIST_GROUPS_REQUEST {
    states_filter: Array(&STR) => 4..,
    types_filter: Array(&STR) => 5..,
});

fields!(LIST_GROUPS_RESPONSE_LISTED_GROUP {
    group_id: STR,
    protocol_type: STR,
    group_state: STR => 4..,
    group_type: STR => 5..,
});

fields!(LIST_GROUPS_RESPONSE {
    throttle_time_ms: INT32 => 1..,
    error_code: INT16,
    groups: Array(&Struct(&LIST_GROUPS_RESPONSE_LISTED_GROUP)),
});

// DeleteGroups

fields!(DELETE_GROUPS_REQUEST {
    groups_names: Array(&STR),
});

fields!(DELETE_GROUPS_RESPONSE_DELETABLE_GROUP_RESULT {
    group_id: STR,
    error_code: INT16,
});

fields!(DELETE_GROUPS_RESPONSE {
    throttle_time_ms: INT32,
    results: Array(&Struct(&DELETE_GROUPS_RESPONSE_DELETABLE_GROUP_RESULT)),
});
