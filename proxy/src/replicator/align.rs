//! Alignment (DESIGN section 5, step 1): filler is written to the empty destination partition and deleted again, so
//! that the next append gets the source's offset. Every step is decided by what the logs say, so a run that was cut
//! off anywhere is simply begun again.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use lockgate_wire::batch::{Batch, BatchView, Batches, Stamp, passthrough};
use lockgate_wire::producer_id::ProducerId;
use lockgate_wire::records::{FILLER_RECORDS_MAX, Producer, filler};

use super::ends::settled_end;
use super::fetch::read_once;
use super::link::Shared;
use super::produce::write_one;
use super::rebuild::{self, Start};
use super::topic_calls;
use crate::error::{Error, Result};
use crate::upstream::OffsetAt;
use crate::words::TopicPartition;

/// Filler bears this timestamp, so that deletion by age takes it at the first check.
const FILLER_TIMESTAMP_MS: i64 = 1;
/// How often the destination's brokers are asked whether the filler is gone. They look for deletable segments every
/// `log.retention.check.interval.ms`, 5 minutes by default.
const GONE_CHECK: Duration = Duration::from_millis(500);

/// Brings one destination partition to where the source's log begins; returns that offset. Nothing is copied yet, so
/// where the source's start moves meanwhile, more filler follows.
pub(super) async fn align(shared: &Arc<Shared>, at: &TopicPartition) -> Result<i64> {
    // A closed semaphore would mean that the replicator is gone; then nothing is bounded and nothing runs.
    let _slot = shared.align_slots.acquire().await;
    loop {
        let target = first_base(shared, at).await?;
        let filler_max = i64::try_from(shared.config.topics.max_filler_records).unwrap_or(i64::MAX);
        if target > filler_max {
            return Err(Error::refused(format!(
                "{at} begins at offset {target} on the source; parity.max_filler_records allows {filler_max} filler records"
            )));
        }
        reach(shared, at, target).await?;
        if first_base(shared, at).await? == target {
            return Ok(target);
        }
    }
}

/// The base offset of the first batch that is copied: the source's log start may lie inside it. Where the log is
/// empty, its end.
async fn first_base(shared: &Shared, at: &TopicPartition) -> Result<i64> {
    let source = &shared.clusters.source;
    let start = source
        .list_offsets(std::slice::from_ref(at), OffsetAt::LogStart)
        .await?[at];
    let records = read_once(source, at, start).await?;
    let from = Start {
        offset: start,
        may_cut: false,
    };
    let unreadable = |what| Error::refused(format!("{at}: {what}"));
    let records = if rebuild::is_needed(&records, from) {
        rebuild::rebuild(&records, from).map_err(unreadable)?
    } else {
        records
    };
    match Batches::new(&records).next() {
        None => Ok(start),
        Some(Ok(Batch::Whole(batch))) => Ok(batch.base_offset()),
        Some(other) => Err(unreadable(format!("its first records are {other:?}"))),
    }
}

/// Makes the destination partition begin and end at `target`, with no bytes left behind.
async fn reach(shared: &Shared, at: &TopicPartition, target: i64) -> Result<()> {
    let destination = &shared.clusters.destination;
    let only = std::slice::from_ref(at);
    let wait = if target == 0 {
        Duration::ZERO
    } else {
        shared.config.timing.settle
    };
    let end = settled_end(destination, at, wait).await?;
    if end > target {
        return Err(Error::refused(format!(
            "{at} ends at offset {end} at the destination, beyond {target} where the source's log begins: delete the topic there"
        )));
    }
    if end < target {
        fill(shared, at, end, target).await?;
    }
    if target == 0 {
        return Ok(());
    }
    let start = destination.list_offsets(only, OffsetAt::LogStart).await?[at];
    if start < target {
        topic_calls::delete_below(destination, at, target).await?;
    }
    wait_until_gone(shared, at).await
}

async fn fill(shared: &Shared, at: &TopicPartition, from: i64, to: i64) -> Result<()> {
    let destination = &shared.clusters.destination;
    let leader = destination
        .view()
        .leader(&at.topic, at.partition)
        .ok_or_else(|| Error::kafka(destination.side(), 5, format!("{at} has no leader")))?;
    let connection = destination.dedicated(leader).await?;
    let id = ProducerId::own(rand::random());
    tracing::info!(partition = %at, from, to, "writing filler");
    let mut next = from;
    // All batches but the last are the same but for their sequence.
    let mut template: Option<(u32, Bytes)> = None;
    while next < to {
        if shared.is_stopping() {
            return Err(Error::refused("the replicator is stopping"));
        }
        let count =
            u32::try_from(to - next).map_or(FILLER_RECORDS_MAX, |n| n.min(FILLER_RECORDS_MAX));
        // At most 2^31 records separate the two: `max_filler_records` is checked, and sequences wrap.
        let base_sequence = ((next - from) & i64::from(i32::MAX)) as i32;
        let batch = match &template {
            Some((records, batch)) if *records == count => batch.clone(),
            _ => {
                let producer = Producer {
                    id,
                    epoch: 0,
                    base_sequence,
                };
                let batch = filler(count, FILLER_TIMESTAMP_MS, Some(producer)).map_err(broken)?;
                template = Some((count, batch.clone()));
                batch
            }
        };
        let stamp = Stamp::Restamp {
            producer_id: id,
            producer_epoch: 0,
            base_sequence,
        };
        let batch = passthrough(BatchView::new(&batch).map_err(broken)?, stamp).freeze();
        let base = write_one(&connection, at, batch).await?;
        if base != next {
            return Err(Error::refused(format!(
                "filler of {at} went to offset {base} where {next} was planned: somebody else writes there"
            )));
        }
        next += i64::from(count);
    }
    Ok(())
}

fn broken(cause: lockgate_wire::WireError) -> Error {
    Error::internal("filler could not be built").because(cause)
}

/// Waits until no replica holds a byte of filler. After DeleteRecords the new log start becomes durable only with
/// the next checkpoint; until the segments are gone, a crash of all replicas could show the filler again (trap 13).
async fn wait_until_gone(shared: &Shared, at: &TopicPartition) -> Result<()> {
    let destination = &shared.clusters.destination;
    while !shared.is_stopping() {
        let view = destination.view();
        let index = usize::try_from(at.partition).unwrap_or(usize::MAX);
        let replicas = view
            .topics
            .get(&at.topic)
            .and_then(|topic| topic.partitions.get(index))
            .map(|partition| partition.replicas.clone())
            .unwrap_or_default();
        drop(view);
        let mut bytes = 0;
        for node in &replicas {
            bytes += topic_calls::bytes_on(destination, *node, at).await?;
        }
        if bytes == 0 && !replicas.is_empty() {
            return Ok(());
        }
        tokio::time::sleep(GONE_CHECK).await;
    }
    Err(Error::refused("the replicator is stopping"))
}
