//! The produce side: per broker that leads copies one loop and one connection for each [`Lane`], one request at a time.
//! A request carries one batch of every partition of the lane that has one ready. Markers go their own way (`markers`).

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use kafka_protocol::ResponseError;
use lockgate_wire::produce::{self, Part};

use super::engine::{Outcome, Write};
use super::lane::{Lane, Led};
use super::link::{Link, Shared, wait};
use crate::error::{Error, Kind, Result};
use crate::upstream::{Cluster, Connection, RawRequest};
use crate::words::{Side, TopicPartition, UpstreamNode};

/// Bytes of one request; a single larger batch is sent alone.
const REQUEST_BYTES_MAX: usize = 8 << 20;
/// How long a broker may wait for its followers.
pub(super) const PRODUCE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long an answer may take before the connection is given up.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);
/// How long a loop without work waits at most: a refused write is tried again after that.
const IDLE: Duration = Duration::from_millis(100);
/// How long a loop waits after an error.
const BACKOFF: Duration = Duration::from_millis(300);
/// The newest Produce that names brokers nowhere (KIP-951).
const VERSION_MAX: i16 = 9;
const VERSION_MIN: i16 = 7;
/// The client id for the brokers' logs and quotas.
const CLIENT_ID: &str = "lockgate-replicator";

/// Writes what one lane of one broker has until the replicator stops.
pub(super) async fn run(shared: Arc<Shared>, side: Side, node: UpstreamNode, lane: Lane) {
    let cluster = shared.clusters.on(side).clone();
    let mut open: Option<Connection> = None;
    let mut led = Led::by(side.other(), side, node);
    let mut writable = shared.writable.subscribe();
    while !shared.is_stopping() {
        writable.borrow_and_update();
        // Nothing is taken before there is a connection: a write that is taken counts as sent.
        let Some(connection) = connected(&cluster, node, open.take()).await else {
            continue;
        };
        let writes = gather(&shared, &mut led, lane);
        if writes.is_empty() {
            open = Some(connection);
            wait(&mut writable, IDLE).await;
            continue;
        }
        let outcomes = match exchange(&connection, &writes).await {
            Ok((version, body)) => outcomes(version, &body, &writes),
            Err(error) => {
                tracing::info!(%side, %node, %error, "a write has no answer");
                writes.iter().map(|_| failed(&error)).collect()
            }
        };
        if settle(&shared, &cluster, &writes, outcomes, Some(lane)).await {
            open = Some(connection);
        }
    }
}

/// The open connection, or a new one. None after an error, and some time.
pub(super) async fn connected(
    cluster: &Cluster,
    node: UpstreamNode,
    open: Option<Connection>,
) -> Option<Connection> {
    if let Some(open) = open.filter(|open| !open.is_closed()) {
        return Some(open);
    }
    match cluster.dedicated(node).await {
        Ok(open) => Some(open),
        Err(error) => {
            tracing::debug!(side = %cluster.side(), %node, %error, "connecting to write");
            tokio::time::sleep(BACKOFF).await;
            // A failed refresh is reported by the cluster itself.
            let _ = cluster.refresh().await;
            None
        }
    }
}

/// What can be written now.
fn gather(shared: &Shared, led: &mut Led, lane: Lane) -> Vec<(Arc<Link>, Write)> {
    let (now, mut bytes) = (shared.now_ms(), 0);
    led.take_writes(shared, lane, |link| {
        if bytes >= REQUEST_BYTES_MAX {
            return None;
        }
        let write = link.engine().take_write(now, 0)?;
        bytes += write.bytes.len();
        Some(write)
    })
}

/// Tells every engine its outcome, and the loops; false if the connection or the view cannot be trusted any more.
pub(super) async fn settle(
    shared: &Shared,
    cluster: &Cluster,
    writes: &[(Arc<Link>, Write)],
    outcomes: Vec<Outcome>,
    lane: Option<Lane>,
) -> bool {
    let clean = tell(shared, writes, outcomes);
    // What follows may be for another loop, which waits.
    let elsewhere = |link: &Link| match lane {
        None => true,
        Some(lane) => link.lane() != lane || link.engine().wants_markers(),
    };
    if writes.iter().any(|(link, _)| elsewhere(link)) {
        shared.writable.raise();
    }
    shared.progress.raise();
    if !clean {
        shared.attention.raise();
        let _ = cluster.refresh().await;
    }
    clean
}

/// Tells every engine its outcome; whether all were written.
fn tell(shared: &Shared, writes: &[(Arc<Link>, Write)], outcomes: Vec<Outcome>) -> bool {
    let now = shared.now_ms();
    let (mut clean, mut bytes, mut batches, mut markers) = (true, 0_u64, 0_u64, 0_u64);
    for ((link, write), outcome) in writes.iter().zip(outcomes) {
        match &outcome {
            Outcome::Written(_) if write.marker_epoch.is_some() => {
                markers += write.records.unsigned_abs();
            }
            Outcome::Written(_) => {
                bytes += write.bytes.len() as u64;
                batches += 1;
            }
            other => {
                clean = false;
                tracing::info!(partition = %link.at, base = write.base, outcome = ?other, "a write was not acknowledged");
            }
        }
        link.engine().answered(outcome, now);
    }
    metrics::counter!("lockgate_replicated_bytes_total").increment(bytes);
    metrics::counter!("lockgate_replicated_batches_total").increment(batches);
    metrics::counter!("lockgate_replicated_markers_total").increment(markers);
    clean
}

