//! Topics at the destination: made as the source has them, journaled before they are created, aligned, and followed
//! when they or their partitions grow in number. A topic that exists there without Lockgate's record belongs to
//! somebody else and is left alone (trap 30).

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::task::JoinSet;
use uuid::Uuid;

use super::align::align;
use super::journal::TopicRecord;
use super::link::{Link, Shared, made_again, wait};
use super::settings::{self, Settings, Target};
use super::topic_calls::{self, Described};
use crate::error::{Error, Kind, Result};
use crate::upstream::{ClusterView, OffsetAt};
use crate::words::{Side, TopicPartition};

/// How often new topics and partitions are looked for without being told.
const LOOK: Duration = Duration::from_secs(2);
/// How long a topic waits after an error that may pass by itself.
const RETRY: Duration = Duration::from_secs(2);
/// How long it waits after one that needs the operator.
const RETRY_REFUSED: Duration = Duration::from_secs(10);
/// How long a new topic's partitions may take to get leaders.
const LEADERS_WITHIN: Duration = Duration::from_secs(30);
const LEADERS_CHECK: Duration = Duration::from_millis(200);

/// Follows the source's topics until the replicator stops.
pub(super) async fn run(shared: Arc<Shared>) {
    let mut followed: HashSet<Arc<str>> = HashSet::new();
    let mut followers = JoinSet::new();
    let mut changed = shared.clusters.source.subscribe();
    let mut stopping = shared.stopping.subscribe();
    while !shared.is_stopping() {
        for topic in topics_to_copy(&shared) {
            if followed.insert(topic.clone()) {
                followers.spawn(follow(shared.clone(), topic));
            }
        }
        tokio::select! {
            () = wait(&mut changed, LOOK) => {}
            _ = stopping.wait_for(|stopping| *stopping) => {}
        }
    }
    // A follower may be in the middle of alignment, which begins again at the next start; nothing is lost by that.
    followers.shutdown().await;
}

/// What a route holds and has its home at the source.
fn topics_to_copy(shared: &Shared) -> Vec<Arc<str>> {
    let snapshot = shared.routes.load();
    let view = shared.clusters.source.view();
    view.topics
        .iter()
        .filter(|(_, topic)| !topic.internal)
        .filter(|(name, _)| {
            snapshot
                .topic(name)
                .is_some_and(|(_, route)| route.home == Side::Source)
        })
        .map(|(name, _)| name.clone())
        .collect()
}

fn is_at_home(shared: &Shared, topic: &str) -> bool {
    !shared.is_stopping() && shared.routes.load().topic_home(topic) == Side::Source
}

/// One topic, until its home is the destination.
async fn follow(shared: Arc<Shared>, topic: Arc<str>) {
    let mut changed = shared.clusters.source.subscribe();
    let mut ready = 0;
    while is_at_home(&shared, &topic) {
        let partitions = partition_count(&shared.clusters.source.view(), &topic);
        if partitions <= ready {
            wait(&mut changed, LOOK).await;
            continue;
        }
        let links = links(&shared, &topic, partitions);
        match prepare(&shared, &topic, &links).await {
            Ok(()) => ready = partitions,
            Err(error) if error.is_retriable() => {
                tracing::info!(%topic, %error, "the topic cannot be prepared yet");
                // Failed refreshes are reported by the clusters themselves.
                let _ = shared.clusters.destination.refresh().await;
                let _ = shared.clusters.source.refresh().await;
                tokio::time::sleep(RETRY).await;
            }
            Err(error) => {
                for link in &links {
                    link.engine().refuse(error.what.clone());
                }
                tracing::debug!(%topic, %error, "the topic is not copied");
                tokio::time::sleep(RETRY_REFUSED).await;
            }
        }
    }
}

fn partition_count(view: &ClusterView, topic: &str) -> usize {
    view.topics
        .get(topic)
        .map_or(0, |topic| topic.partitions.len())
}

fn links(shared: &Shared, topic: &Arc<str>, partitions: usize) -> Vec<Arc<Link>> {
    (0..i32::try_from(partitions).unwrap_or(i32::MAX))
        .map(|partition| shared.link(&TopicPartition::new(topic.clone(), partition)))
        .collect()
}

