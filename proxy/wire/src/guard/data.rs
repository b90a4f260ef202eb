//! Records and where they begin and end.

use super::schema::Kind::{Array, Struct};
use super::schema::{Api, BYTES, Half, INT8, INT16, INT32, INT64, LAST, STR, UUID, fields};

/// The APIs of this family.
pub(super) const APIS: &[Api] = &[
    Api {
        key: 0,
        request: Half::of(3..=13, 9, &PRODUCE_REQUEST),
        response: Half::of(3..=13, 9, &PRODUCE_RESPONSE),
    },
    Api {
        key: 1,
        request: Half::of(4..=18, 12, &FETCH_REQUEST),
        response: Half::of(4..=18, 12, &FETCH_RESPONSE),
    },
    Api {
        key: 2,
        request: Half::of(1..=10, 6, &LIST_OFFSETS_REQUEST),
        response: Half::of(1..=10, 6, &LIST_OFFSETS_RESPONSE),
    },
    Api {
        key: 23,
        request: Half::of(2..=4, 4, &OFFSET_FOR_LEADER_EPOCH_REQUEST),
        response: Half::of(2..=4, 4, &OFFSET_FOR_LEADER_EPOCH_RESPONSE),
    },
    Api {
        key: 21,
        request: Half::of(0..=2, 2, &DELETE_RECORDS_REQUEST),
        response: Half::of(0..=2, 2, &DELETE_RECORDS_RESPONSE),
    },
];

// Produce

fields!(PRODUCE_REQUEST_PARTITION_PRODUCE_DATA {
    index: INT32,
    records: BYTES,
});

fields!(PRODUCE_REQUEST_TOPIC_PRODUCE_DATA {
    name: STR => 0..=12,
    topic_id: UUID => 13..=LAST,
    partition_data: Array(&Struct(&PRODUCE_REQUEST_PARTITION_PRODUCE_DATA)),
});

fields!(PRODUCE_REQUEST {
    transactional_id: STR,
    acks: INT16,
    timeout_ms: INT32,
    topic_data: Array(&Struct(&PRODUCE_REQUEST_TOPIC_PRODUCE_DATA)),
});

fields!(PRODUCE_RESPONSE_BATCH_INDEX_AND_ERROR_MESSAGE {
    batch_index: INT32 => 8..=LAST,
    batch_index_error_message: STR => 8..=LAST,
});

fields!(PRODUCE_RESPONSE_LEADER_ID_AND_EPOCH {
    leader_id: INT32 => 10..=LAST,
    leader_epoch: INT32 => 10..=LAST,
});

fields!(PRODUCE_RESPONSE_PARTITION_PRODUCE_RESPONSE {
    index: INT32,
    error_code: INT16,
    base_offset: INT64,
    log_append_time_ms: INT64,
    log_start_offset: INT64 => 5..=LAST,
    record_errors: Array(&Struct(&PRODUCE_RESPONSE_BATCH_INDEX_AND_ERROR_MESSAGE)) => 8..=LAST,
    error_message: STR => 8..=LAST,
} tagged {
    0 current_leader: Struct(&PRODUCE_RESPONSE_LEADER_ID_AND_EPOCH) => 10..=LAST,
});

fields!(PRODUCE_RESPONSE_TOPIC_PRODUCE_RESPONSE {
    name: STR => 0..=12,
    topic_id: UUID => 13..=LAST,
    partition_responses: Array(&Struct(&PRODUCE_RESPONSE_PARTITION_PRODUCE_RESPONSE)),
});

fields!(PRODUCE_RESPONSE_NODE_ENDPOINT {
    node_id: INT32 => 10..=LAST,
    host: STR => 10..=LAST,
    port: INT32 => 10..=LAST,
    rack: STR => 10..=LAST,
});

fields!(PRODUCE_RESPONSE {
    responses: Array(&Struct(&PRODUCE_RESPONSE_TOPIC_PRODUCE_RESPONSE)),
    throttle_time_ms: INT32,
} tagged {
    0 node_endpoints: Array(&Struct(&PRODUCE_RESPONSE_NODE_ENDPOINT)) => 10..=LAST,
});

// Fetch

