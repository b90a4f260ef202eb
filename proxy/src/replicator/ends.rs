//! Where the destination's log really ends, and whether what stands there is the source's: resume by content, not by
//! memory (DESIGN section 4).

use std::ops::{Range, RangeInclusive};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use lockgate_wire::batch::{Batch, BatchView, Batches, attributes, next_sequence};
use sha2::{Digest, Sha256};

use super::engine::{Inspected, LOOK_BACK_MAX, LinkStamp};
use super::fetch::read_once;
use super::link::{Link, Shared};
use super::produce::PRODUCE_TIMEOUT;
use super::stretch::Stretch;
use crate::error::{Error, Kind, Result};
use crate::upstream::{Cluster, OffsetAt};
use crate::words::TopicPartition;

/// Half of the default `producer.id.expiration.ms`: brokers expire producer ids by the timestamps of their records,
/// so for older ones a copy that arrives late might not be recognised (trap 1).
const RECOGNISED: Duration = Duration::from_secs(12 * 3600);
/// How long the next look waits where the end moved, or where the high watermark is behind it.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// How much further each step looks back from an end for a batch of records.
const LOOK_BACK_FACTOR: i64 = 8;
/// How long it waits after an error.
const BACKOFF: Duration = Duration::from_millis(500);

/// Inspects one link until it is done, the link has ended or the replicator stops.
pub(super) async fn inspect(shared: Arc<Shared>, link: Arc<Link>) {
    while !shared.is_stopping() {
        let Some(newest) = link.engine().wants_inspection() else {
            break;
        };
        match look(&shared, &link, newest).await {
            Ok(found) => {
                let now = shared.now_ms();
                link.engine().inspected(found, now);
                break;
            }
            Err(error) if error.is_retriable() => {
                tracing::debug!(partition = %link.at, %error, "the end cannot be read yet");
                tokio::time::sleep(BACKOFF).await;
                // Failed refreshes are reported by the clusters themselves.
                let _ = shared.clusters.destination.refresh().await;
                let _ = shared.clusters.source.refresh().await;
            }
            Err(error) => link.engine().stop(error.to_string()),
        }
    }
    link.inspection_over();
    shared.attention.raise();
    shared.writable.raise();
    shared.progress.raise();
}

async fn look(shared: &Shared, link: &Link, newest: Option<i64>) -> Result<Inspected> {
    let destination = &shared.clusters.destination;
    let at = &link.at;
    let newest = match newest {
        Some(newest) => Some(newest),
        None => {
            let only = std::slice::from_ref(at);
            let end = destination.list_offsets(only, OffsetAt::HighWatermark);
            let tail = tail(destination, at, end.await?[at]).await?;
            tail.map(|tail| tail.max_timestamp)
        }
    };
    let wait = settle_for(shared.config.timing.settle, newest);
    let end = settled_end(destination, at, wait).await?;
    let compared = compare(shared, at, end).await?;
    if let Some(reason) = compared.differs {
        return Err(Error::refused(reason));
    }
    let own = shared.journal.link(at)?;
    let has_records = compared.tail.is_some();
    let stamp = compared
        .tail
        .filter(|tail| own.is_some_and(|own| own.get() == tail.producer_id))
        .zip(own)
        .map(|(tail, id)| LinkStamp {
            id,
            next_sequence: tail.next_sequence,
        });
    let source = &shared.clusters.source;
    let only = std::slice::from_ref(at);
    let source_end = source.list_offsets(only, OffsetAt::HighWatermark).await?[at];
    Ok(Inspected {
        end,
        source_end,
        has_records,
        stamp,
    })
}

/// How long an end must stand still before what is not in the log is believed not to come.
fn settle_for(settle: Duration, newest_timestamp: Option<i64>) -> Duration {
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let newest = Duration::from_millis(newest_timestamp.unwrap_or(i64::MAX).max(0).unsigned_abs());
    if newest + RECOGNISED < now {
        settle.max(PRODUCE_TIMEOUT)
    } else {
        settle
    }
}

