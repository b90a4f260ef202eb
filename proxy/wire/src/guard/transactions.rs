//! Producer ids and transactions.

use super::schema::Kind::{Array, Struct};
use super::schema::{Api, Half, INT8, INT16, INT32, INT64, LAST, STR, fields};

/// The APIs of this family.
pub(super) const APIS: &[Api] = &[
    Api {
        key: 22,
        request: Half::of(0..=5, 2, &INIT_PRODUCER_ID_REQUEST),
        response: Half::of(0..=6, 2, &INIT_PRODUCER_ID_RESPONSE),
    },
    Api {
        key: 24,
        request: Half::of(0..=5, 3, &ADD_PARTITIONS_TO_TXN_REQUEST),
        response: Half::of(0..=5, 3, &ADD_PARTITIONS_TO_TXN_RESPONSE),
    },
    Api {
        key: 25,
        request: Half::of(0..=4, 3, &ADD_OFFSETS_TO_TXN_REQUEST),
        response: Half::of(0..=4, 3, &ADD_OFFSETS_TO_TXN_RESPONSE),
    },
    Api {
        key: 26,
        request: Half::of(0..=5, 3, &END_TXN_REQUEST),
        response: Half::of(0..=5, 3, &END_TXN_RESPONSE),
    },
    Api {
        key: 27,
        request: Half::of(1..=1, 0, &WRITE_TXN_MARKERS_REQUEST),
        response: Half::of(1..=1, 0, &WRITE_TXN_MARKERS_RESPONSE),
    },
    Api {
        key: 28,
        request: Half::of(0..=5, 3, &TXN_OFFSET_COMMIT_REQUEST),
        response: Half::of(0..=5, 3, &TXN_OFFSET_COMMIT_RESPONSE),
    },
    Api {
        key: 61,
        request: Half::of(0..=0, 0, &DESCRIBE_PRODUCERS_REQUEST),
        response: Half::of(0..=0, 0, &DESCRIBE_PRODUCERS_RESPONSE),
    },
    Api {
        key: 66,
        request: Half::of(0..=2, 0, &LIST_TRANSACTIONS_REQUEST),
        response: Half::of(0..=2, 0, &LIST_TRANSACTIONS_RESPONSE),
    },
];

// InitProducerId

fields!(INIT_PRODUCER_ID_REQUEST {
    transactional_id: STR,
    transaction_timeout_ms: INT32,
    producer_id: INT64 => 3..=LAST,
    producer_epoch: INT16 => 3..=LAST,
});

fields!(INIT_PRODUCER_ID_RESPONSE {
    throttle_time_ms: INT32,
    error_code: INT16,
    producer_id: INT64,
    producer_epoch: INT16,
    ongoing_txn_producer_id: INT64 => 6..=LAST,
    ongoing_txn_producer_epoch: INT16 => 6..=LAST,
});

// AddPartitionsToTxn

fields!(ADD_PARTITIONS_TO_TXN_REQUEST_TOPIC {
    name: STR,
    partitions: Array(&INT32),
});

fields!(ADD_PARTITIONS_TO_TXN_REQUEST_TRANSACTION {
    transactional_id: STR => 4..=LAST,
    producer_id: INT64 => 4..=LAST,
    producer_epoch: INT16 => 4..=LAST,
    verify_only: INT8 => 4..=LAST,
    topics: Array(&Struct(&ADD_PARTITIONS_TO_TXN_REQUEST_TOPIC)) => 4..=LAST,
});

fields!(ADD_PARTITIONS_TO_TXN_REQUEST {
    transactions: Array(&Struct(&ADD_PARTITIONS_TO_TXN_REQUEST_TRANSACTION)) => 4..=LAST,
    v3_and_below_transactional_id: STR => 0..=3,
    v3_and_below_producer_id: INT64 => 0..=3,
    v3_and_below_producer_epoch: INT16 => 0..=3,
    v3_and_below_topics: Array(&Struct(&ADD_PARTITIONS_TO_TXN_REQUEST_TOPIC)) => 0..=3,
});

