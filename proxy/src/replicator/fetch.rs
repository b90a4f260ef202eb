//! The fetch side: per broker of a home one loop and one connection for each [`Lane`]. A loop asks for every partition of
//! its lane that has room, in a fetch session; the request waits at the broker (a long poll) until one of them has
//! something.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic, ForgottenTopic};
use kafka_protocol::messages::fetch_response::PartitionData;
use kafka_protocol::messages::{BrokerId, FetchRequest, FetchResponse, TopicName};
use kafka_protocol::protocol::StrBytes;

mod session;

use super::lane::{Lane, Led};
use super::link::{Link, Shared, wait};
use super::rebuild::{self, Start};
use crate::error::{Error, Kind, Result};
use crate::upstream::{Cluster, Connection, OffsetAt, Target, aborted};
use crate::words::{Side, TopicPartition, UpstreamNode};
use session::{Names, Session};

/// How long a broker may hold a request that it has nothing for.
const MAX_WAIT_MS: i32 = 250;
/// The same while a partition with a full queue is left out, which could have room in a moment.
const MAX_WAIT_FULL_MS: i32 = 10;
/// Bytes of one partition in one answer.
const PARTITION_BYTES_MAX: i32 = 1 << 20;
/// A partition whose answers are at least this long, with more behind them, is far behind.
const FAR_BYTES: usize = 512 << 10;
/// Bytes of one answer.
const ANSWER_BYTES_MAX: i32 = 8 << 20;
/// Bytes from one broker that may wait to be written, all partitions together. Over it only partitions are asked for of
/// which nothing waits, over twice as much none: what one destination broker does not take holds up the others late.
const BUFFERED_BYTES_MAX: usize = 48 << 20;
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

/// Fetches what one lane of one broker has until the replicator stops.
pub(super) async fn run(shared: Arc<Shared>, side: Side, node: UpstreamNode, lane: Lane) {
    let cluster = shared.clusters.on(side).clone();
    let mut open: Option<(Connection, Session)> = None;
    let mut led = Led::by(side, side, node);
    let mut progress = shared.progress.subscribe();
    let mut stopping = shared.stopping.subscribe();
    while !shared.is_stopping() {
        progress.borrow_and_update();
        let asked = gather(&shared, &mut led, lane);
        if asked.partitions.is_empty() {
            wait(&mut progress, IDLE).await;
            continue;
        }
        if let Some(pause) = shared.pace.wait(lane, shared.now_ms()) {
            tokio::time::sleep(pause).await;
            continue;
        }
        let result = tokio::select! {
            result = round(&shared, &cluster, node, lane, &mut open, &asked) => result,
            _ = stopping.wait_for(|stopping| *stopping) => return,
        };
        if let Err(error) = result {
            tracing::debug!(%side, %node, ?lane, %error, "fetching");
            open = None;
            tokio::time::sleep(BACKOFF).await;
            // A failed refresh is reported by the cluster itself.
            let _ = cluster.refresh().await;
        }
    }
}

struct Asked {
    /// With the offset and the token of each; sorted.
    partitions: Vec<(Arc<Link>, i64, u64)>,
    max_wait_ms: i32,
}

impl Asked {
    fn find(&self, topic: &str, partition: i32) -> Option<&(Arc<Link>, i64, u64)> {
        let place = |at: &TopicPartition| {
            at.topic
                .as_ref()
                .cmp(topic)
                .then(at.partition.cmp(&partition))
        };
        let found = self.partitions.binary_search_by(|asked| place(&asked.0.at));
        found.ok().map(|index| &self.partitions[index])
    }
}

/// What can be fetched now.
fn gather(shared: &Shared, led: &mut Led, lane: Lane) -> Asked {
    let mut asked = Asked {
        partitions: Vec::new(),
        max_wait_ms: MAX_WAIT_MS,
    };
    let (mut buffered, mut waiting) = (0, Vec::new());
    for link in led.links(shared) {
        let engine = link.engine();
        let pending = engine.pending_bytes();
        buffered += pending;
        if link.lane() != lane {
            continue;
        }
        if let Some((offset, token)) = engine.fetch_wanted() {
            asked.partitions.push((link.clone(), offset, token));
            waiting.push(pending > 0);
        } else if engine.is_full() {
            asked.max_wait_ms = MAX_WAIT_FULL_MS;
        }
    }
    if buffered > BUFFERED_BYTES_MAX {
        let mut waiting = waiting.into_iter();
        let none = buffered > 2 * BUFFERED_BYTES_MAX;
        asked
            .partitions
            .retain(|_| !none && waiting.next() == Some(false));
        asked.max_wait_ms = MAX_WAIT_FULL_MS;
    }
    asked
}

