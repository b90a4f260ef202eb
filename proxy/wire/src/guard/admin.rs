//! Topics, configurations and log directories.

use super::schema::Kind::{Array, Struct};
use super::schema::{Api, Half, INT8, INT16, INT32, INT64, LAST, STR, UUID, fields};

/// The APIs of this family.
pub(super) const APIS: &[Api] = &[
    Api {
        key: 19,
        request: Half::of(2..=7, 5, &CREATE_TOPICS_REQUEST),
        response: Half::of(2..=7, 5, &CREATE_TOPICS_RESPONSE),
    },
    Api {
        key: 20,
        request: Half::of(1..=6, 4, &DELETE_TOPICS_REQUEST),
        response: Half::of(1..=6, 4, &DELETE_TOPICS_RESPONSE),
    },
    Api {
        key: 37,
        request: Half::of(0..=3, 2, &CREATE_PARTITIONS_REQUEST),
        response: Half::of(0..=3, 2, &CREATE_PARTITIONS_RESPONSE),
    },
    Api {
        key: 32,
        request: Half::of(1..=4, 4, &DESCRIBE_CONFIGS_REQUEST),
        response: Half::of(1..=4, 4, &DESCRIBE_CONFIGS_RESPONSE),
    },
    Api {
        key: 33,
        request: Half::of(0..=2, 2, &ALTER_CONFIGS_REQUEST),
        response: Half::of(0..=2, 2, &ALTER_CONFIGS_RESPONSE),
    },
    Api {
        key: 44,
        request: Half::of(0..=1, 1, &INCREMENTAL_ALTER_CONFIGS_REQUEST),
        response: Half::of(0..=1, 1, &INCREMENTAL_ALTER_CONFIGS_RESPONSE),
    },
    Api {
        key: 35,
        request: Half::of(1..=4, 2, &DESCRIBE_LOG_DIRS_REQUEST),
        response: Half::of(1..=4, 2, &DESCRIBE_LOG_DIRS_RESPONSE),
    },
];

// CreateTopics

fields!(CREATE_TOPICS_REQUEST_CREATABLE_REPLICA_ASSIGNMENT {
    partition_index: INT32,
    broker_ids: Array(&INT32),
});

fields!(CREATE_TOPICS_REQUEST_CREATABLE_TOPIC_CONFIG {
    name: STR,
    value: STR,
});

fields!(CREATE_TOPICS_REQUEST_CREATABLE_TOPIC {
    name: STR,
    num_partitions: INT32,
    replication_factor: INT16,
    assignments: Array(&Struct(&CREATE_TOPICS_REQUEST_CREATABLE_REPLICA_ASSIGNMENT)),
    configs: Array(&Struct(&CREATE_TOPICS_REQUEST_CREATABLE_TOPIC_CONFIG)),
});

fields!(CREATE_TOPICS_REQUEST {
    topics: Array(&Struct(&CREATE_TOPICS_REQUEST_CREATABLE_TOPIC)),
    timeout_ms: INT32,
    validate_only: INT8,
});

fields!(CREATE_TOPICS_RESPONSE_CREATABLE_TOPIC_CONFIGS {
    name: STR => 5..=LAST,
    value: STR => 5..=LAST,
    read_only: INT8 => 5..=LAST,
    config_source: INT8 => 5..=LAST,
    is_sensitive: INT8 => 5..=LAST,
});

fields!(CREATE_TOPICS_RESPONSE_CREATABLE_TOPIC_RESULT {
    name: STR,
    topic_id: UUID => 7..=LAST,
    error_code: INT16,
    error_message: STR,
    num_partitions: INT32 => 5..=LAST,
    replication_factor: INT16 => 5..=LAST,
    configs: Array(&Struct(&CREATE_TOPICS_RESPONSE_CREATABLE_TOPIC_CONFIGS)) => 5..=LAST,
} tagged {
    0 topic_config_error_code: INT16 => 0..=LAST,
});

