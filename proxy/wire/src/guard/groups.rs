//! Consumer groups: membership and committed offsets.

use super::schema::Kind::{Array, Struct};
use super::schema::{Api, BYTES, Half, INT8, INT16, INT32, INT64, LAST, STR, UUID, fields};

/// The APIs of this family.
pub(super) const APIS: &[Api] = &[
    Api {
        key: 8,
        request: Half::of(2..=9, 8, &OFFSET_COMMIT_REQUEST),
        response: Half::of(2..=10, 8, &OFFSET_COMMIT_RESPONSE),
    },
    Api {
        key: 9,
        request: Half::of(1..=9, 6, &OFFSET_FETCH_REQUEST),
        response: Half::of(1..=10, 6, &OFFSET_FETCH_RESPONSE),
    },
    Api {
        key: 11,
        request: Half::of(0..=9, 6, &JOIN_GROUP_REQUEST),
        response: Half::of(0..=9, 6, &JOIN_GROUP_RESPONSE),
    },
    Api {
        key: 12,
        request: Half::of(0..=4, 4, &HEARTBEAT_REQUEST),
        response: Half::of(0..=4, 4, &HEARTBEAT_RESPONSE),
    },
    Api {
        key: 13,
        request: Half::of(0..=5, 4, &LEAVE_GROUP_REQUEST),
        response: Half::of(0..=5, 4, &LEAVE_GROUP_RESPONSE),
    },
    Api {
        key: 14,
        request: Half::of(0..=5, 4, &SYNC_GROUP_REQUEST),
        response: Half::of(0..=5, 4, &SYNC_GROUP_RESPONSE),
    },
    Api {
        key: 15,
        request: Half::of(0..=6, 5, &DESCRIBE_GROUPS_REQUEST),
        response: Half::of(0..=6, 5, &DESCRIBE_GROUPS_RESPONSE),
    },
    Api {
        key: 16,
        request: Half::of(0..=5, 3, &LIST_GROUPS_REQUEST),
        response: Half::of(0..=5, 3, &LIST_GROUPS_RESPONSE),
    },
    Api {
        key: 42,
        request: Half::of(0..=2, 2, &DELETE_GROUPS_REQUEST),
        response: Half::of(0..=2, 2, &DELETE_GROUPS_RESPONSE),
    },
];

// OffsetCommit

fields!(OFFSET_COMMIT_REQUEST_PARTITION {
    partition_index: INT32,
    committed_offset: INT64,
    committed_leader_epoch: INT32 => 6..=LAST,
    committed_metadata: STR,
});

fields!(OFFSET_COMMIT_REQUEST_TOPIC {
    name: STR,
    partitions: Array(&Struct(&OFFSET_COMMIT_REQUEST_PARTITION)),
});

fields!(OFFSET_COMMIT_REQUEST {
    group_id: STR,
    generation_id_or_member_epoch: INT32,
    member_id: STR,
    group_instance_id: STR => 7..=LAST,
    retention_time_ms: INT64 => 0..=4,
    topics: Array(&Struct(&OFFSET_COMMIT_REQUEST_TOPIC)),
});

fields!(OFFSET_COMMIT_RESPONSE_PARTITION {
    partition_index: INT32,
    error_code: INT16,
});

fields!(OFFSET_COMMIT_RESPONSE_TOPIC {
    name: STR => 0..=9,
    topic_id: UUID => 10..=LAST,
    partitions: Array(&Struct(&OFFSET_COMMIT_RESPONSE_PARTITION)),
});

fields!(OFFSET_COMMIT_RESPONSE {
    throttle_time_ms: INT32 => 3..=LAST,
    topics: Array(&Struct(&OFFSET_COMMIT_RESPONSE_TOPIC)),
});

// OffsetFetch

fields!(OFFSET_FETCH_REQUEST_TOPIC {
    name: STR => 0..=7,
    partition_indexes: Array(&INT32) => 0..=7,
});