/// Makes the topic ready for copying: journal, create, align, settle its settings, let the links go.
async fn prepare(shared: &Arc<Shared>, topic: &Arc<str>, links: &[Arc<Link>]) -> Result<()> {
    let snapshot = shared.routes.load_full();
    if let Some((one, other)) = snapshot.table.two_owners(topic) {
        return Err(Error::refused(format!(
            "topic {topic:?} belongs to two routes, {:?} and {:?}; it must belong to one",
            snapshot.table.name(one),
            snapshot.table.name(other)
        )));
    }
    let mut record = own_topic(shared, topic, links.len()).await?;
    for link in links {
        link.source_id.get_or_init(|| record.source_id);
    }
    let destination = &shared.clusters.destination;
    let source_settings: Settings = record.settings.iter().cloned().collect();
    let compacted = settings::is_compacted(&source_settings);
    for link in links {
        link.compacted.store(compacted, Ordering::Relaxed);
    }
    let described = topic_calls::describe(destination, topic).await?;
    if record.aligned_partitions < links.len() {
        align_topic(shared, topic, links, &mut record, &described).await?;
    }
    let changes = target(shared, &described, |target| {
        target.migrating(&source_settings)
    });
    topic_calls::alter(destination, topic, &changes).await?;
    if !settings::is_compact_only(&source_settings) {
        for link in links {
            follow_log_start(shared, link).await?;
        }
    }
    if !is_at_home(shared, topic) {
        return Ok(());
    }
    for (link, floor) in links.iter().zip(&record.aligned_at) {
        link.engine().aligned(*floor);
    }
    shared.attention.raise();
    Ok(())
}