fields!(ADD_PARTITIONS_TO_TXN_RESPONSE_PARTITION_RESULT {
    partition_index: INT32,
    partition_error_code: INT16,
});

fields!(ADD_PARTITIONS_TO_TXN_RESPONSE_TOPIC_RESULT {
    name: STR,
    results_by_partition: Array(&Struct(&ADD_PARTITIONS_TO_TXN_RESPONSE_PARTITION_RESULT)),
});

fields!(ADD_PARTITIONS_TO_TXN_RESPONSE_RESULT {
    transactional_id: STR => 4..=LAST,
    topic_results: Array(&Struct(&ADD_PARTITIONS_TO_TXN_RESPONSE_TOPIC_RESULT)) => 4..=LAST,
});

fields!(ADD_PARTITIONS_TO_TXN_RESPONSE {
    throttle_time_ms: INT32,
    error_code: INT16 => 4..=LAST,
    results_by_transaction: Array(&Struct(&ADD_PARTITIONS_TO_TXN_RESPONSE_RESULT)) => 4..=LAST,
    results_by_topic_v3_and_below: Array(&Struct(&ADD_PARTITIONS_TO_TXN_RESPONSE_TOPIC_RESULT)) => 0..=3,
});

// AddOffsetsToTxn

fields!(ADD_OFFSETS_TO_TXN_REQUEST {
    transactional_id: STR,
    producer_id: INT64,
    producer_epoch: INT16,
    group_id: STR,
});

fields!(ADD_OFFSETS_TO_TXN_RESPONSE {
    throttle_time_ms: INT32,
    error_code: INT16,
});

// EndTxn

fields!(END_TXN_REQUEST {
    transactional_id: STR,
    producer_id: INT64,
    producer_epoch: INT16,
    committed: INT8,
});

fields!(END_TXN_RESPONSE {
    throttle_time_ms: INT32,
    error_code: INT16,
    producer_id: INT64 => 5..=LAST,
    producer_epoch: INT16 => 5..=LAST,
});

// WriteTxnMarkers

fields!(WRITE_TXN_MARKERS_REQUEST_WRITABLE_TXN_MARKER_TOPIC {
    name: STR,
    partition_indexes: Array(&INT32),
});

fields!(WRITE_TXN_MARKERS_REQUEST_WRITABLE_TXN_MARKER {
    producer_id: INT64,
    producer_epoch: INT16,
    transaction_result: INT8,
    topics: Array(&Struct(
        &WRITE_TXN_MARKERS_REQUEST_WRITABLE_TXN_MARKER_TOPIC
    )),
    coordinator_epoch: INT32,
});

fields!(WRITE_TXN_MARKERS_REQUEST {
    markers: Array(&Struct(&WRITE_TXN_MARKERS_REQUEST_WRITABLE_TXN_MARKER)),
});

fields!(
    WRITE_TXN_MARKERS_RESPONSE_WRITABLE_TXN_MARKER_PARTITION_RESULT {
        partition_index: INT32,
        error_code: INT16,
    }
);

fields!(
    WRITE_TXN_MARKERS_RESPONSE_WRITABLE_TXN_MARKER_TOPIC_RESULT {
        name: STR,
        partitions: Array(&Struct(
            &WRITE_TXN_MARKERS_RESPONSE_WRITABLE_TXN_MARKER_PARTITION_RESULT
        )),
    }
);

fields!(WRITE_TXN_MARKERS_RESPONSE_WRITABLE_TXN_MARKER_RESULT {
    producer_id: INT64,
    topics: Array(&Struct(
        &WRITE_TXN_MARKERS_RESPONSE_WRITABLE_TXN_MARKER_TOPIC_RESULT
    )),
});

