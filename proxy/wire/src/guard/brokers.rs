//! What brokers say of themselves and of the cluster, and how a connection begins.

use super::schema::Kind::{Array, Struct};
use super::schema::{Api, BYTES, Half, INT8, INT16, INT32, INT64, LAST, NEVER, STR, UUID, fields};

/// The APIs of this family.
pub(super) const APIS: &[Api] = &[
    Api {
        key: 18,
        request: Half::of(0..=4, 3, &API_VERSIONS_REQUEST),
        response: Half::of(0..=4, 3, &API_VERSIONS_RESPONSE),
    },
    Api {
        key: 3,
        request: Half::of(0..=13, 9, &METADATA_REQUEST),
        response: Half::of(0..=13, 9, &METADATA_RESPONSE),
    },
    Api {
        key: 10,
        request: Half::of(0..=6, 3, &FIND_COORDINATOR_REQUEST),
        response: Half::of(0..=6, 3, &FIND_COORDINATOR_RESPONSE),
    },
    Api {
        key: 60,
        request: Half::of(0..=2, 0, &DESCRIBE_CLUSTER_REQUEST),
        response: Half::of(0..=2, 0, &DESCRIBE_CLUSTER_RESPONSE),
    },
    Api {
        key: 17,
        request: Half::of(0..=1, NEVER, &SASL_HANDSHAKE_REQUEST),
        response: Half::of(0..=1, NEVER, &SASL_HANDSHAKE_RESPONSE),
    },
    Api {
        key: 36,
        request: Half::of(0..=2, 2, &SASL_AUTHENTICATE_REQUEST),
        response: Half::of(0..=2, 2, &SASL_AUTHENTICATE_RESPONSE),
    },
];

// ApiVersions

fields!(API_VERSIONS_REQUEST {
    client_software_name: STR => 3..=LAST,
    client_software_version: STR => 3..=LAST,
});

fields!(API_VERSIONS_RESPONSE_API_VERSION {
    api_key: INT16,
    min_version: INT16,
    max_version: INT16,
});

fields!(API_VERSIONS_RESPONSE_SUPPORTED_FEATURE_KEY {
    name: STR => 3..=LAST,
    min_version: INT16 => 3..=LAST,
    max_version: INT16 => 3..=LAST,
});

fields!(API_VERSIONS_RESPONSE_FINALIZED_FEATURE_KEY {
    name: STR => 3..=LAST,
    max_version_level: INT16 => 3..=LAST,
    min_version_level: INT16 => 3..=LAST,
});

fields!(API_VERSIONS_RESPONSE {
    error_code: INT16,
    api_keys: Array(&Struct(&API_VERSIONS_RESPONSE_API_VERSION)),
    throttle_time_ms: INT32 => 1..=LAST,
} tagged {
    0 supported_features: Array(&Struct(&API_VERSIONS_RESPONSE_SUPPORTED_FEATURE_KEY)) => 0..=LAST,
    1 finalized_features_epoch: INT64 => 0..=LAST,
    2 finalized_features: Array(&Struct(&API_VERSIONS_RESPONSE_FINALIZED_FEATURE_KEY)) => 0..=LAST,
    3 zk_migration_ready: INT8 => 0..=LAST,
});

// Metadata

fields!(METADATA_REQUEST_TOPIC {
    topic_id: UUID => 10..=LAST,
    name: STR,
});

fields!(METADATA_REQUEST {
    topics: Array(&Struct(&METADATA_REQUEST_TOPIC)),
    allow_auto_topic_creation: INT8 => 4..=LAST,
    include_cluster_authorized_operations: INT8 => 8..=10,
    include_topic_authorized_operations: INT8 => 8..=LAST,
});

fields!(METADATA_RESPONSE_BROKER {
    node_id: INT32,
    host: STR,
    port: INT32,
    rack: STR => 1..=LAST,
});

fields!(METADATA_RESPONSE_PARTITION {
    error_code: INT16,
    partition_index: INT32,
    leader_id: INT32,
    leader_epoch: INT32 => 7..=LAST,
    replica_nodes: Array(&INT32),
    isr_nodes: Array(&INT32),
    offline_replicas: Array(&INT32) => 5..=LAST,
});

fields!(METADATA_RESPONSE_TOPIC {
    error_code: INT16,
    name: STR,
    topic_id: UUID => 10..=LAST,
    is_internal: INT8 => 1..=LAST,
    partitions: Array(&Struct(&METADATA_RESPONSE_PARTITION)),
    topic_authorized_operations: INT32 => 8..=LAST,
});

fields!(METADATA_RESPONSE {
    throttle_time_ms: INT32 => 3..=LAST,
    brokers: Array(&Struct(&METADATA_RESPONSE_BROKER)),
    cluster_id: STR => 2..=LAST,
    controller_id: INT32 => 1..=LAST,
    topics: Array(&Struct(&METADATA_RESPONSE_TOPIC)),
    cluster_authorized_operations: INT32 => 8..=10,
    error_code: INT16 => 13..=LAST,
});

// FindCoordinator

fields!(FIND_COORDINATOR_REQUEST {
    key: STR => 0..=3,
    key_type: INT8 => 1..=LAST,
    coordinator_keys: Array(&STR) => 4..=LAST,
});

fields!(FIND_COORDINATOR_RESPONSE_COORDINATOR {
    key: STR => 4..=LAST,
    node_id: INT32 => 4..=LAST,
    host: STR => 4..=LAST,
    port: INT32 => 4..=LAST,
    error_code: INT16 => 4..=LAST,
    error_message: STR => 4..=LAST,
});

fields!(FIND_COORDINATOR_RESPONSE {
    throttle_time_ms: INT32 => 1..=LAST,
    error_code: INT16 => 0..=3,
    error_message: STR => 1..=3,
    node_id: INT32 => 0..=3,
    host: STR => 0..=3,
    port: INT32 => 0..=3,
    coordinators: Array(&Struct(&FIND_COORDINATOR_RESPONSE_COORDINATOR)) => 4..=LAST,
});

// DescribeCluster

fields!(DESCRIBE_CLUSTER_REQUEST {
    include_cluster_authorized_operations: INT8,
    endpoint_type: INT8 => 1..=LAST,
    include_fenced_brokers: INT8 => 2..=LAST,
});

fields!(DESCRIBE_CLUSTER_RESPONSE_BROKER {
    broker_id: INT32,
    host: STR,
    port: INT32,
    rack: STR,
    is_fenced: INT8 => 2..=LAST,
});

fields!(DESCRIBE_CLUSTER_RESPONSE {
    throttle_time_ms: INT32,
    error_code: INT16,
    error_message: STR,
    endpoint_type: INT8 => 1..=LAST,
    cluster_id: STR,
    controller_id: INT32,
    brokers: Array(&Struct(&DESCRIBE_CLUSTER_RESPONSE_BROKER)),
    cluster_authorized_operations: INT32,
});

// SaslHandshake

fields!(SASL_HANDSHAKE_REQUEST { mechanism: STR });

fields!(SASL_HANDSHAKE_RESPONSE {
    error_code: INT16,
    mechanisms: Array(&STR),
});

// SaslAuthenticate

fields!(SASL_AUTHENTICATE_REQUEST { auth_bytes: BYTES });

fields!(SASL_AUTHENTICATE_RESPONSE {
    error_code: INT16,
    error_message: STR,
    auth_bytes: BYTES,
    session_lifetime_ms: INT64 => 1..=LAST,
});
