//! The links as the loops share them: each an [`Engine`] behind a lock that is held for a few steps of arithmetic and
//! never across an await, and the signals by which the loops wake each other.

use std::sync::atomic::{AtomicBool, AtomicI32, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use arc_swap::ArcSwap;
use lockgate_wire::producer_id::ProducerId;
use tokio::sync::{Semaphore, watch};
use uuid::Uuid;

use super::engine::{Engine, State};
use super::journal::Journal;
use super::status::{LinkState, LinkStatus};
use crate::config::Config;
use crate::route::Routes;
use crate::upstream::{ClusterView, Clusters};
use crate::words::TopicPartition;

/// Partitions that are filled at the same time.
const ALIGNING_MAX: usize = 8;

/// One link.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) at: TopicPartition,
    engine: Mutex<Engine>,
    /// Somebody is reading the destination's end for it.
    pub(super) inspecting: AtomicBool,
    /// The destination's log is to start here once that much is copied; -1 when nothing is to be done.
    pub(super) trim_to: AtomicI64,
    /// The log names the reason for which it stopped.
    pub(super) reported: AtomicBool,
    /// The home's leader epoch under which both sides were last found equal.
    pub(super) compared_epoch: AtomicI32,
    /// The source's topic is compacted.
    pub(super) compacted: AtomicBool,
    /// The id of the source's topic that is copied, once it is known.
    pub(super) source_id: OnceLock<Uuid>,
}

impl Link {
    pub(super) fn new(at: TopicPartition, hole_max: i64) -> Arc<Self> {
        Arc::new(Self {
            at,
            engine: Mutex::new(Engine::new(hole_max)),
            inspecting: AtomicBool::new(false),
            trim_to: AtomicI64::new(-1),
            reported: AtomicBool::new(false),
            compared_epoch: AtomicI32::new(-1),
            compacted: AtomicBool::new(false),
            source_id: OnceLock::new(),
        })
    }

    pub(super) fn engine(&self) -> MutexGuard<'_, Engine> {
        // An engine's methods do not panic half way; a poisoned lock still holds a whole engine.
        self.engine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stops the link if the source's topic is not the one that it began with: offsets of a log that was made again
    /// mean other records, also where they go on as if nothing had happened.
    pub(super) fn check_source(&self, view: &ClusterView) {
        let (Some(known), Some(now)) = (self.source_id.get(), view.topics.get(&self.at.topic))
        else {
            return;
        };
        if let Some(reason) = made_again(&self.at.topic, *known, now.id) {
            self.engine().stop(reason);
        }
    }

    pub(super) fn status(&self, now_ms: u64) -> LinkStatus {
        let engine = self.engine();
        let state = match engine.state() {
            State::Provisioning => LinkState::Provisioning,
            State::Aligning => LinkState::Aligning,
            State::Inspecting => LinkState::Inspecting,
            State::Copying => LinkState::Copying,
            State::Sealed => LinkState::Sealed,
            State::Retired => LinkState::Retired,
            State::Stopped(reason) => LinkState::Stopped(reason.clone()),
        };
        LinkStatus {
            topic: self.at.topic.to_string(),
            partition: self.at.partition,
            source_end: engine.lag.source_end(),
            next_offset: engine.acknowledged(),
            lag_records: engine.lag.records(),
            lag_bytes: i64::try_from(engine.pending_bytes()).unwrap_or(i64::MAX),
            lag_ms: engine.lag.ms(now_ms),
            state,
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
pub(super) fn made_again(topic: &str, known: Uuid, now: Uuid) -> Option<String> {
    (known != now && !known.is_nil() && !now.is_nil()).then(|| {
        format!(
            "diverged: topic {topic:?} was deleted and made again on the source; delete it at the destination too"
        )
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
    /// Everything ends.
    pub(super) stopping: watch::Sender<bool>,
    pub(super) align_slots: Semaphore,
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
        Arc::new(Self {
            config,
            clusters,
            routes,
            journal,
            links: ArcSwap::default(),
            adding: Mutex::default(),
            started: Instant::now(),
            writable: Signal::new(),
            progress: Signal::new(),
            attention: Signal::new(),
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

    /// The link of a partition, made where there is none.
    pub(super) fn link(&self, at: &TopicPartition) -> Arc<Link> {
        let _adding = self.adding.lock().unwrap_or_else(PoisonError::into_inner);
        let links = self.links();
        match links.binary_search_by(|link| link.at.cmp(at)) {
            Ok(index) => links[index].clone(),
            Err(index) => {
                let hole_max = i64::try_from(self.config.topics.max_markers).unwrap_or(i64::MAX);
                let link = Link::new(at.clone(), hole_max);
                let mut more = Vec::clone(&links);
                more.insert(index, link.clone());
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
        let link = Link::new(TopicPartition::new("t", 0), 0);
        link.check_source(&view(1));
        link.source_id.get_or_init(|| Uuid::from_u128(1));
        // Between the two it is gone for a moment; brokers without ids say nothing.
        for view in [view(1), ClusterView::default(), view(0)] {
            link.check_source(&view);
            assert_eq!(link.engine().state(), &State::Provisioning);
        }
        link.check_source(&view(2));
        assert!(matches!(link.engine().state(), State::Stopped(why) if why.contains("made again")));
    }
}
