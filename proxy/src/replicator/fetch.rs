//! The fetch side: one loop and one connection per source broker. A request names every partition that the broker
//! leads and that has room; it waits at the broker (a long poll) until one of them has something.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::fetch_response::PartitionData;
use kafka_protocol::messages::{BrokerId, FetchRequest, FetchResponse, TopicName};
use kafka_protocol::protocol::StrBytes;
use lockgate_wire::committed::Aborted;

use super::link::{Link, Shared, wait};
use super::rebuild::{self, Start};
use crate::error::{Error, Kind, Result};
use crate::upstream::Connection;
use crate::words::{TopicPartition, UpstreamNode};

/// How long a broker may hold a request that it has nothing for.
const MAX_WAIT_MS: i32 = 250;
/// The same while a partition with a full queue is left out, which could have room in a moment.
const MAX_WAIT_FULL_MS: i32 = 10;
/// Bytes of one partition in one answer.
const PARTITION_BYTES_MAX: i32 = 1 << 20;
/// Bytes of one answer.
const ANSWER_BYTES_MAX: i32 = 16 << 20;
/// Bytes from one broker that may wait to be written, all partitions together.
const BUFFERED_BYTES_MAX: usize = 128 << 20;
/// How long an answer may take before the connection is given up.
const TIMEOUT: Duration = Duration::from_secs(15);
/// How long a loop without work waits at most.
const IDLE: Duration = Duration::from_millis(100);
/// How long a loop waits after an error.
const BACKOFF: Duration = Duration::from_millis(300);

const OFFSET_OUT_OF_RANGE: i16 = 1;
const TOPIC_AUTHORIZATION_FAILED: i16 = 29;
const READ_UNCOMMITTED: i8 = 0;
const READ_COMMITTED: i8 = 1;

/// Copies what one source broker leads until the replicator stops.
pub(super) async fn run(shared: Arc<Shared>, node: UpstreamNode) {
    let mut connection: Option<Connection> = None;
    let mut progress = shared.progress.subscribe();
    let mut turn = 0;
    let mut stopping = shared.stopping.subscribe();
    while !shared.is_stopping() {
        progress.borrow_and_update();
        turn += 1;
        let asked = gather(&shared, node, turn);
        if asked.partitions.is_empty() {
            wait(&mut progress, IDLE).await;
            continue;
        }
        let result = tokio::select! {
            result = round(&shared, node, &mut connection, &asked) => result,
            _ = stopping.wait_for(|stopping| *stopping) => return,
        };
        if let Err(error) = result {
            tracing::debug!(%node, %error, "fetching from the source");
            connection = None;
            tokio::time::sleep(BACKOFF).await;
            // A failed refresh is reported by the cluster itself.
            let _ = shared.clusters.source.refresh().await;
        }
    }
}

struct Asked {
    /// With the offset and the token of each.
    partitions: Vec<(Arc<Link>, i64, u64)>,
    max_wait_ms: i32,
}

/// What can be fetched now. `turn` moves the first partition: a broker fills its answer in the order asked.
fn gather(shared: &Shared, node: UpstreamNode, turn: usize) -> Asked {
    let view = shared.clusters.source.view();
    let links = shared.links();
    let mut asked = Asked {
        partitions: Vec::new(),
        max_wait_ms: MAX_WAIT_MS,
    };
    let mut buffered = 0;
    let (before, after) = links.split_at(turn % links.len().max(1));
    for link in after.iter().chain(before) {
        if view.leader(&link.at.topic, link.at.partition) != Some(node) {
            continue;
        }
        let engine = link.engine();
        buffered += engine.pending_bytes();
        if let Some((offset, token)) = engine.fetch_wanted() {
            asked.partitions.push((link.clone(), offset, token));
        } else if engine.is_full() {
            asked.max_wait_ms = MAX_WAIT_FULL_MS;
        }
    }
    if buffered > BUFFERED_BYTES_MAX {
        asked.partitions.clear();
    }
    asked
}

async fn round(
    shared: &Shared,
    node: UpstreamNode,
    connection: &mut Option<Connection>,
    asked: &Asked,
) -> Result<()> {
    let open = match connection.take() {
        Some(open) if !open.is_closed() => open,
        _ => shared.clusters.source.dedicated(node).await?,
    };
    let request = request(
        asked
            .partitions
            .iter()
            .map(|(link, from, _)| (&link.at, *from)),
        asked.max_wait_ms,
        READ_COMMITTED,
    );
    let answer = open.call_within(&request, TIMEOUT).await?;
    *connection = Some(open);
    take_in(shared, asked, answer).await
}