fields!(WRITE_TXN_MARKERS_RESPONSE {
    markers: Array(&Struct(
        &WRITE_TXN_MARKERS_RESPONSE_WRITABLE_TXN_MARKER_RESULT
    )),
});

// TxnOffsetCommit

fields!(TXN_OFFSET_COMMIT_REQUEST_PARTITION {
    partition_index: INT32,
    committed_offset: INT64,
    committed_leader_epoch: INT32 => 2..=LAST,
    committed_metadata: STR,
});

fields!(TXN_OFFSET_COMMIT_REQUEST_TOPIC {
    name: STR,
    partitions: Array(&Struct(&TXN_OFFSET_COMMIT_REQUEST_PARTITION)),
});

fields!(TXN_OFFSET_COMMIT_REQUEST {
    transactional_id: STR,
    group_id: STR,
    producer_id: INT64,
    producer_epoch: INT16,
    generation_id: INT32 => 3..=LAST,
    member_id: STR => 3..=LAST,
    group_instance_id: STR => 3..=LAST,
    topics: Array(&Struct(&TXN_OFFSET_COMMIT_REQUEST_TOPIC)),
});

fields!(TXN_OFFSET_COMMIT_RESPONSE_PARTITION {
    partition_index: INT32,
    error_code: INT16,
});

fields!(TXN_OFFSET_COMMIT_RESPONSE_TOPIC {
    name: STR,
    partitions: Array(&Struct(&TXN_OFFSET_COMMIT_RESPONSE_PARTITION)),
});

fields!(TXN_OFFSET_COMMIT_RESPONSE {
    throttle_time_ms: INT32,
    topics: Array(&Struct(&TXN_OFFSET_COMMIT_RESPONSE_TOPIC)),
});

// DescribeProducers

fields!(DESCRIBE_PRODUCERS_REQUEST_TOPIC_REQUEST {
    name: STR,
    partition_indexes: Array(&INT32),
});

fields!(DESCRIBE_PRODUCERS_REQUEST {
    topics: Array(&Struct(&DESCRIBE_PRODUCERS_REQUEST_TOPIC_REQUEST)),
});

fields!(DESCRIBE_PRODUCERS_RESPONSE_PRODUCER_STATE {
    producer_id: INT64,
    producer_epoch: INT32,
    last_sequence: INT32,
    last_timestamp: INT64,
    coordinator_epoch: INT32,
    current_txn_start_offset: INT64,
});

fields!(DESCRIBE_PRODUCERS_RESPONSE_PARTITION_RESPONSE {
    partition_index: INT32,
    error_code: INT16,
    error_message: STR,
    active_producers: Array(&Struct(&DESCRIBE_PRODUCERS_RESPONSE_PRODUCER_STATE)),
});

fields!(DESCRIBE_PRODUCERS_RESPONSE_TOPIC_RESPONSE {
    name: STR,
    partitions: Array(&Struct(&DESCRIBE_PRODUCERS_RESPONSE_PARTITION_RESPONSE)),
});

fields!(DESCRIBE_PRODUCERS_RESPONSE {
    throttle_time_ms: INT32,
    topics: Array(&Struct(&DESCRIBE_PRODUCERS_RESPONSE_TOPIC_RESPONSE)),
});

// ListTransactions

fields!(LIST_TRANSACTIONS_REQUEST {
    state_filters: Array(&STR),
    producer_id_filters: Array(&INT64),
    duration_filter: INT64 => 1..=LAST,
    transactional_id_pattern: STR => 2..=LAST,
});

fields!(LIST_TRANSACTIONS_RESPONSE_TRANSACTION_STATE {
    transactional_id: STR,
    producer_id: INT64,
    transaction_state: STR,
});

fields!(LIST_TRANSACTIONS_RESPONSE {
    throttle_time_ms: INT32,
    error_code: INT16,
    unknown_state_filters: Array(&STR),
    transaction_states: Array(&Struct(&LIST_TRANSACTIONS_RESPONSE_TRANSACTION_STATE)),
});