fields!(OFFSET_FETCH_REQUEST_TOPICS {
    name: STR => 8..=LAST,
    partition_indexes: Array(&INT32) => 8..=LAST,
});

fields!(OFFSET_FETCH_REQUEST_GROUP {
    group_id: STR => 8..=LAST,
    member_id: STR => 9..=LAST,
    member_epoch: INT32 => 9..=LAST,
    topics: Array(&Struct(&OFFSET_FETCH_REQUEST_TOPICS)) => 8..=LAST,
});

fields!(OFFSET_FETCH_REQUEST {
    group_id: STR => 0..=7,
    topics: Array(&Struct(&OFFSET_FETCH_REQUEST_TOPIC)) => 0..=7,
    groups: Array(&Struct(&OFFSET_FETCH_REQUEST_GROUP)) => 8..=LAST,
    require_stable: INT8 => 7..=LAST,
});

fields!(OFFSET_FETCH_RESPONSE_PARTITION {
    partition_index: INT32 => 0..=7,
    committed_offset: INT64 => 0..=7,
    committed_leader_epoch: INT32 => 5..=7,
    metadata: STR => 0..=7,
    error_code: INT16 => 0..=7,
});

fields!(OFFSET_FETCH_RESPONSE_TOPIC {
    name: STR => 0..=7,
    partitions: Array(&Struct(&OFFSET_FETCH_RESPONSE_PARTITION)) => 0..=7,
});

fields!(OFFSET_FETCH_RESPONSE_PARTITIONS {
    partition_index: INT32 => 8..=LAST,
    committed_offset: INT64 => 8..=LAST,
    committed_leader_epoch: INT32 => 8..=LAST,
    metadata: STR => 8..=LAST,
    error_code: INT16 => 8..=LAST,
});

fields!(OFFSET_FETCH_RESPONSE_TOPICS {
    name: STR => 8..=9,
    topic_id: UUID => 10..=LAST,
    partitions: Array(&Struct(&OFFSET_FETCH_RESPONSE_PARTITIONS)) => 8..=LAST,
});

fields!(OFFSET_FETCH_RESPONSE_GROUP {
    group_id: STR => 8..=LAST,
    topics: Array(&Struct(&OFFSET_FETCH_RESPONSE_TOPICS)) => 8..=LAST,
    error_code: INT16 => 8..=LAST,
});

fields!(OFFSET_FETCH_RESPONSE {
    throttle_time_ms: INT32 => 3..=LAST,
    topics: Array(&Struct(&OFFSET_FETCH_RESPONSE_TOPIC)) => 0..=7,
    error_code: INT16 => 2..=7,
    groups: Array(&Struct(&OFFSET_FETCH_RESPONSE_GROUP)) => 8..=LAST,
});

// JoinGroup

fields!(JOIN_GROUP_REQUEST_PROTOCOL {
    name: STR,
    metadata: BYTES,
});

fields!(JOIN_GROUP_REQUEST {
    group_id: STR,
    session_timeout_ms: INT32,
    rebalance_timeout_ms: INT32 => 1..=LAST,
    member_id: STR,
    group_instance_id: STR => 5..=LAST,
    protocol_type: STR,
    protocols: Array(&Struct(&JOIN_GROUP_REQUEST_PROTOCOL)),
    reason: STR => 8..=LAST,
});

fields!(JOIN_GROUP_RESPONSE_MEMBER {
    member_id: STR,
    group_instance_id: STR => 5..=LAST,
    metadata: BYTES,
});

fields!(JOIN_GROUP_RESPONSE {
    throttle_time_ms: INT32 => 2..=LAST,
    error_code: INT16,
    generation_id: INT32,
    protocol_type: STR => 7..=LAST,
    protocol_name: STR,
    leader: STR,
    skip_assignment: INT8 => 9..=LAST,
    member_id: STR,
    members: Array(&Struct(&JOIN_GROUP_RESPONSE_MEMBER)),
});

