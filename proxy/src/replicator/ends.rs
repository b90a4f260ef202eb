//! Where the destination's log really ends, and whether what stands there is the source's: resume by content, not by
//! memory (DESIGN section 4).

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use lockgate_wire::batch::{Batch, BatchView, Batches, attributes, next_sequence};
use sha2::{Digest, Sha256};

use super::engine::{Inspected, LinkStamp, State};
use super::fetch::read_once;
use super::link::{Link, Shared};
use super::produce::PRODUCE_TIMEOUT;
use crate::error::{Error, Kind, Result};
use crate::upstream::{Cluster, OffsetAt};
use crate::words::TopicPartition;

/// Half of the default `producer.id.expiration.ms`: brokers expire producer ids by the timestamps of their records,
/// so for older ones a copy that arrives late might not be recognised (trap 1).
const RECOGNISED: Duration = Duration::from_secs(12 * 3600);
/// How long the next look waits where the end moved, or where the high watermark is behind it.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
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
    if let State::Stopped(reason) = link.engine().state() {
        tracing::error!(partition = %link.at, reason, "the link stopped");
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
        None => tail(destination, at, None)
            .await?
            .1
            .map(|tail| tail.max_timestamp),
    };
    let wait = settle_for(shared.config.timing.settle, newest);
    let end = settled_end(destination, at, wait).await?;
    let compared = compare(shared, at, end).await?;
    if let Some(reason) = compared.differs {
        return Err(Error::refused(reason));
    }
    let own = shared.journal.link(at)?;
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

/// The last batch below an end.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tail {
    base: i64,
    producer_id: i64,
    next_sequence: i32,
    max_timestamp: i64,
    digest: [u8; 32],
}

/// What [`compare`] found.
#[derive(Debug, Default)]
pub(super) struct Compared {
    /// The destination's last batch; none where it has none.
    tail: Option<Tail>,
    /// Why the two logs are not the same there.
    pub(super) differs: Option<String>,
}

/// Compares the batch below `end` on both sides. Nothing to compare is no difference: the destination is empty, or
/// the source has deleted the batch.
pub(super) async fn compare(shared: &Shared, at: &TopicPartition, end: i64) -> Result<Compared> {
    let (_, tail) = tail(&shared.clusters.destination, at, Some(end)).await?;
    let Some(copy) = tail else {
        return Ok(Compared::default());
    };
    let source = &shared.clusters.source;
    let only = [at.clone()];
    let start = source.list_offsets(&only, OffsetAt::LogStart).await?[at];
    if start >= end {
        return Ok(Compared {
            tail: Some(copy),
            differs: None,
        });
    }
    let source_end = source.true_ends(&only).await?[at].offset;
    let differs = if source_end < end {
        Some(format!(
            "diverged: the source ends at offset {source_end}, the destination at {end}"
        ))
    } else {
        let records = read_once(source, at, (end - 1).max(start)).await?;
        let original = batch_below(&records, end).ok_or_else(|| not_there(source, at, end))?;
        (original.digest != copy.digest).then(|| {
            format!(
                "diverged: the batch that ends at offset {} is not the same on both sides (source from {}, destination from {})",
                end - 1,
                original.base,
                copy.base
            )
        })
    };
    Ok(Compared {
        tail: Some(copy),
        differs,
    })
}

/// A log's end (its true end unless given) and the batch below it.
async fn tail(
    cluster: &Cluster,
    at: &TopicPartition,
    end: Option<i64>,
) -> Result<(i64, Option<Tail>)> {
    let only = [at.clone()];
    let end = match end {
        Some(end) => end,
        None => cluster.list_offsets(&only, OffsetAt::HighWatermark).await?[at],
    };
    let start = cluster.list_offsets(&only, OffsetAt::LogStart).await?[at];
    if start >= end {
        return Ok((end, None));
    }
    let records = read_once(cluster, at, end - 1).await?;
    let tail = batch_below(&records, end).ok_or_else(|| not_there(cluster, at, end))?;
    Ok((end, Some(tail)))
}

fn not_there(cluster: &Cluster, at: &TopicPartition, end: i64) -> Error {
    // The high watermark of a new leader lags for a moment; the next try sees the batch.
    let what = format!("the batch of {at} below offset {end} is not readable yet");
    Error::new(cluster.side(), Kind::TimedOut, what)
}

/// The batch whose last offset is `end - 1`, or the one that spans it: then the digests differ by their bases.
fn batch_below(records: &Bytes, end: i64) -> Option<Tail> {
    Batches::new(records).find_map(|batch| match batch {
        Ok(Batch::Whole(batch)) if batch.offsets().contains(&(end - 1)) => Some(Tail {
            base: batch.base_offset(),
            producer_id: batch.producer_id().get(),
            next_sequence: next_sequence(batch.base_sequence().max(0), batch.record_count()),
            max_timestamp: batch.max_timestamp(),
            digest: digest(batch),
        }),
        _ => None,
    })
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
