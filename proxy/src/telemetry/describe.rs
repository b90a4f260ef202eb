//! Every metric of Lockgate with what it means. A metric that is not listed here is a mistake.

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

/// Hands the recorder the help texts.
pub(super) fn describe() {
    data_path();
    replicator();
    moves();
    verification();
    describe_gauge!(
        "lockgate_state_copy_open",
        "1 where the copy of the state at this side is open and level."
    );
    describe_histogram!(
        "lockgate_state_write_seconds",
        Unit::Seconds,
        "How long a write of the state took, all its copies read back."
    );
    describe_gauge!(
        "lockgate_cluster_reachable",
        "1 where the last look at this side's cluster succeeded."
    );
    describe_gauge!(
        "lockgate_build_info",
        "Always 1; the version is in the label."
    );
}

fn data_path() {
    describe_counter!(
        "lockgate_requests_total",
        "Client requests by API and treatment."
    );
    describe_counter!(
        "lockgate_bytes_total",
        Unit::Bytes,
        "Bytes between clients and Lockgate, by direction."
    );
    describe_gauge!(
        "lockgate_connections",
        "Open client connections by virtual node."
    );
    describe_counter!(
        "lockgate_bad_frames_total",
        "Client connections ended for bytes that are not Kafka's, by reason."
    );
    describe_counter!(
        "lockgate_forwarded_produce_total",
        "Produce requests that arrived at one cluster's node and were forwarded to the other."
    );
    describe_gauge!(
        "lockgate_parked_requests",
        "Requests that wait for a fence to open or to be lifted."
    );
}

fn replicator() {
    describe_gauge!(
        "lockgate_replication_lag_records",
        "Records that a link is behind, by topic and partition."
    );
    describe_gauge!(
        "lockgate_replication_lag_bytes",
        Unit::Bytes,
        "Bytes fetched and not yet written, by topic and partition."
    );
    describe_gauge!(
        "lockgate_replication_lag_ms",
        Unit::Milliseconds,
        "How long the oldest record that is not copied has waited, by topic and partition."
    );
    describe_counter!("lockgate_replicated_batches_total", "Batches copied.");
    describe_counter!(
        "lockgate_replicated_markers_total",
        "Markers written in the place of offsets without a record."
    );
    describe_counter!(
        "lockgate_replicated_bytes_total",
        Unit::Bytes,
        "Bytes of batches copied."
    );
}

fn verification() {
    describe_counter!(
        "lockgate_verified_bytes_total",
        Unit::Bytes,
        "Bytes fetched from both clusters to be compared."
    );
    describe_counter!(
        "lockgate_verified_records_total",
        "Records that were compared."
    );
    describe_counter!(
        "lockgate_verify_differences_total",
        "Offsets that differ between the clusters."
    );
}

fn moves() {
    describe_counter!(
        "lockgate_flips_total",
        "Operations that ended, by kind and outcome."
    );
    describe_histogram!(
        "lockgate_flip_steps_seconds",
        Unit::Seconds,
        "How long the steps of operations took, by route and step."
    );
    describe_gauge!("lockgate_operations_running", "Operations under way.");
    describe_counter!("lockgate_policy_calls_total", "Questions to policies.");
    describe_counter!(
        "lockgate_policy_faults_total",
        "Policies that trapped, overran or answered nonsense."
    );
    describe_counter!(
        "lockgate_policy_guest_total",
        "What policies count themselves."
    );
    describe_counter!(
        "lockgate_policy_log_lines_dropped_total",
        "Log lines of policies over their bound."
    );
}