fields!(CREATE_TOPICS_RESPONSE {
    throttle_time_ms: INT32,
    topics: Array(&Struct(&CREATE_TOPICS_RESPONSE_CREATABLE_TOPIC_RESULT)),
});

// DeleteTopics

fields!(DELETE_TOPICS_REQUEST_DELETE_TOPIC_STATE {
    name: STR => 6..=LAST,
    topic_id: UUID => 6..=LAST,
});

fields!(DELETE_TOPICS_REQUEST {
    topics: Array(&Struct(&DELETE_TOPICS_REQUEST_DELETE_TOPIC_STATE)) => 6..=LAST,
    topic_names: Array(&STR) => 0..=5,
    timeout_ms: INT32,
});

fields!(DELETE_TOPICS_RESPONSE_DELETABLE_TOPIC_RESULT {
    name: STR,
    topic_id: UUID => 6..=LAST,
    error_code: INT16,
    error_message: STR => 5..=LAST,
});

fields!(DELETE_TOPICS_RESPONSE {
    throttle_time_ms: INT32,
    responses: Array(&Struct(&DELETE_TOPICS_RESPONSE_DELETABLE_TOPIC_RESULT)),
});

// CreatePartitions

fields!(CREATE_PARTITIONS_REQUEST_ASSIGNMENT {
    broker_ids: Array(&INT32),
});

fields!(CREATE_PARTITIONS_REQUEST_TOPIC {
    name: STR,
    count: INT32,
    assignments: Array(&Struct(&CREATE_PARTITIONS_REQUEST_ASSIGNMENT)),
});

fields!(CREATE_PARTITIONS_REQUEST {
    topics: Array(&Struct(&CREATE_PARTITIONS_REQUEST_TOPIC)),
    timeout_ms: INT32,
    validate_only: INT8,
});

fields!(CREATE_PARTITIONS_RESPONSE_TOPIC_RESULT {
    name: STR,
    error_code: INT16,
    error_message: STR,
});

fields!(CREATE_PARTITIONS_RESPONSE {
    throttle_time_ms: INT32,
    results: Array(&Struct(&CREATE_PARTITIONS_RESPONSE_TOPIC_RESULT)),
});

// DescribeConfigs

fields!(DESCRIBE_CONFIGS_REQUEST_RESOURCE {
    resource_type: INT8,
    resource_name: STR,
    configuration_keys: Array(&STR),
});

fields!(DESCRIBE_CONFIGS_REQUEST {
    resources: Array(&Struct(&DESCRIBE_CONFIGS_REQUEST_RESOURCE)),
    include_synonyms: INT8,
    include_documentation: INT8 => 3..=LAST,
});

fields!(DESCRIBE_CONFIGS_RESPONSE_SYNONYM {
    name: STR,
    value: STR,
    source: INT8,
});

fields!(DESCRIBE_CONFIGS_RESPONSE_RESOURCE_RESULT {
    name: STR,
    value: STR,
    read_only: INT8,
    config_source: INT8,
    is_sensitive: INT8,
    synonyms: Array(&Struct(&DESCRIBE_CONFIGS_RESPONSE_SYNONYM)),
    config_type: INT8 => 3..=LAST,
    documentation: STR => 3..=LAST,
});

fields!(DESCRIBE_CONFIGS_RESPONSE_RESULT {
    error_code: INT16,
    error_message: STR,
    resource_type: INT8,
    resource_name: STR,
    configs: Array(&Struct(&DESCRIBE_CONFIGS_RESPONSE_RESOURCE_RESULT)),
});

fields!(DESCRIBE_CONFIGS_RESPONSE {
    throttle_time_ms: INT32,
    results: Array(&Struct(&DESCRIBE_CONFIGS_RESPONSE_RESULT)),
});

// AlterConfigs

