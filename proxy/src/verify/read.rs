//! One side's reader: fetches a range with read_committed over a connection of its own and brings the answers, at the
//! pace of the bucket and of whoever takes them.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::fetch_response::PartitionData;
use kafka_protocol::messages::{BrokerId, FetchRequest, TopicName};
use kafka_protocol::protocol::StrBytes;
use lockgate_wire::batch::{Batch, Batches};
use tokio::sync::mpsc;

use super::ANSWER_BYTES;
use super::bucket::Bucket;
use super::range::{BACKOFF, ERRORS_WITHIN, offsets};
use super::walk::Piece;
use crate::error::{Error, Kind, Result};
use crate::upstream::{Cluster, Connection, OffsetAt, aborted};
use crate::words::TopicPartition;

/// How long a broker may hold a request that it has nothing for.
const MAX_WAIT_MS: i32 = 500;
/// How long an answer may take before the connection is given up.
const TIMEOUT: Duration = Duration::from_secs(30);
const OFFSET_OUT_OF_RANGE: i16 = 1;
const READ_COMMITTED: i8 = 1;

/// Counts and slows what all readers of an operation fetch.
#[derive(Debug)]
pub(super) struct Meter {
    bucket: Mutex<Bucket>,
    bytes: AtomicU64,
    began: Instant,
}

impl Meter {
    pub(super) fn new(bytes_per_second: u64) -> Self {
        Self {
            bucket: Mutex::new(Bucket::new(bytes_per_second)),
            bytes: AtomicU64::new(0),
            began: Instant::now(),
        }
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    async fn pay(&self, bytes: usize) {
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        metrics::counter!("lockgate_verified_bytes_total").increment(bytes as u64);
        let wait = {
            // A few sums under the lock.
            let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
            bucket.pay(bytes, self.began.elapsed())
        };
        tokio::time::sleep(wait).await;
    }
}

/// A reader; ends with its task.
#[derive(Debug)]
pub(super) struct Reader {
    pub(super) cluster: Arc<Cluster>,
    pub(super) at: TopicPartition,
    pub(super) range: Range<i64>,
    pub(super) meter: Arc<Meter>,
    pub(super) pieces: mpsc::Sender<Result<Piece>>,
    pub(super) connection: Option<Connection>,
}

impl Reader {
    /// Brings the range, then its end or what kept it from coming.
    pub(super) async fn run(mut self) {
        let last = self.read().await.map(|()| Piece::End);
        // Nobody waits for it any more where the comparison has ended.
        let _ = self.pieces.send(last).await;
    }

    async fn read(&mut self) -> Result<()> {
        let mut next = self.range.start;
        let mut came = Instant::now();
        while next < self.range.end {
            let error = match self.fetch(next).await {
                Ok((piece, after)) if after > next => {
                    next = after;
                    came = Instant::now();
                    if self.pieces.send(Ok(piece)).await.is_err() {
                        return Ok(());
                    }
                    continue;
                }
                Ok(_) => self.stalled(format!(
                    "{} gives nothing at offset {next}, although it could be read up to {}",
                    self.at, self.range.end
                )),
                Err(error) => error,
            };
            if !error.is_retriable() || came.elapsed() >= ERRORS_WITHIN {
                return Err(error);
            }
            tracing::debug!(%error, "verifying");
            self.connection = None;
            tokio::time::sleep(BACKOFF).await;
            // A failed refresh is reported by the cluster itself.
            let _ = self.cluster.refresh().await;
        }
        Ok(())
    }

    fn stalled(&self, what: String) -> Error {
        Error::new(self.cluster.side(), Kind::TimedOut, what)
    }

    /// One answer, and the offset behind it.
    async fn fetch(&mut self, offset: i64) -> Result<(Piece, i64)> {
        let data = self.ask(offset).await?;
        let side = self.cluster.side();
        match data.error_code {
            0 => {}
            OFFSET_OUT_OF_RANGE => return self.start_moved(offset).await,
            code => {
                let doing = format!("verifying {} at offset {offset}", self.at);
                return Err(Error::kafka(side, code, doing));
            }
        }
        let aborted = aborted(&data);
        let records = data.records.unwrap_or_default();
        self.meter.pay(records.len()).await;
        let after = behind(&records).map_err(|cause| {
            let what = format!("the records of {} at offset {offset}", self.at);
            Error::new(side, Kind::Malformed, what).because(cause)
        })?;
        let after = after.unwrap_or(offset);
        Ok((Piece::Records { records, aborted }, after))
    }

    async fn ask(&mut self, offset: i64) -> Result<PartitionData> {
        let open = match self.connection.take() {
            Some(open) if !open.is_closed() => open,
            _ => {
                let view = self.cluster.view().clone();
                let leader = view.leader(&self.at.topic, self.at.partition);
                let leader = leader.ok_or_else(|| {
                    let doing = format!("looking for the leader of {}", self.at);
                    // LEADER_NOT_AVAILABLE
                    Error::kafka(self.cluster.side(), 5, doing)
                })?;
                self.cluster.dedicated(leader).await?
            }
        };
        let request = request(&self.at, offset);
        let answer = open.call_within(&request, TIMEOUT).await?;
        if answer.error_code != 0 {
            let doing = format!("verifying {}", self.at);
            return Err(Error::kafka(self.cluster.side(), answer.error_code, doing));
        }
        self.connection = Some(open);
        let topics = answer.responses.into_iter();
        let found = topics.flat_map(|topic| topic.partitions).next();
        found.ok_or_else(|| {
            let what = format!("the answer to Fetch leaves out {}", self.at);
            Error::new(self.cluster.side(), Kind::Malformed, what)
        })
    }

    /// The offset is outside the log: below its start, which has moved, or for a moment beyond a new leader's end.
    async fn start_moved(&self, offset: i64) -> Result<(Piece, i64)> {
        let only = std::slice::from_ref(&self.at);
        let starts = offsets(&self.cluster, only, OffsetAt::LogStart).await?;
        match starts.get(&self.at) {
            Some(start) if *start > offset => Ok((Piece::StartsAt(*start), *start)),
            _ => Err(self.stalled(format!("offset {offset} of {} is outside its log", self.at))),
        }
    }
}

/// The offset behind the last whole batch of an answer.
fn behind(records: &Bytes) -> std::result::Result<Option<i64>, lockgate_wire::WireError> {
    let mut behind = None;
    for batch in Batches::new(records) {
        match batch? {
            Batch::Whole(batch) => behind = Some(batch.next_offset()),
            Batch::Legacy { offset, .. } => behind = Some(offset.saturating_add(1)),
            Batch::Partial(_) => break,
        }
    }
    Ok(behind)
}

/// A Fetch of one partition without a session.
fn request(at: &TopicPartition, offset: i64) -> FetchRequest {
    let partition = FetchPartition::default()
        .with_partition(at.partition)
        .with_current_leader_epoch(-1)
        .with_fetch_offset(offset)
        .with_log_start_offset(-1)
        .with_partition_max_bytes(ANSWER_BYTES);
    let topic = FetchTopic::default()
        .with_topic(TopicName(StrBytes::from_string(at.topic.to_string())))
        .with_partitions(vec![partition]);
    FetchRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_max_wait_ms(MAX_WAIT_MS)
        .with_min_bytes(1)
        .with_max_bytes(ANSWER_BYTES)
        .with_isolation_level(READ_COMMITTED)
        .with_session_id(0)
        .with_session_epoch(-1)
        .with_topics(vec![topic])
}