/// Hands each partition's records to its engine.
async fn take_in(shared: &Shared, asked: &Asked, answer: FetchResponse) -> Result<()> {
    let side = shared.clusters.source.side();
    if answer.error_code != 0 {
        return Err(Error::kafka(side, answer.error_code, "fetching"));
    }
    let by_name: HashMap<(&str, i32), &(Arc<Link>, i64, u64)> = asked
        .partitions
        .iter()
        .map(|asked| ((&*asked.0.at.topic, asked.0.at.partition), asked))
        .collect();
    let now = shared.now_ms();
    let mut out_of_range = Vec::new();
    let mut failed = None;
    let (mut writable, mut wanting) = (false, false);
    for topic in answer.responses {
        for partition in topic.partitions {
            let key = (topic.topic.as_str(), partition.partition_index);
            let Some((link, from, token)) = by_name.get(&key) else {
                continue;
            };
            match partition.error_code {
                0 => {
                    let aborted = aborted(&partition);
                    let records = partition.records.unwrap_or_default();
                    let records = match copyable(link, *from, records).await {
                        Ok(records) => records,
                        Err(reason) => {
                            link.engine().stop(reason);
                            continue;
                        }
                    };
                    let mut engine = link.engine();
                    let end = partition.high_watermark;
                    writable |= engine.fetched(*token, &records, aborted, end, now);
                    wanting |= engine.wants_activation();
                }
                OFFSET_OUT_OF_RANGE => out_of_range.push(link.clone()),
                TOPIC_AUTHORIZATION_FAILED => link
                    .engine()
                    .stop("the source does not let Lockgate read the topic"),
                code => failed = Some((code, link.at.clone())),
            }
        }
    }
    if wanting {
        shared.attention.raise();
    }
    if writable {
        shared.writable.raise();
    }
    for link in out_of_range {
        log_moved(shared, &link).await?;
    }
    match failed {
        None => Ok(()),
        Some((code, at)) => Err(Error::kafka(side, code, format!("fetching {at}"))),
    }
}

/// The records as brokers take them. What has to be rebuilt is decompressed, beside the runtime's own threads.
async fn copyable(link: &Link, offset: i64, records: Bytes) -> std::result::Result<Bytes, String> {
    let from = Start {
        offset,
        may_cut: link.compacted.load(Ordering::Relaxed),
    };
    if !rebuild::is_needed(&records, from) {
        return Ok(records);
    }
    let made = tokio::task::spawn_blocking(move || rebuild::rebuild(&records, from));
    made.await
        .unwrap_or_else(|cause| Err(format!("its records could not be rebuilt: {cause}")))
}

fn aborted(partition: &PartitionData) -> Vec<Aborted> {
    let listed = partition.aborted_transactions.iter().flatten();
    listed
        .map(|one| Aborted {
            producer_id: one.producer_id.0,
            first_offset: one.first_offset,
        })
        .collect()
}

/// The offset that is wanted is outside the source's log: below its start, which has moved, or beyond its end.
async fn log_moved(shared: &Shared, link: &Link) -> Result<()> {
    use crate::upstream::OffsetAt;
    let source = &shared.clusters.source;
    let only = [link.at.clone()];
    let start = source.list_offsets(&only, OffsetAt::LogStart).await?;
    let end = source.true_ends(&only).await?;
    let (start, end) = (start[&link.at], end[&link.at].offset);
    {
        let mut engine = link.engine();
        engine.source_starts(start);
        let Some((from, _)) = engine.fetch_wanted() else {
            return Ok(());
        };
        if from > end {
            engine.stop(format!(
                "diverged: the source ends at offset {end}, the destination at {from}: the source lost records or was recreated"
            ));
            return Ok(());
        }
    }
    // In range after all: a new leader that is still catching up, or a start that moved and is known now.
    tokio::time::sleep(IDLE).await;
    Ok(())
}

/// A Fetch without a session.
fn request<'a>(
    partitions: impl Iterator<Item = (&'a TopicPartition, i64)>,
    max_wait_ms: i32,
    isolation: i8,
) -> FetchRequest {
    let mut topics: Vec<FetchTopic> = Vec::new();
    // Links are sorted by topic, so a topic's partitions stand together.
    for (at, offset) in partitions {
        let wanted = FetchPartition::default()
            .with_partition(at.partition)
            .with_current_leader_epoch(-1)
            .with_fetch_offset(offset)
            .with_log_start_offset(-1)
            .with_partition_max_bytes(PARTITION_BYTES_MAX);
        match topics.last_mut() {
            Some(last) if last.topic.as_str() == &*at.topic => last.partitions.push(wanted),
            _ => topics.push(
                FetchTopic::default()
                    .with_topic(TopicName(StrBytes::from_string(at.topic.to_string())))
                    .with_partitions(vec![wanted]),
            ),
        }
    }
    FetchRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_max_wait_ms(max_wait_ms)
        .with_min_bytes(1)
        .with_max_bytes(ANSWER_BYTES_MAX)
        .with_isolation_level(isolation)
        .with_session_id(0)
        .with_session_epoch(-1)
        .with_topics(topics)
}

/// One answer about one partition from its leader, whatever its isolation: for alignment and comparison.
pub(super) async fn read_once(
    cluster: &crate::upstream::Cluster,
    at: &TopicPartition,
    offset: i64,
) -> Result<Bytes> {
    let target = crate::upstream::Target::Leader(&at.topic, at.partition);
    let request = request(std::iter::once((at, offset)), 0, READ_UNCOMMITTED);
    let answer = cluster.call_within(target, &request, TIMEOUT).await?;
    let data = answer
        .responses
        .into_iter()
        .flat_map(|topic| topic.partitions)
        .next()
        .unwrap_or_else(PartitionData::default);
    if data.error_code == OFFSET_OUT_OF_RANGE {
        // The log start moved since the caller asked for it; the next try asks again.
        let what = format!("offset {offset} of {at} is outside the log now");
        return Err(Error::new(cluster.side(), Kind::TimedOut, what));
    }
    if data.error_code != 0 {
        let doing = format!("reading {at} at offset {offset}");
        return Err(Error::kafka(cluster.side(), data.error_code, doing));
    }
    Ok(data.records.unwrap_or_default())
}