/// What an error without an answer means for a write that was taken.
pub(super) fn failed(error: &Error) -> Outcome {
    match error.kind {
        // The request never left: the broker is too old for it.
        Kind::UnsupportedVersion => Outcome::Fatal(error.to_string()),
        _ => Outcome::Unknown,
    }
}

async fn exchange(open: &Connection, writes: &[(Arc<Link>, Write)]) -> Result<(i16, Bytes)> {
    let parts: Vec<Part<'_>> = writes
        .iter()
        .map(|(link, write)| Part {
            topic: &link.at.topic,
            partition: link.at.partition,
            records: write.bytes.clone(),
        })
        .collect();
    exchange_parts(open, &parts).await
}

/// One Produce request with acks=all; the version it was sent in and its answer's body.
async fn exchange_parts(open: &Connection, parts: &[Part<'_>]) -> Result<(i16, Bytes)> {
    let newest = open
        .versions()
        .get(produce::API_KEY)
        .map_or(0, |range| range.1);
    let version = newest.min(VERSION_MAX);
    if version < VERSION_MIN {
        let what = "the brokers do not speak Produce version 7 (Kafka 2.1)";
        return Err(Error::new(open.side(), Kind::UnsupportedVersion, what));
    }
    let mut body = Vec::with_capacity(2 * parts.len() + 1);
    let timeout_ms = i32::try_from(PRODUCE_TIMEOUT.as_millis()).unwrap_or(i32::MAX);
    produce::build_request(
        version,
        None,
        -1,
        timeout_ms,
        parts,
        BytesMut::new(),
        &mut body,
    )
    .map_err(|cause| Error::internal("a Produce could not be built").because(cause))?;
    let request = RawRequest {
        api_key: produce::API_KEY,
        version,
        client_id: Some(Arc::from(CLIENT_ID)),
        body,
    };
    Ok((version, open.call_raw(request, ANSWER_TIMEOUT).await?))
}

/// Writes one batch outside of any link; returns the base offset that it got.
pub(super) async fn write_one(
    open: &Connection,
    at: &TopicPartition,
    records: Bytes,
) -> Result<i64> {
    let part = Part {
        topic: &at.topic,
        partition: at.partition,
        records,
    };
    let (version, body) = exchange_parts(open, &[part]).await?;
    let mut response = produce::Response::default();
    let unreadable = || Error::new(open.side(), Kind::Malformed, "the answer to a Produce");
    response
        .walk(version, &body)
        .map_err(|cause| unreadable().because(cause))?;
    match response.partitions.first() {
        Some(one) if one.error_code == 0 => Ok(one.base_offset),
        Some(one) => Err(Error::kafka(
            open.side(),
            one.error_code,
            format!("writing to {at}"),
        )),
        None => Err(unreadable()),
    }
}

/// The outcome of each write, in their order.
fn outcomes(version: i16, body: &[u8], writes: &[(Arc<Link>, Write)]) -> Vec<Outcome> {
    let mut response = produce::Response::default();
    if let Err(error) = response.walk(version, body) {
        tracing::warn!(%error, "the answer to a Produce cannot be read");
        return writes.iter().map(|_| Outcome::Unknown).collect();
    }
    let by_name: HashMap<(&str, i32), (i16, i64)> = response
        .partitions
        .iter()
        .map(|one| {
            (
                (one.topic(body), one.index),
                (one.error_code, one.base_offset),
            )
        })
        .collect();
    writes
        .iter()
        .map(
            |(link, _)| match by_name.get(&(&*link.at.topic, link.at.partition)) {
                Some((0, base_offset)) => Outcome::Written(*base_offset),
                Some((code, _)) => refused(*code),
                None => Outcome::Unknown,
            },
        )
        .collect()
}

/// What a broker's error means. Most say nothing of whether the batch was appended: a leader that steps down while
/// its followers still fetch answers NOT_LEADER_OR_FOLLOWER for a batch that is in its log.
fn refused(code: i16) -> Outcome {
    use ResponseError as E;
    match ResponseError::try_from_code(code) {
        Some(E::NotEnoughReplicas) => Outcome::Refused,
        Some(E::OutOfOrderSequenceNumber) => Outcome::Fatal(
            "OUT_OF_ORDER_SEQUENCE_NUMBER: the sequences of the producer's id have a gap (compaction, or a first batch \
             that was deleted); copying it under the link's id is not possible yet"
                .to_owned(),
        ),
        Some(
            error @ (E::MessageTooLarge
            | E::RecordListTooLarge
            | E::InvalidRecord
            | E::InvalidTimestamp
            | E::InvalidRequiredAcks
            | E::TopicAuthorizationFailed
            | E::ClusterAuthorizationFailed
            | E::UnsupportedForMessageFormat
            | E::UnsupportedCompressionType
            | E::InvalidProducerEpoch
            | E::PolicyViolation
            | E::CorruptMessage),
        ) => Outcome::Fatal(format!("the copy's broker refused it with {error:?}")),
        _ => Outcome::Unknown,
    }
}