fields!(ALTER_CONFIGS_REQUEST_ALTERABLE_CONFIG {
    name: STR,
    value: STR,
});

fields!(ALTER_CONFIGS_REQUEST_RESOURCE {
    resource_type: INT8,
    resource_name: STR,
    configs: Array(&Struct(&ALTER_CONFIGS_REQUEST_ALTERABLE_CONFIG)),
});

fields!(ALTER_CONFIGS_REQUEST {
    resources: Array(&Struct(&ALTER_CONFIGS_REQUEST_RESOURCE)),
    validate_only: INT8,
});

fields!(ALTER_CONFIGS_RESPONSE_RESOURCE_RESPONSE {
    error_code: INT16,
    error_message: STR,
    resource_type: INT8,
    resource_name: STR,
});

fields!(ALTER_CONFIGS_RESPONSE {
    throttle_time_ms: INT32,
    responses: Array(&Struct(&ALTER_CONFIGS_RESPONSE_RESOURCE_RESPONSE)),
});

// IncrementalAlterConfigs

fields!(INCREMENTAL_ALTER_CONFIGS_REQUEST_ALTERABLE_CONFIG {
    name: STR,
    config_operation: INT8,
    value: STR,
});

fields!(INCREMENTAL_ALTER_CONFIGS_REQUEST_ALTER_CONFIGS_RESOURCE {
    resource_type: INT8,
    resource_name: STR,
    configs: Array(&Struct(&INCREMENTAL_ALTER_CONFIGS_REQUEST_ALTERABLE_CONFIG)),
});

fields!(INCREMENTAL_ALTER_CONFIGS_REQUEST {
    resources: Array(&Struct(
        &INCREMENTAL_ALTER_CONFIGS_REQUEST_ALTER_CONFIGS_RESOURCE
    )),
    validate_only: INT8,
});

fields!(
    INCREMENTAL_ALTER_CONFIGS_RESPONSE_ALTER_CONFIGS_RESOURCE_RESPONSE {
        error_code: INT16,
        error_message: STR,
        resource_type: INT8,
        resource_name: STR,
    }
);

fields!(INCREMENTAL_ALTER_CONFIGS_RESPONSE {
    throttle_time_ms: INT32,
    responses: Array(&Struct(
        &INCREMENTAL_ALTER_CONFIGS_RESPONSE_ALTER_CONFIGS_RESOURCE_RESPONSE
    )),
});

// DescribeLogDirs

fields!(DESCRIBE_LOG_DIRS_REQUEST_DESCRIBABLE_LOG_DIR_TOPIC {
    topic: STR,
    partitions: Array(&INT32),
});

fields!(DESCRIBE_LOG_DIRS_REQUEST {
    topics: Array(&Struct(
        &DESCRIBE_LOG_DIRS_REQUEST_DESCRIBABLE_LOG_DIR_TOPIC
    )),
});

fields!(DESCRIBE_LOG_DIRS_RESPONSE_PARTITION {
    partition_index: INT32,
    partition_size: INT64,
    offset_lag: INT64,
    is_future_key: INT8,
});

fields!(DESCRIBE_LOG_DIRS_RESPONSE_TOPIC {
    name: STR,
    partitions: Array(&Struct(&DESCRIBE_LOG_DIRS_RESPONSE_PARTITION)),
});

fields!(DESCRIBE_LOG_DIRS_RESPONSE_RESULT {
    error_code: INT16,
    log_dir: STR,
    topics: Array(&Struct(&DESCRIBE_LOG_DIRS_RESPONSE_TOPIC)),
    total_bytes: INT64 => 4..=LAST,
    usable_bytes: INT64 => 4..=LAST,
});

fields!(DESCRIBE_LOG_DIRS_RESPONSE {
    throttle_time_ms: INT32,
    error_code: INT16 => 3..=LAST,
    results: Array(&Struct(&DESCRIBE_LOG_DIRS_RESPONSE_RESULT)),
});
