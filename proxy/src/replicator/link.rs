//! The links as the loops share them: each an [`Engine`] behind a lock that is held for a few steps of arithmetic and
//! never across an await, and the signals by which the loops wake each other.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use arc_swap::ArcSwap;
use lockgate_wire::producer_id::ProducerId;
use tokio::sync::{Semaphore, watch};
use uuid::Uuid;

use super::engine::Engine;
use super::journal::Journal;
use super::lane::Lane;
use super::pace::Pace;
use super::status::LinkStatus;
use crate::config::Config;
use crate::route::Routes;
use crate::upstream::{Cluster, ClusterView, Clusters};
use crate::words::{Side, TopicPartition};

/// Partitions that are filled at the same time.
const ALIGNING_MAX: usize = 8;

/// One link.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) at: TopicPartition,
    /// The cluster that takes the partition's writes; the copy is kept on the other.
    pub(super) home: Side,
    engine: Mutex<Engine>,
    /// Somebody is reading the copy's end for it.
    pub(super) inspecting: AtomicBool,
    /// The copy's log is to start here once that much is copied; -1 when nothing is to be done.
    pub(super) trim_to: AtomicI64,
    /// The log names the reason for which it stopped.
    pub(super) reported: AtomicBool,
    /// The home's leader epoch under which both sides were last found equal.
    pub(super) compared_epoch: AtomicI32,
    /// The topic is compacted.
    pub(super) compacted: AtomicBool,
    /// The copy's log start follows the home's: brokers refuse that for topics that are only compacted.
    pub(super) trims: AtomicBool,
    /// Where the home's log starts, as last seen.
    home_start: AtomicI64,
    /// The topic's ids on both sides, by [`Side::index`], once they are known.
    pub(super) ids: OnceLock<[Uuid; 2]>,
    /// Records, bytes and milliseconds behind, as the gauges show them.
    shown: Mutex<Option<[i64; 3]>>,
    /// More is left to fetch than an answer holds.
    far: AtomicBool,
    /// Spreads far links over their lanes.
    number: u64,
}

impl Link {
    pub(super) fn new(at: TopicPartition, home: Side, hole_max: i64) -> Arc<Self> {
        let mut hash = DefaultHasher::new();
        at.topic.hash(&mut hash);
        // Partitions of a topic take turns.
        let number = hash
            .finish()
            .wrapping_add(u64::from(at.partition.unsigned_abs()));
        Arc::new(Self {
            at,
            home,
            engine: Mutex::new(Engine::new(home, hole_max)),
            inspecting: AtomicBool::new(false),
            trim_to: AtomicI64::new(-1),
            reported: AtomicBool::new(false),
            compared_epoch: AtomicI32::new(-1),
            compacted: AtomicBool::new(false),
            trims: AtomicBool::new(false),
            home_start: AtomicI64::new(0),
            ids: OnceLock::new(),
            shown: Mutex::default(),
            far: AtomicBool::new(false),
            number,
        })
    }

    /// The lane that serves it. It changes only when an answer comes in, so that no two requests ask for it.
    pub(super) fn lane(&self) -> Lane {
        if self.far() {
            Lane::far(self.number)
        } else {
            Lane::Near
        }
    }

    /// Notes what the gauges show; true if that is news.
    pub(super) fn shows(&self, lag: [i64; 3]) -> bool {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        shown.replace(lag) != Some(lag)
    }

    /// Whether it is far behind.
    pub(super) fn far(&self) -> bool {
        self.far.load(Ordering::Relaxed)
    }

    /// Notes whether it is far behind; true if that is news.
    pub(super) fn set_far(&self, far: bool) -> bool {
        self.far.swap(far, Ordering::Relaxed) != far
    }

    pub(super) fn engine(&self) -> MutexGuard<'_, Engine> {
        // An engine's methods do not panic half way; a poisoned lock still holds a whole engine.
        self.engine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stops the link if the topic on this side is not the one that it began with: offsets of a log that was made
    /// again mean other records, also where they go on as if nothing had happened.
    pub(super) fn check_id(&self, side: Side, view: &ClusterView) {
        let (Some(known), Some(now)) = (self.ids.get(), view.topics.get(&self.at.topic)) else {
            return;
        };
        if let Some(reason) = made_again(&self.at.topic, side, known[side.index()], now.id) {
            self.engine().stop(reason);
        }
    }

