//! What is learnt from the clusters and kept for ever: topic ids as clients see them, and the API versions of a cluster
//! for the day on which it cannot be asked.

use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use crate::error::Result;
use crate::route::{Routes, Snapshot};
use crate::state::{CopyOrder, Key, Kind, Store};
use crate::upstream::{ApiRanges, ClusterView, Clusters};
use crate::words::Side;

/// How often it is looked again where the last look could not be written down.
const AGAIN: Duration = Duration::from_secs(5);
/// Topic ids in one write.
const IDS_TOGETHER_MAX: usize = 500;

/// Hands clusters that have not been contacted the ranges of their last contact.
pub(super) fn recall_ranges(store: &Store, clusters: &Clusters) -> Result<()> {
    for side in Side::BOTH {
        let key = Key::new(Kind::ApiRanges, side.as_str());
        if let Some(ranges) = store.get::<ApiRanges>(&key)? {
            clusters.on(side).remember_versions(ranges);
        }
    }
    Ok(())
}

/// Learns once; true where all of it is written down.
pub(super) async fn learn(store: &Store, clusters: &Clusters, routes: &Routes) -> bool {
    let outcome = match learn_ranges(store, clusters).await {
        Ok(()) => learn_topic_ids(store, clusters, routes).await,
        failed => failed,
    };
    if let Err(error) = &outcome {
        tracing::warn!(%error, "what was learnt from the clusters is not written down yet");
    }
    if routes.load().source_leaving() {
        store.destination_counts_alone();
    }
    outcome.is_ok()
}

/// Goes on learning for as long as the process lives.
pub(super) async fn follow(store: Arc<Store>, clusters: Clusters, routes: Arc<Routes>) {
    let mut source = clusters.source.subscribe();
    let mut destination = clusters.destination.subscribe();
    let mut published = routes.subscribe();
    let mut done = false;
    loop {
        tokio::select! {
            changed = source.changed() => if changed.is_err() { return },
            changed = destination.changed() => if changed.is_err() { return },
            // A commit decides whether the destination's copy counts alone.
            changed = published.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(AGAIN), if !done => {}
        }
        done = learn(&store, &clusters, &routes).await;
    }
}

async fn learn_ranges(store: &Store, clusters: &Clusters) -> Result<()> {
    let mut changed = Vec::new();
    for side in Side::BOTH {
        let key = Key::new(Kind::ApiRanges, side.as_str());
        let ranges = ApiRanges::clone(&clusters.on(side).versions());
        if !ranges.is_empty() && store.get::<ApiRanges>(&key)?.as_ref() != Some(&ranges) {
            changed.push((key, Some(ranges)));
        }
    }
    store.put(&changed, CopyOrder::Both).await
}

async fn learn_topic_ids(store: &Store, clusters: &Clusters, routes: &Routes) -> Result<()> {
    let snapshot = routes.load_full();
    let (source, destination) = (
        clusters.source.view().clone(),
        clusters.destination.view().clone(),
    );
    let known_at_source = !source.cluster_id.is_empty() || snapshot.source_leaving();
    let new = new_ids(&snapshot, &source, known_at_source.then_some(&*destination));
    for together in new.chunks(IDS_TOGETHER_MAX) {
        let entries: Vec<_> = together
            .iter()
            .map(|(topic, id)| (Key::new(Kind::TopicId, &**topic), Some(*id)))
            .collect();
        store.put(&entries, CopyOrder::Both).await?;
        routes.update(|snapshot| {
            Arc::make_mut(&mut snapshot.topic_ids).extend(together.iter().cloned());
        });
    }
    Ok(())
}

/// Topics whose id is not known yet: the source's id, or the birth id of a topic that only the destination has and whose
/// home is there. Pure.
fn new_ids(
    snapshot: &Snapshot,
    source: &ClusterView,
    destination: Option<&ClusterView>,
) -> Vec<(Arc<str>, Uuid)> {
    let born = destination
        .into_iter()
        .flat_map(|view| &view.topics)
        .filter(|(name, _)| {
            !source.topics.contains_key(*name) && snapshot.topic_home(name) == Side::Destination
        });
    let mut new: Vec<(Arc<str>, Uuid)> = source
        .topics
        .iter()
        .chain(born)
        .filter(|(name, topic)| {
            !topic.id.is_nil()
                && snapshot.table.topic(name).is_some()
                && !snapshot.topic_ids.contains_key(*name)
        })
        .map(|(name, topic)| (name.clone(), topic.id))
        .collect();
    new.sort();
    new
}
