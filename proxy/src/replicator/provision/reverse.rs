//! The way back: topics whose home is the destination are copied to the source, at the same offsets as ever. Nothing is
//! aligned, since both logs were level when the home changed.

use std::sync::Arc;

use super::{apply, exchange, follow_cleanup, is_at_home, make_copy, partition_count, topic_id};
use crate::error::{Error, Result};
use crate::replicator::journal::TopicRecord;
use crate::replicator::link::{Link, Shared, made_again};
use crate::replicator::topic_calls;
use crate::words::Side;

/// Makes the topic ready for being copied to the source.
pub(super) async fn prepare(
    shared: &Arc<Shared>,
    topic: &Arc<str>,
    links: &[Arc<Link>],
) -> Result<()> {
    let mut record = known(shared, topic, links.len()).await?;
    let there = partition_count(&*shared.clusters.source.refresh().await?, topic);
    let replicas = replicas(shared, topic);
    make_copy(shared, Side::Source, topic, there, links.len(), replicas).await?;
    if record.source_id.is_nil() || !record.source_is_copy || there < links.len() {
        record.source_id = topic_id(shared, Side::Source, topic);
        record.source_is_copy = true;
        record.aligned_at.resize(links.len(), 0);
        record.aligned_partitions = links.len();
        shared.journal.put_topic(topic, record.clone()).await?;
    }
    for link in links {
        link.ids
            .get_or_init(|| [record.source_id, record.destination_id]);
    }
    apply(shared, Side::Source, topic, &record, |target, own| {
        target.as_copy(own)
    })
    .await?;
    apply(shared, Side::Destination, topic, &record, |target, own| {
        target.as_home(own)
    })
    .await?;
    follow_cleanup(shared, Side::Destination, links, &record.own()).await?;
    if is_at_home(shared, topic, Side::Destination) {
        links.iter().for_each(|link| link.engine().aligned(0));
        shared.attention.raise();
    }
    Ok(())
}

/// What the journal knows of the topic. One that was born at the destination is written down now.
async fn known(shared: &Shared, topic: &Arc<str>, partitions: usize) -> Result<TopicRecord> {
    let destination_id = topic_id(shared, Side::Destination, topic);
    let record = match shared.journal.topic(topic)? {
        Some(record) => record,
        None if partition_count(&*shared.clusters.source.refresh().await?, topic) > 0 => {
            return Err(exchange::unknown(topic));
        }
        None => {
            let born = topic_calls::describe(&shared.clusters.destination, topic).await?;
            let record = TopicRecord {
                settings: born.own.into_iter().collect(),
                aligned_at: vec![0; partitions],
                aligned_partitions: partitions,
                destination_id,
                source_is_copy: true,
                ..TopicRecord::default()
            };
            shared.journal.put_topic(topic, record.clone()).await?;
            record
        }
    };
    let source_id = topic_id(shared, Side::Source, topic);
    let sides = [
        (Side::Source, record.source_id, source_id),
        (Side::Destination, record.destination_id, destination_id),
    ];
    for (side, then, now) in sides {
        if let Some(reason) = made_again(topic, side, then, now) {
            return Err(Error::refused(reason));
        }
    }
    Ok(record)
}

/// As many replicas as the topic has at its home, if the source has so many brokers.
fn replicas(shared: &Shared, topic: &str) -> i16 {
    let view = shared.clusters.destination.view();
    let first = view
        .topics
        .get(topic)
        .and_then(|topic| topic.partitions.first());
    let wanted = first.map_or(1, |first| first.replicas.len());
    let brokers = shared.clusters.source.view().brokers.len().max(1);
    i16::try_from(wanted.min(brokers)).unwrap_or(i16::MAX)
}