fn target<T>(shared: &Shared, described: &Described, ask: impl FnOnce(Target<'_>) -> T) -> T {
    let known = |name: &str| described.known.iter().any(|known| known == name);
    ask(Target {
        min_insync_replicas: shared.config.topics.min_insync_replicas,
        retry_window_ms: i64::try_from(shared.config.timing.retry_window.as_millis())
            .unwrap_or(i64::MAX),
        known: &known,
    })
}

/// The topic as Lockgate's own at the destination, with at least so many partitions.
async fn own_topic(shared: &Shared, topic: &Arc<str>, partitions: usize) -> Result<TopicRecord> {
    let destination = &shared.clusters.destination;
    let view = destination.refresh().await?;
    let there = partition_count(&view, topic);
    let record = match shared.journal.topic(topic)? {
        Some(record) if there == 0 && record.aligned_partitions > 0 => {
            return Err(Error::refused(format!(
                "topic {topic:?} was made at the destination by Lockgate and is gone ({} partitions were aligned)",
                record.aligned_partitions
            )));
        }
        Some(record) => match made_again(topic, record.source_id, source_id(shared, topic)) {
            Some(reason) => return Err(Error::refused(reason)),
            None => record,
        },
        None if there > 0 => {
            return Err(Error::refused(format!(
                "topic {topic:?} exists at the destination and was not made by Lockgate: it belongs to somebody"
            )));
        }
        None => {
            let described = topic_calls::describe(&shared.clusters.source, topic).await?;
            let record = TopicRecord {
                settings: described.own.into_iter().collect(),
                source_id: source_id(shared, topic),
                ..TopicRecord::default()
            };
            shared.journal.put_topic(topic, record.clone()).await?;
            record
        }
    };
    let wanted = i32::try_from(partitions).unwrap_or(i32::MAX);
    if there > partitions {
        return Err(Error::refused(format!(
            "topic {topic:?} has {there} partitions at the destination and {partitions} at the source"
        )));
    }
    if there == 0 {
        topic_calls::create(destination, topic, wanted, replicas(shared, topic)).await?;
    } else if there < partitions {
        topic_calls::grow(destination, topic, wanted).await?;
    }
    wait_for_leaders(shared, topic, partitions).await?;
    Ok(record)
}

/// The id of the source's topic; nil where the brokers give none.
fn source_id(shared: &Shared, topic: &str) -> Uuid {
    let view = shared.clusters.source.view();
    view.topics.get(topic).map_or(Uuid::nil(), |topic| topic.id)
}

fn replicas(shared: &Shared, topic: &str) -> i16 {
    let configured = shared.config.topics.replication_factor;
    configured.unwrap_or_else(|| {
        let view = shared.clusters.source.view();
        let first = view
            .topics
            .get(topic)
            .and_then(|topic| topic.partitions.first());
        first.map_or(1, |first| {
            i16::try_from(first.replicas.len()).unwrap_or(i16::MAX)
        })
    })
}

async fn wait_for_leaders(shared: &Shared, topic: &str, partitions: usize) -> Result<()> {
    let all = async {
        loop {
            let view = shared.clusters.destination.refresh().await?;
            let led = view.topics.get(topic).is_some_and(|topic| {
                topic.partitions.len() >= partitions
                    && topic.partitions.iter().all(|one| one.leader.is_some())
            });
            if led {
                return Ok(());
            }
            tokio::time::sleep(LEADERS_CHECK).await;
        }
    };
    match tokio::time::timeout(LEADERS_WITHIN, all).await {
        Ok(result) => result,
        Err(_) => Err(Error::new(
            Side::Destination,
            Kind::TimedOut,
            format!("the partitions of {topic:?} got no leaders within {LEADERS_WITHIN:?}"),
        )),
    }
}

/// Aligns the partitions that are not yet, many at a time, and journals where they begin.
async fn align_topic(
    shared: &Arc<Shared>,
    topic: &Arc<str>,
    links: &[Arc<Link>],
    record: &mut TopicRecord,
    described: &Described,
) -> Result<()> {
    let fresh = &links[record.aligned_partitions.min(links.len())..];
    // Deletion by age, which filler needs, would also take records that were copied already.
    if record.aligned_partitions == 0 {
        let source_settings: Settings = record.settings.iter().cloned().collect();
        let changes = target(shared, described, |target| {
            target.aligning(&source_settings)
        });
        topic_calls::alter(&shared.clusters.destination, topic, &changes).await?;
    } else {
        let only: Vec<TopicPartition> = fresh.iter().map(|link| link.at.clone()).collect();
        let starts = shared
            .clusters
            .source
            .list_offsets(&only, OffsetAt::LogStart)
            .await?;
        if let Some((at, start)) = starts.iter().find(|(_, start)| **start > 0) {
            return Err(Error::refused(format!(
                "{at} was added on the source and begins at offset {start} already: its filler could not be deleted while the topic's other partitions hold copied records"
            )));
        }
    }
    let mut tasks = JoinSet::new();
    for (index, link) in fresh.iter().enumerate() {
        link.engine().aligning();
        let (shared, at) = (shared.clone(), link.at.clone());
        tasks.spawn(async move { (index, align(&shared, &at).await) });
    }
    let mut starts = vec![0; fresh.len()];
    while let Some(done) = tasks.join_next().await {
        let (index, start) =
            done.map_err(|cause| Error::internal("an alignment ended early").because(cause))?;
        starts[index] = start?;
    }
    record.aligned_at.truncate(record.aligned_partitions);
    record.aligned_at.extend(starts);
    record.aligned_partitions = links.len();
    shared.journal.put_topic(topic, record.clone()).await
}

/// The source's log start may lie inside its first batch: the destination follows once that batch is copied.
async fn follow_log_start(shared: &Shared, link: &Link) -> Result<()> {
    let only = std::slice::from_ref(&link.at);
    let starts = shared
        .clusters
        .source
        .list_offsets(only, OffsetAt::LogStart);
    let start = starts.await?[&link.at];
    let there = shared
        .clusters
        .destination
        .list_offsets(only, OffsetAt::LogStart);
    if there.await?[&link.at] < start {
        link.trim_to.store(start, Ordering::Release);
    }
    link.engine().source_starts(start);
    Ok(())
}

/// Gives a topic the settings that it keeps for good.
pub(super) async fn settle(shared: &Shared, topic: &str) -> Result<()> {
    let Some(record) = shared.journal.topic(topic)? else {
        return Ok(());
    };
    let source_settings: Settings = record.settings.into_iter().collect();
    let described = topic_calls::describe(&shared.clusters.destination, topic).await?;
    let changes = target(shared, &described, |target| target.last(&source_settings));
    topic_calls::alter(&shared.clusters.destination, topic, &changes).await
}
