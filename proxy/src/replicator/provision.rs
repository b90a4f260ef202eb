//! Topics where their copies are kept: at the destination made as the source has them, journaled before they are
//! created, aligned, and followed when they or their partitions grow in number; after a flip the other way round
//! (`reverse`), with the settings that home and copy `exchange`. A topic that exists at the destination without
//! Lockgate's record belongs to somebody else and is left alone (trap 30).

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::task::JoinSet;
use uuid::Uuid;

mod exchange;
mod reverse;

pub(super) use exchange::{before_open, lifted, take_time};

use super::align::align;
use super::journal::TopicRecord;
use super::link::{Link, Shared, made_again, wait};
use super::settings::{self, Changes, Settings, Target};
use super::topic_calls;
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

/// Follows all topics until the replicator stops.
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

/// What routes hold that are not committed, and their homes have.
fn topics_to_copy(shared: &Shared) -> Vec<Arc<str>> {
    let mut topics = Vec::new();
    for side in Side::BOTH {
        let view = shared.clusters.on(side).view().clone();
        let here = view
            .topics
            .iter()
            .filter(|(name, topic)| !topic.internal && is_at_home(shared, name, side));
        topics.extend(here.map(|(name, _)| name.clone()));
    }
    topics
}

/// Where a topic has its home, as long as it is copied to the other side.
fn home(shared: &Shared, topic: &str) -> Option<Side> {
    let snapshot = shared.routes.load();
    let (_, route) = snapshot.topic(topic)?;
    (!route.committed).then_some(route.home)
}

fn is_at_home(shared: &Shared, topic: &str, side: Side) -> bool {
    !shared.is_stopping() && home(shared, topic) == Some(side)
}