    /// The home's log starts here, as an answer to a fetch says: by age, by size or by DeleteRecords of a client.
    pub(super) fn home_starts(&self, log_start: i64) {
        if log_start <= self.home_start.fetch_max(log_start, Ordering::AcqRel) {
            return;
        }
        self.engine().source_starts(log_start);
        if self.trims.load(Ordering::Acquire) {
            self.trim_to.fetch_max(log_start, Ordering::AcqRel);
        }
    }

    /// Its name in the journal: each direction has producer ids of its own.
    pub(super) fn key(&self) -> String {
        match self.home {
            Side::Source => self.at.to_string(),
            Side::Destination => format!("{} reversed", self.at),
        }
    }

    pub(super) fn status(&self, now_ms: u64) -> LinkStatus {
        let engine = self.engine();
        LinkStatus {
            topic: self.at.topic.to_string(),
            partition: self.at.partition,
            home: self.home,
            source_end: engine.lag.source_end(),
            next_offset: engine.acknowledged(),
            lag_records: engine.lag.records(),
            lag_bytes: i64::try_from(engine.pending_bytes()).unwrap_or(i64::MAX),
            lag_ms: engine.lag.ms(now_ms),
            state: engine.state().clone(),
        }
    }

    /// Takes the right to inspect it; given back by [`Self::inspection_over`].
    pub(super) fn begin_inspection(&self) -> bool {
        !self.inspecting.swap(true, Ordering::AcqRel)
    }

    pub(super) fn inspection_over(&self) {
        self.inspecting.store(false, Ordering::Release);
    }
}

/// Why a topic with this id now is not the one that was known; brokers that give no ids cannot tell.
pub(super) fn made_again(topic: &str, side: Side, known: Uuid, now: Uuid) -> Option<String> {
    (known != now && !known.is_nil() && !now.is_nil()).then(|| {
        let cure = match side {
            Side::Source => "; delete it at the destination too",
            Side::Destination => "",
        };
        format!("diverged: topic {topic:?} was deleted and made again on the {side}{cure}")
    })
}

/// A counter that wakes whoever waits for it to move.
#[derive(Debug)]
pub(super) struct Signal(watch::Sender<u64>);

impl Signal {
    fn new() -> Self {
        Self(watch::Sender::new(0))
    }

    pub(super) fn raise(&self) {
        self.0.send_modify(|count| *count = count.wrapping_add(1));
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<u64> {
        self.0.subscribe()
    }
}

/// What all loops of the replicator share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) config: Arc<Config>,
    pub(super) clusters: Clusters,
    pub(super) routes: Arc<Routes>,
    pub(super) journal: Journal,
    links: ArcSwap<Vec<Arc<Link>>>,
    adding: Mutex<()>,
    started: Instant,
    /// A batch can be written.
    pub(super) writable: Signal,
    /// Something was acknowledged, or a state changed.
    pub(super) progress: Signal,
    /// A link wants an id or an inspection.
    pub(super) attention: Signal,
    /// The home of some topics is another now.
    pub(super) rerouted: Signal,
    /// Topics that have to be prepared again.
    again: Mutex<HashSet<Arc<str>>>,
    /// Everything ends.
    pub(super) stopping: watch::Sender<bool>,
    pub(super) align_slots: Semaphore,
    pub(super) pace: Pace,
    /// Bears all markers of this process; it never writes data.
    pub(super) marker_id: ProducerId,
}

impl Shared {
    pub(super) fn new(
        config: Arc<Config>,
        clusters: Clusters,
        routes: Arc<Routes>,
        journal: Journal,
    ) -> Arc<Self> {
        let pace = Pace::new(config.replication);
        Arc::new(Self {
            config,
            pace,
            clusters,
            routes,
            journal,
            links: ArcSwap::default(),
            adding: Mutex::default(),
            started: Instant::now(),
            writable: Signal::new(),
            progress: Signal::new(),
            attention: Signal::new(),
            rerouted: Signal::new(),
            again: Mutex::default(),
            stopping: watch::Sender::new(false),
            align_slots: Semaphore::new(ALIGNING_MAX),
            marker_id: ProducerId::own(rand::random()),
        })
    }