fields!(FETCH_REQUEST_PARTITION {
    partition: INT32,
    current_leader_epoch: INT32 => 9..=LAST,
    fetch_offset: INT64,
    last_fetched_epoch: INT32 => 12..=LAST,
    log_start_offset: INT64 => 5..=LAST,
    partition_max_bytes: INT32,
} tagged {
    0 replica_directory_id: UUID => 17..=LAST,
    1 high_watermark: INT64 => 18..=LAST,
});

fields!(FETCH_REQUEST_TOPIC {
    topic: STR => 0..=12,
    topic_id: UUID => 13..=LAST,
    partitions: Array(&Struct(&FETCH_REQUEST_PARTITION)),
});

fields!(FETCH_REQUEST_FORGOTTEN_TOPIC {
    topic: STR => 7..=12,
    topic_id: UUID => 13..=LAST,
    partitions: Array(&INT32) => 7..=LAST,
});

fields!(FETCH_REQUEST_REPLICA_STATE {
    replica_id: INT32 => 15..=LAST,
    replica_epoch: INT64 => 15..=LAST,
});

fields!(FETCH_REQUEST {
    replica_id: INT32 => 0..=14,
    max_wait_ms: INT32,
    min_bytes: INT32,
    max_bytes: INT32,
    isolation_level: INT8,
    session_id: INT32 => 7..=LAST,
    session_epoch: INT32 => 7..=LAST,
    topics: Array(&Struct(&FETCH_REQUEST_TOPIC)),
    forgotten_topics_data: Array(&Struct(&FETCH_REQUEST_FORGOTTEN_TOPIC)) => 7..=LAST,
    rack_id: STR => 11..=LAST,
} tagged {
    0 cluster_id: STR => 0..=LAST,
    1 replica_state: Struct(&FETCH_REQUEST_REPLICA_STATE) => 15..=LAST,
});

fields!(FETCH_RESPONSE_ABORTED_TRANSACTION {
    producer_id: INT64,
    first_offset: INT64,
});

fields!(FETCH_RESPONSE_EPOCH_END_OFFSET {
    epoch: INT32 => 12..=LAST,
    end_offset: INT64 => 12..=LAST,
});

fields!(FETCH_RESPONSE_LEADER_ID_AND_EPOCH {
    leader_id: INT32 => 12..=LAST,
    leader_epoch: INT32 => 12..=LAST,
});

fields!(FETCH_RESPONSE_SNAPSHOT_ID {
    end_offset: INT64,
    epoch: INT32,
});

fields!(FETCH_RESPONSE_PARTITION_DATA {
    partition_index: INT32,
    error_code: INT16,
    high_watermark: INT64,
    last_stable_offset: INT64,
    log_start_offset: INT64 => 5..=LAST,
    aborted_transactions: Array(&Struct(&FETCH_RESPONSE_ABORTED_TRANSACTION)),
    preferred_read_replica: INT32 => 11..=LAST,
    records: BYTES,
} tagged {
    0 diverging_epoch: Struct(&FETCH_RESPONSE_EPOCH_END_OFFSET) => 0..=LAST,
    1 current_leader: Struct(&FETCH_RESPONSE_LEADER_ID_AND_EPOCH) => 0..=LAST,
    2 snapshot_id: Struct(&FETCH_RESPONSE_SNAPSHOT_ID) => 0..=LAST,
});

fields!(FETCH_RESPONSE_ABLE_TOPIC_RESPONSE {
    topic: STR => 0..=12,
    topic_id: UUID => 13..=LAST,
    partitions: Array(&Struct(&FETCH_RESPONSE_PARTITION_DATA)),
});

fields!(FETCH_RESPONSE_NODE_ENDPOINT {
    node_id: INT32 => 16..=LAST,
    host: STR => 16..=LAST,
    port: INT32 => 16..=LAST,
    rack: STR => 16..=LAST,
});

fields!(FETCH_RESPONSE {
    throttle_time_ms: INT32,
    error_code: INT16 => 7..=LAST,
    session_id: INT32 => 7..=LAST,
    responses: Array(&Struct(&FETCH_RESPONSE_ABLE_TOPIC_RESPONSE)),
} tagged {
    0 node_endpoints: Array(&Struct(&FETCH_RESPONSE_NODE_ENDPOINT)) => 16..=LAST,
});

// ListOffsets