/// One topic: prepares it for its home, and again when its home, its partitions or its settings are others.
async fn follow(shared: Arc<Shared>, topic: Arc<str>) {
    let mut changed = Side::BOTH.map(|side| shared.clusters.on(side).subscribe());
    let mut rerouted = shared.rerouted.subscribe();
    let mut ready = None;
    while !shared.is_stopping() {
        rerouted.borrow_and_update();
        if shared.take_again(&topic) {
            ready = None;
        }
        let now = home(&shared, &topic).map(|home| {
            let view = shared.clusters.on(home).view();
            (home, partition_count(&view, &topic))
        });
        let Some((home, partitions)) = now.filter(|now| now.1 > 0 && ready != Some(*now)) else {
            let [source, destination] = &mut changed;
            tokio::select! {
                () = wait(source, LOOK) => {}
                () = wait(destination, LOOK) => {}
                () = wait(&mut rerouted, LOOK) => {}
            }
            continue;
        };
        let links = links(&shared, &topic, home, partitions);
        let prepared = match home {
            Side::Source => prepare(&shared, &topic, &links).await,
            Side::Destination => reverse::prepare(&shared, &topic, &links).await,
        };
        match prepared {
            Ok(()) => ready = now,
            Err(error) if error.is_retriable() => {
                tracing::info!(%topic, %error, "the topic cannot be prepared yet");
                for side in Side::BOTH {
                    // Failed refreshes are reported by the clusters themselves.
                    let _ = shared.clusters.on(side).refresh().await;
                }
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

fn links(shared: &Shared, topic: &Arc<str>, home: Side, partitions: usize) -> Vec<Arc<Link>> {
    (0..i32::try_from(partitions).unwrap_or(i32::MAX))
        .map(|partition| shared.link(&TopicPartition::new(topic.clone(), partition), home))
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
    if record.source_is_copy {
        // A fence was lifted, or the producers have moved back.
        apply(shared, Side::Source, topic, &record, |target, own| {
            target.restored(own)
        })
        .await?;
        record.source_is_copy = false;
        shared.journal.put_topic(topic, record.clone()).await?;
    }
    for link in links {
        link.ids
            .get_or_init(|| [record.source_id, record.destination_id]);
    }
    if record.aligned_partitions < links.len() {
        align_topic(shared, topic, links, &mut record).await?;
    }
    apply(shared, Side::Destination, topic, &record, |target, own| {
        target.migrating(own)
    })
    .await?;
    follow_cleanup(shared, Side::Source, links, &record.own()).await?;
    if !is_at_home(shared, topic, Side::Source) {
        return Ok(());
    }
    for (link, floor) in links.iter().zip(&record.aligned_at) {
        link.engine().aligned(*floor);
    }
    shared.attention.raise();
    Ok(())
}

/// Changes a topic's settings on one side, by what the source's own settings are and the side's brokers know.
async fn apply(
    shared: &Shared,
    side: Side,
    topic: &str,
    record: &TopicRecord,
    changes: impl FnOnce(&Target<'_>, &Settings) -> Changes,
) -> Result<()> {
    let cluster = shared.clusters.on(side);
    let described = topic_calls::describe(cluster, topic).await?;
    let changes = {
        let known = |name: &str| described.known.iter().any(|known| known == name);
        let target = Target {
            min_insync_replicas: shared.config.topics.min_insync_replicas,
            retry_window_ms: i64::try_from(shared.config.timing.retry_window.as_millis())
                .unwrap_or(i64::MAX),
            known: &known,
        };
        changes(&target, &record.own())
    };
    // All of them, also those that seem to be there: a broker that is asked right after a change may not know of it.
    topic_calls::alter(cluster, topic, &changes).await
}

/// The topic as Lockgate's own at the destination, with at least so many partitions.
async fn own_topic(shared: &Shared, topic: &Arc<str>, partitions: usize) -> Result<TopicRecord> {
    let destination = &shared.clusters.destination;
    let view = destination.refresh().await?;
    let there = partition_count(&view, topic);
    let mut record = match shared.journal.topic(topic)? {
        Some(record) if there == 0 && record.aligned_partitions > 0 => {
            return Err(Error::refused(format!(
                "topic {topic:?} was made at the destination by Lockgate and is gone ({} partitions were aligned)",
                record.aligned_partitions
            )));
        }
        Some(record) => match made_again(
            topic,
            Side::Source,
            record.source_id,
            topic_id(shared, Side::Source, topic),
        ) {
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
                source_id: topic_id(shared, Side::Source, topic),
                ..TopicRecord::default()
            };
            shared.journal.put_topic(topic, record.clone()).await?;
            record
        }
    };
    let replicas = replicas(shared, topic);
    make_copy(
        shared,
        Side::Destination,
        topic,
        there,
        partitions,
        replicas,
    )
    .await?;
    if record.destination_id.is_nil() {
        // Journaled with the alignment.
        record.destination_id = topic_id(shared, Side::Destination, topic);
    }
    Ok(record)
}

/// Makes a topic where its copy is kept, and where `there` partitions are, or gives it as many as its home has.
async fn make_copy(
    shared: &Shared,
    side: Side,
    topic: &Arc<str>,
    there: usize,
    partitions: usize,
    replicas: i16,
) -> Result<()> {
    let wanted = i32::try_from(partitions).unwrap_or(i32::MAX);
    if there > partitions {
        return Err(Error::refused(format!(
            "topic {topic:?} has {there} partitions at the {side} and {partitions} at the {}",
            side.other()
        )));
    }
    let cluster = shared.clusters.on(side);
    if there == 0 {
        topic_calls::create(cluster, topic, wanted, replicas).await?;
    } else if there < partitions {
        topic_calls::grow(cluster, topic, wanted).await?;
    }
    wait_for_leaders(shared, side, topic, partitions).await
}

/// The id of a topic on one side; nil where the brokers give none.
fn topic_id(shared: &Shared, side: Side, topic: &str) -> Uuid {
    let view = shared.clusters.on(side).view();
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

async fn wait_for_leaders(
    shared: &Shared,
    side: Side,
    topic: &str,
    partitions: usize,
) -> Result<()> {
    let all = async {
        loop {
            let view = shared.clusters.on(side).refresh().await?;
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
            side,
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
) -> Result<()> {
    let fresh = &links[record.aligned_partitions.min(links.len())..];
    // Deletion by age, which filler needs, would also take records that were copied already.
    if record.aligned_partitions == 0 {
        apply(shared, Side::Destination, topic, record, |target, own| {
            target.aligning(own)
        })
        .await?;
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

/// Tells the links what the cleaner and deletion do to their topic. The copies' log starts follow the home's: at the
/// beginning a home's may lie inside its first batch, and the copy follows once that batch is copied.
async fn follow_cleanup(
    shared: &Shared,
    home: Side,
    links: &[Arc<Link>],
    own: &Settings,
) -> Result<()> {
    let (compacted, trims) = (settings::is_compacted(own), !settings::is_compact_only(own));
    for link in links {
        link.compacted.store(compacted, Ordering::Release);
        link.trims.store(trims, Ordering::Release);
    }
    if !trims {
        return Ok(());
    }
    let partitions: Vec<TopicPartition> = links.iter().map(|link| link.at.clone()).collect();
    let starts = |side| {
        let cluster = shared.clusters.on(side);
        cluster.list_offsets(&partitions, OffsetAt::LogStart)
    };
    let (starts, copies) = tokio::try_join!(starts(home), starts(home.other()))?;
    for link in links {
        let start = starts[&link.at];
        if copies[&link.at] < start {
            link.trim_to.store(start, Ordering::Release);
        }
        link.engine().source_starts(start);
    }
    Ok(())
}

/// Gives topics the settings that they keep for good. The source's topics get back what they had, as far as the source
/// can be reached.
pub(super) async fn settle(shared: &Shared, topics: &[Arc<str>]) -> Result<()> {
    let mut copies = Vec::new();
    for topic in topics {
        let Some(record) = shared.journal.topic(topic)? else {
            continue;
        };
        apply(shared, Side::Destination, topic, &record, |target, own| {
            target.last(own)
        })
        .await?;
        if record.source_is_copy {
            copies.push((topic, record));
        }
    }
    for (topic, mut record) in copies {
        if let Err(error) = apply(shared, Side::Source, topic, &record, |target, own| {
            target.restored(own)
        })
        .await
        {
            tracing::warn!(%topic, %error, "the source's topic keeps the settings of a copy: it deletes nothing");
            if matches!(error.kind, Kind::Disconnected | Kind::TimedOut) {
                // Nor can the others be reached; each would be waited for as long.
                break;
            }
            continue;
        }
        record.source_is_copy = false;
        shared.journal.put_topic(topic, record).await?;
    }
    Ok(())
}