/// The true end once it stood still for `wait` under one leader epoch and the high watermark has reached it.
pub(super) async fn settled_end(
    cluster: &Cluster,
    at: &TopicPartition,
    wait: Duration,
) -> Result<i64> {
    let only = [at.clone()];
    let mut seen = cluster.true_ends(&only).await?[at];
    loop {
        tokio::time::sleep(wait).await;
        let again = cluster.true_ends(&only).await?[at];
        if again != seen {
            seen = again;
            continue;
        }
        let watermark = cluster.list_offsets(&only, OffsetAt::HighWatermark).await?[at];
        if watermark == seen.offset {
            return Ok(watermark);
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// One batch of a log.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tail {
    base: i64,
    last: i64,
    producer_id: i64,
    next_sequence: i32,
    max_timestamp: i64,
    digest: [u8; 32],
}

/// What [`compare`] found.
#[derive(Debug, Default)]
pub(super) struct Compared {
    /// The destination's last batch of records; none where it has none.
    tail: Option<Tail>,
    /// Why the two logs are not the same there.
    pub(super) differs: Option<String>,
}

/// Compares the last batch of records below `end` on both sides. Nothing to compare is no difference: the destination
/// is empty, or the source has deleted or compacted the batch away.
pub(super) async fn compare(shared: &Shared, at: &TopicPartition, end: i64) -> Result<Compared> {
    let tail = tail(&shared.clusters.destination, at, end).await?;
    let differs = difference(shared, at, end, tail.as_ref()).await?;
    Ok(Compared { tail, differs })
}

async fn difference(
    shared: &Shared,
    at: &TopicPartition,
    end: i64,
    copy: Option<&Tail>,
) -> Result<Option<String>> {
    let source = &shared.clusters.source;
    let only = [at.clone()];
    let start = source.list_offsets(&only, OffsetAt::LogStart).await?[at];
    if start >= end {
        return Ok(None);
    }
    let source_end = source.true_ends(&only).await?[at].offset;
    if source_end < end {
        return Ok(Some(format!(
            "diverged: the source ends at offset {source_end}, the destination at {end}"
        )));
    }
    let Some(copy) = copy.filter(|copy| copy.last >= start) else {
        return Ok(None);
    };
    let original = batch_with(source, at, copy.last).await?;
    if original.is_some_and(|original| original.digest == copy.digest) {
        return Ok(None);
    }
    // The source's start may lie inside the batch.
    let offsets = copy.base.max(start)..=copy.last;
    let theirs = stretch(source, at, offsets.clone()).await?;
    let ours = stretch(&shared.clusters.destination, at, offsets).await?;
    Ok(theirs.contradicts(&ours).map(|offset| {
        format!("diverged: the record at offset {offset} is not the same on both sides")
    }))
}

async fn stretch(
    cluster: &Cluster,
    at: &TopicPartition,
    offsets: RangeInclusive<i64>,
) -> Result<Stretch> {
    let mut stretch = Stretch::new(offsets);
    while let Some(next) = stretch.wanted() {
        let records = read_once(cluster, at, next).await?;
        stretch
            .add(&records)
            .map_err(|what| Error::new(cluster.side(), Kind::Malformed, format!("{at}: {what}")))?;
        if stretch.wanted() == Some(next) {
            return Err(not_there(cluster, at, next));
        }
    }
    Ok(stretch)
}

/// The last batch of records below `end` in a log that a link fills: markers are looked past.
async fn tail(cluster: &Cluster, at: &TopicPartition, end: i64) -> Result<Option<Tail>> {
    let only = [at.clone()];
    let start = cluster.list_offsets(&only, OffsetAt::LogStart).await?[at];
    let (mut to, mut span) = (end, 1);
    while start < to {
        let from = start.max(end.saturating_sub(span));
        let found = last_batch(cluster, at, from..to).await?;
        if found.is_some() || span >= LOOK_BACK_MAX {
            return Ok(found);
        }
        (to, span) = (from, span * LOOK_BACK_FACTOR);
    }
    Ok(None)
}

/// The last batch of records that begins or ends within these offsets, which all exist.
async fn last_batch(
    cluster: &Cluster,
    at: &TopicPartition,
    offsets: Range<i64>,
) -> Result<Option<Tail>> {
    let mut next = offsets.start;
    let mut last = None;
    while next < offsets.end {
        let records = read_once(cluster, at, next).await?;
        let before = next;
        for batch in Batches::new(&records) {
            let Ok(Batch::Whole(batch)) = batch else {
                break;
            };
            if batch.base_offset() >= offsets.end {
                // Everything in between was compacted away.
                next = offsets.end;
                break;
            }
            if !batch.is_control() && batch.record_count() > 0 {
                last = Some(Tail::of(batch));
            }
            next = next.max(batch.next_offset());
        }
        if next == before {
            return Err(not_there(cluster, at, next));
        }
    }
    Ok(last)
}

/// The batch of magic 2 that contains `offset`, if the log has one.
async fn batch_with(cluster: &Cluster, at: &TopicPartition, offset: i64) -> Result<Option<Tail>> {
    let records = read_once(cluster, at, offset).await?;
    let found = Batches::new(&records).find_map(|batch| match batch {
        Ok(Batch::Whole(batch)) if batch.offsets().contains(&offset) => Some(Tail::of(batch)),
        _ => None,
    });
    Ok(found)
}

fn not_there(cluster: &Cluster, at: &TopicPartition, offset: i64) -> Error {
    // The high watermark of a new leader lags for a moment; the next try sees the batch.
    let what = format!("the batch of {at} at offset {offset} is not readable yet");
    Error::new(cluster.side(), Kind::TimedOut, what)
}

impl Tail {
    fn of(batch: BatchView<'_>) -> Self {
        Self {
            base: batch.base_offset(),
            last: batch.last_offset(),
            producer_id: batch.producer_id().get(),
            // As the broker counts it: compaction takes records, not sequences.
            next_sequence: next_sequence(batch.last_sequence().max(0), 1),
            max_timestamp: batch.max_timestamp(),
            digest: digest(batch),
        }
    }
}

/// SHA-256 over what a copy keeps: offsets, codec, timestamps, count and the records themselves.
fn digest(batch: BatchView<'_>) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(batch.base_offset().to_be_bytes());
    hash.update(batch.last_offset_delta().to_be_bytes());
    hash.update((batch.attributes() & attributes::CODEC).to_be_bytes());
    hash.update(batch.base_timestamp().to_be_bytes());
    hash.update(batch.max_timestamp().to_be_bytes());
    hash.update(batch.record_count().to_be_bytes());
    hash.update(batch.payload());
    hash.finalize().into()
}