fields!(LIST_OFFSETS_REQUEST_PARTITION {
    partition_index: INT32,
    current_leader_epoch: INT32 => 4..=LAST,
    timestamp: INT64,
});

fields!(LIST_OFFSETS_REQUEST_TOPIC {
    name: STR,
    partitions: Array(&Struct(&LIST_OFFSETS_REQUEST_PARTITION)),
});

fields!(LIST_OFFSETS_REQUEST {
    replica_id: INT32,
    isolation_level: INT8 => 2..=LAST,
    topics: Array(&Struct(&LIST_OFFSETS_REQUEST_TOPIC)),
    timeout_ms: INT32 => 10..=LAST,
});

fields!(LIST_OFFSETS_RESPONSE_PARTITION_RESPONSE {
    partition_index: INT32,
    error_code: INT16,
    timestamp: INT64,
    offset: INT64,
    leader_epoch: INT32 => 4..=LAST,
});

fields!(LIST_OFFSETS_RESPONSE_TOPIC_RESPONSE {
    name: STR,
    partitions: Array(&Struct(&LIST_OFFSETS_RESPONSE_PARTITION_RESPONSE)),
});

fields!(LIST_OFFSETS_RESPONSE {
    throttle_time_ms: INT32 => 2..=LAST,
    topics: Array(&Struct(&LIST_OFFSETS_RESPONSE_TOPIC_RESPONSE)),
});

// OffsetForLeaderEpoch

fields!(
    OFFSET_FOR_LEADER_EPOCH_REQUEST_OFFSET_FOR_LEADER_PARTITION {
        partition: INT32,
        current_leader_epoch: INT32,
        leader_epoch: INT32,
    }
);

fields!(OFFSET_FOR_LEADER_EPOCH_REQUEST_OFFSET_FOR_LEADER_TOPIC {
    topic: STR,
    partitions: Array(&Struct(
        &OFFSET_FOR_LEADER_EPOCH_REQUEST_OFFSET_FOR_LEADER_PARTITION
    )),
});

fields!(OFFSET_FOR_LEADER_EPOCH_REQUEST {
    replica_id: INT32 => 3..=LAST,
    topics: Array(&Struct(&OFFSET_FOR_LEADER_EPOCH_REQUEST_OFFSET_FOR_LEADER_TOPIC)),
});

fields!(OFFSET_FOR_LEADER_EPOCH_RESPONSE_EPOCH_END_OFFSET {
    error_code: INT16,
    partition: INT32,
    leader_epoch: INT32,
    end_offset: INT64,
});

fields!(
    OFFSET_FOR_LEADER_EPOCH_RESPONSE_OFFSET_FOR_LEADER_TOPIC_RESULT {
        topic: STR,
        partitions: Array(&Struct(&OFFSET_FOR_LEADER_EPOCH_RESPONSE_EPOCH_END_OFFSET)),
    }
);

fields!(OFFSET_FOR_LEADER_EPOCH_RESPONSE {
    throttle_time_ms: INT32,
    topics: Array(&Struct(
        &OFFSET_FOR_LEADER_EPOCH_RESPONSE_OFFSET_FOR_LEADER_TOPIC_RESULT
    )),
});

// DeleteRecords

fields!(DELETE_RECORDS_REQUEST_PARTITION {
    partition_index: INT32,
    offset: INT64,
});

fields!(DELETE_RECORDS_REQUEST_TOPIC {
    name: STR,
    partitions: Array(&Struct(&DELETE_RECORDS_REQUEST_PARTITION)),
});

fields!(DELETE_RECORDS_REQUEST {
    topics: Array(&Struct(&DELETE_RECORDS_REQUEST_TOPIC)),
    timeout_ms: INT32,
});

fields!(DELETE_RECORDS_RESPONSE_PARTITION_RESULT {
    partition_index: INT32,
    low_watermark: INT64,
    error_code: INT16,
});

fields!(DELETE_RECORDS_RESPONSE_TOPIC_RESULT {
    name: STR,
    partitions: Array(&Struct(&DELETE_RECORDS_RESPONSE_PARTITION_RESULT)),
});

fields!(DELETE_RECORDS_RESPONSE {
    throttle_time_ms: INT32,
    topics: Array(&Struct(&DELETE_RECORDS_RESPONSE_TOPIC_RESULT)),
});