    /// Milliseconds since the start, monotonic: the clock that engines are handed.
    pub(super) fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    pub(super) fn is_stopping(&self) -> bool {
        *self.stopping.borrow()
    }

    /// Has a topic prepared again by its follower.
    pub(super) fn again(&self, topic: &Arc<str>) {
        let mut again = self.again.lock().unwrap_or_else(PoisonError::into_inner);
        again.insert(topic.clone());
    }

    /// Whether that was asked for; the follower answers for it from here on.
    pub(super) fn take_again(&self, topic: &str) -> bool {
        let mut again = self.again.lock().unwrap_or_else(PoisonError::into_inner);
        again.remove(topic)
    }

    /// Every link, sorted by topic and partition.
    pub(super) fn links(&self) -> Arc<Vec<Arc<Link>>> {
        self.links.load_full()
    }

    pub(super) fn links_of(&self, owned: &dyn Fn(&str) -> bool) -> Vec<Arc<Link>> {
        let links = self.links();
        links
            .iter()
            .filter(|link| owned(&link.at.topic))
            .cloned()
            .collect()
    }

    /// The cluster that a link's batches come from.
    pub(super) fn home_of(&self, link: &Link) -> &Arc<Cluster> {
        self.clusters.on(link.home)
    }

    /// The cluster that they go to.
    pub(super) fn copy_of(&self, link: &Link) -> &Arc<Cluster> {
        self.clusters.on(link.home.other())
    }

    /// The link of a partition from its home, made where there is none. One of the other direction ends with it.
    pub(super) fn link(&self, at: &TopicPartition, home: Side) -> Arc<Link> {
        let _adding = self.adding.lock().unwrap_or_else(PoisonError::into_inner);
        let links = self.links();
        match links.binary_search_by(|link| link.at.cmp(at)) {
            Ok(index) if links[index].home == home => links[index].clone(),
            found => {
                let hole_max = i64::try_from(self.config.topics.max_markers).unwrap_or(i64::MAX);
                let link = Link::new(at.clone(), home, hole_max);
                let mut more = Vec::clone(&links);
                match found {
                    Ok(index) => {
                        let former = std::mem::replace(&mut more[index], link.clone());
                        former.engine().retire();
                    }
                    Err(index) => more.insert(index, link.clone()),
                }
                self.links.store(Arc::new(more));
                link
            }
        }
    }
}

/// Waits until `signal` moved or the time is over.
pub(super) async fn wait(signal: &mut watch::Receiver<u64>, at_most: std::time::Duration) {
    // Both outcomes mean "look again"; a dropped sender ends with the replicator.
    let _ = tokio::time::timeout(at_most, signal.changed()).await;
}

#[cfg(test)]
mod tests {
    use super::super::engine::State;
    use super::*;
    use crate::upstream::TopicView;

    fn view(id: u128) -> ClusterView {
        let topic = TopicView {
            id: Uuid::from_u128(id),
            internal: false,
            partitions: Vec::new(),
        };
        ClusterView {
            topics: [("t".into(), Arc::new(topic))].into(),
            ..ClusterView::default()
        }
    }

    #[test]
    fn a_topic_that_was_made_again_on_the_source_is_not_gone_on_with() {
        let link = Link::new(TopicPartition::new("t", 0), Side::Source, 0);
        link.check_id(Side::Source, &view(1));
        link.ids
            .get_or_init(|| [Uuid::from_u128(1), Uuid::from_u128(7)]);
        // Between the two it is gone for a moment; brokers without ids say nothing.
        for view in [view(1), ClusterView::default(), view(0)] {
            link.check_id(Side::Source, &view);
            assert_eq!(link.engine().state(), &State::Provisioning);
        }
        link.check_id(Side::Destination, &view(7));
        assert_eq!(link.engine().state(), &State::Provisioning);
        link.check_id(Side::Source, &view(2));
        assert!(matches!(link.engine().state(), State::Stopped(why) if why.contains("made again")));
    }
}