// Heartbeat

fields!(HEARTBEAT_REQUEST {
    group_id: STR,
    generation_id: INT32,
    member_id: STR,
    group_instance_id: STR => 3..=LAST,
});

fields!(HEARTBEAT_RESPONSE {
    throttle_time_ms: INT32 => 1..=LAST,
    error_code: INT16,
});

// LeaveGroup

fields!(LEAVE_GROUP_REQUEST_MEMBER_IDENTITY {
    member_id: STR => 3..=LAST,
    group_instance_id: STR => 3..=LAST,
    reason: STR => 5..=LAST,
});

fields!(LEAVE_GROUP_REQUEST {
    group_id: STR,
    member_id: STR => 0..=2,
    members: Array(&Struct(&LEAVE_GROUP_REQUEST_MEMBER_IDENTITY)) => 3..=LAST,
});

fields!(LEAVE_GROUP_RESPONSE_MEMBER_RESPONSE {
    member_id: STR => 3..=LAST,
    group_instance_id: STR => 3..=LAST,
    error_code: INT16 => 3..=LAST,
});

fields!(LEAVE_GROUP_RESPONSE {
    throttle_time_ms: INT32 => 1..=LAST,
    error_code: INT16,
    members: Array(&Struct(&LEAVE_GROUP_RESPONSE_MEMBER_RESPONSE)) => 3..=LAST,
});

// SyncGroup

fields!(SYNC_GROUP_REQUEST_ASSIGNMENT {
    member_id: STR,
    assignment: BYTES,
});

fields!(SYNC_GROUP_REQUEST {
    group_id: STR,
    generation_id: INT32,
    member_id: STR,
    group_instance_id: STR => 3..=LAST,
    protocol_type: STR => 5..=LAST,
    protocol_name: STR => 5..=LAST,
    assignments: Array(&Struct(&SYNC_GROUP_REQUEST_ASSIGNMENT)),
});

fields!(SYNC_GROUP_RESPONSE {
    throttle_time_ms: INT32 => 1..=LAST,
    error_code: INT16,
    protocol_type: STR => 5..=LAST,
    protocol_name: STR => 5..=LAST,
    assignment: BYTES,
});

// DescribeGroups

fields!(DESCRIBE_GROUPS_REQUEST {
    groups: Array(&STR),
    include_authorized_operations: INT8 => 3..=LAST,
});

fields!(DESCRIBE_GROUPS_RESPONSE_DESCRIBED_GROUP_MEMBER {
    member_id: STR,
    group_instance_id: STR => 4..=LAST,
    client_id: STR,
    client_host: STR,
    member_metadata: BYTES,
    member_assignment: BYTES,
});

fields!(DESCRIBE_GROUPS_RESPONSE_DESCRIBED_GROUP {
    error_code: INT16,
    error_message: STR => 6..=LAST,
    group_id: STR,
    group_state: STR,
    protocol_type: STR,
    protocol_data: STR,
    members: Array(&Struct(&DESCRIBE_GROUPS_RESPONSE_DESCRIBED_GROUP_MEMBER)),
    authorized_operations: INT32 => 3..=LAST,
});

fields!(DESCRIBE_GROUPS_RESPONSE {
    throttle_time_ms: INT32 => 1..=LAST,
    groups: Array(&Struct(&DESCRIBE_GROUPS_RESPONSE_DESCRIBED_GROUP)),
});

// ListGroups

fields!(LIST_GROUPS_REQUEST {
    states_filter: Array(&STR) => 4..=LAST,
    types_filter: Array(&STR) => 5..=LAST,
});

fields!(LIST_GROUPS_RESPONSE_LISTED_GROUP {
    group_id: STR,
    protocol_type: STR,
    group_state: STR => 4..=LAST,
    group_type: STR => 5..=LAST,
});

fields!(LIST_GROUPS_RESPONSE {
    throttle_time_ms: INT32 => 1..=LAST,
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