async fn round(
    shared: &Shared,
    cluster: &Cluster,
    node: UpstreamNode,
    lane: Lane,
    open: &mut Option<(Connection, Session)>,
    asked: &Asked,
) -> Result<()> {
    let (connection, mut session) = match open.take() {
        Some(open) if !open.0.is_closed() => open,
        _ => (cluster.dedicated(node).await?, Session::default()),
    };
    let wanted = asked.partitions.iter();
    let names = session.ask(wanted.map(|(link, offset, _)| (&link.at, *offset)));
    let bytes_max = shared.pace.answer_bytes_max(lane, ANSWER_BYTES_MAX);
    let request = request(names, asked.max_wait_ms, bytes_max, READ_COMMITTED);
    let answer = connection.call_within(&request, TIMEOUT).await?;
    let known = session.answered(answer.error_code, answer.session_id);
    *open = Some((connection, session));
    if known {
        shared.pace.took(lane, bytes(&answer));
        take_in(shared, cluster.side(), asked, answer).await
    } else {
        Ok(())
    }
}

/// Bytes of records in an answer.
fn bytes(answer: &FetchResponse) -> usize {
    let partitions = answer.responses.iter().flat_map(|topic| &topic.partitions);
    partitions
        .filter_map(|partition| partition.records.as_ref().map(Bytes::len))
        .sum()
}

/// Hands each partition's records to its engine.
async fn take_in(shared: &Shared, side: Side, asked: &Asked, answer: FetchResponse) -> Result<()> {
    if answer.error_code != 0 {
        return Err(Error::kafka(side, answer.error_code, "fetching"));
    }
    let now = shared.now_ms();
    let mut out_of_range = Vec::new();
    let mut failed = None;
    let (mut writable, mut wanting, mut moved) = (false, false, false);
    for topic in answer.responses {
        for partition in topic.partitions {
            let index = partition.partition_index;
            let Some((link, from, token)) = asked.find(topic.topic.as_str(), index) else {
                continue;
            };
            match partition.error_code {
                0 => {
                    link.home_starts(partition.log_start_offset);
                    let aborted = aborted(&partition);
                    let fetched = partition.records.unwrap_or_default();
                    let bytes = fetched.len();
                    let records = match copyable(link, *from, fetched).await {
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
                    let more = engine.fetched_to() < partition.last_stable_offset;
                    moved |= link.set_far(more && (bytes >= FAR_BYTES || link.far()));
                }
                OFFSET_OUT_OF_RANGE => out_of_range.push(link.clone()),
                TOPIC_AUTHORIZATION_FAILED => link
                    .engine()
                    .stop(format!("the {side} does not let Lockgate read the topic")),
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
    if moved {
        shared.progress.raise();
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

/// The offset that is wanted is outside the home's log: below its start, which has moved, or beyond its end.
async fn log_moved(shared: &Shared, link: &Link) -> Result<()> {
    let home = shared.home_of(link);
    let only = [link.at.clone()];
    let start = home.list_offsets(&only, OffsetAt::LogStart).await?;
    let end = home.true_ends(&only).await?;
    let (start, end) = (start[&link.at], end[&link.at].offset);
    {
        let mut engine = link.engine();
        engine.source_starts(start);
        let Some((from, _)) = engine.fetch_wanted() else {
            return Ok(());
        };
        if from > end {
            engine.stop(format!(
                "diverged: the {0} ends at offset {end}, its copy at {from}: the {0} lost records or was recreated",
                link.home
            ));
            return Ok(());
        }
    }
    // In range after all: a new leader that is still catching up, or a start that moved and is known now.
    tokio::time::sleep(IDLE).await;
    Ok(())
}

fn request(names: Names, max_wait_ms: i32, bytes_max: i32, isolation: i8) -> FetchRequest {
    let mut topics: Vec<FetchTopic> = Vec::new();
    // Names are sorted by topic, so a topic's partitions stand together.
    for (at, offset) in names.wanted {
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
                    .with_topic(topic_name(&at))
                    .with_partitions(vec![wanted]),
            ),
        }
    }
    let mut forgotten: Vec<ForgottenTopic> = Vec::new();
    for at in names.forgotten {
        match forgotten.last_mut() {
            Some(last) if last.topic.as_str() == &*at.topic => last.partitions.push(at.partition),
            _ => forgotten.push(
                ForgottenTopic::default()
                    .with_topic(topic_name(&at))
                    .with_partitions(vec![at.partition]),
            ),
        }
    }
    FetchRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_max_wait_ms(max_wait_ms)
        .with_min_bytes(1)
        .with_max_bytes(bytes_max)
        .with_isolation_level(isolation)
        .with_session_id(names.session_id)
        .with_session_epoch(names.epoch)
        .with_topics(topics)
        .with_forgotten_topics_data(forgotten)
}

fn topic_name(at: &TopicPartition) -> TopicName {
    TopicName(StrBytes::from_string(at.topic.to_string()))
}

/// One answer about one partition from its leader, whatever its isolation: for alignment and comparison.
pub(super) async fn read_once(
    cluster: &Cluster,
    at: &TopicPartition,
    offset: i64,
) -> Result<Bytes> {
    let target = Target::Leader(&at.topic, at.partition);
    let names = Names {
        wanted: vec![(at.clone(), offset)],
        ..Names::without_session()
    };
    let request = request(names, 0, ANSWER_BYTES_MAX, READ_UNCOMMITTED);
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
