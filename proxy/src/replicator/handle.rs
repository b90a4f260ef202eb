//! The door to the replicator for everybody else.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::JoinHandle;

use super::journal::Journal;
use super::link::Shared;
use super::pace::Limits;
use super::status::{LagSummary, LinkState, LinkStatus};
use super::{conduct, level, provision};
use crate::config::Config;
use crate::error::Result;
use crate::route::Routes;
use crate::state::Store;
use crate::upstream::Clusters;
use crate::words::{Side, TopicPartition};

/// The running replicator. Clones share it.
#[derive(Debug, Clone)]
pub struct Replicator {
    shared: Arc<Shared>,
    tasks: Arc<Mutex<Vec<JoinHandle<()>>>>,
}

impl Replicator {
    /// Starts the links of every topic that a route holds and that is not committed.
    #[must_use]
    pub fn start(
        config: Arc<Config>,
        clusters: Clusters,
        routes: Arc<Routes>,
        store: Arc<Store>,
    ) -> Self {
        let shared = Shared::new(config, clusters, routes, Journal::new(store));
        let tasks = vec![
            tokio::spawn(conduct::run(shared.clone())),
            tokio::spawn(provision::run(shared.clone())),
        ];
        Self {
            shared,
            tasks: Arc::new(Mutex::new(tasks)),
        }
    }

    /// Every link as it stands now, sorted by topic and partition.
    #[must_use]
    pub fn links(&self) -> Vec<LinkStatus> {
        let now = self.shared.now_ms();
        let links = self.shared.links();
        links.iter().map(|link| link.status(now)).collect()
    }

    /// How fast it may copy.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.shared.pace.limits()
    }

    /// Changes how fast it may copy, until the process ends.
    pub fn limit(&self, limits: Limits) {
        tracing::info!(?limits, "replication limits");
        self.shared.pace.limit(limits);
    }

    /// The lag of the topics that `owned` picks.
    #[must_use]
    pub fn lag(&self, owned: &dyn Fn(&str) -> bool) -> LagSummary {
        let now = self.shared.now_ms();
        let mut summary = LagSummary::default();
        for link in self.shared.links_of(owned) {
            let status = link.status(now);
            summary.partitions += 1;
            summary.records += status.lag_records;
            summary.records_max = summary.records_max.max(status.lag_records);
            summary.ms_max = summary.ms_max.max(status.lag_ms);
            let word = match &status.state {
                LinkState::Copying => continue,
                LinkState::Provisioning => "provisioning",
                LinkState::Aligning => "aligning",
                LinkState::Inspecting => "inspecting",
                LinkState::Sealed => "sealed",
                LinkState::Retired => "retired",
                LinkState::Stopped(reason) => reason,
            };
            summary.not_copying.push(format!("{}: {word}", status.at()));
        }
        summary
    }

    /// Waits until the copies have every record below these offsets of the home (all replicas in sync: below their high
    /// watermarks).
    pub async fn wait_until_copied(
        &self,
        home: Side,
        ends: &HashMap<TopicPartition, i64>,
        within: Duration,
    ) -> Result<()> {
        level::readable(&self.shared, home, ends, within).await
    }

    /// Called while no client writes to these topics: copies what is left, proves that the home's true end = its high
    /// watermark = the copy's high watermark for every partition (twice under the same leader epochs), cancels the
    /// long polls and seals the links with nothing unresolved. `still_for` is how long the home's ends must have
    /// stood still (zero where every Produce was answered). On an error the links go on as before only after
    /// [`Self::lifted`].
    pub async fn level(
        &self,
        home: Side,
        topics: &[Arc<str>],
        still_for: Duration,
        within: Duration,
    ) -> Result<HashMap<TopicPartition, i64>> {
        level::level(&self.shared, home, topics, still_for, within).await
    }

    /// Before the fence of a producer move: the former home's topics stop deleting and take what a copy has to take.
    pub async fn before_open(&self, topics: &[Arc<str>], to: Side) -> Result<()> {
        provision::before_open(&self.shared, topics, to).await
    }

    /// Inside the fence, behind the proof: the new home gives the time where the former one did (LogAppendTime).
    pub async fn take_time(&self, topics: &[Arc<str>], to: Side) -> Result<()> {
        provision::take_time(&self.shared, topics, to).await
    }

    /// The fence was lifted, or did not come: links go on, settings are given back.
    pub fn lifted(&self, topics: &[Arc<str>]) {
        provision::lifted(&self.shared, topics);
        self.shared.progress.raise();
    }

    /// After Open, with the new home published: these topics' links end; those of the other direction take over.
    /// After commit there are none.
    pub fn retire(&self, topics: &[Arc<str>], home: Side) {
        let owned = |name: &str| topics.iter().any(|topic| &**topic == name);
        for link in self.shared.links_of(&owned) {
            if link.home == home {
                link.engine().retire();
            }
        }
        self.shared.progress.raise();
        self.shared.rerouted.raise();
    }

    /// Applies the settings that topics get for good at commit (DESIGN section 4).
    pub async fn apply_final_settings(&self, topics: &[Arc<str>]) -> Result<()> {
        provision::settle(&self.shared, topics).await
    }

    /// Ends all links clean: nothing unresolved is left behind.
    pub async fn stop(&self) {
        self.shared.stopping.send_replace(true);
        self.shared.attention.raise();
        self.shared.writable.raise();
        let tasks: Vec<_> = {
            let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
            tasks.drain(..).collect()
        };
        for task in tasks {
            if let Err(error) = task.await {
                tracing::error!(%error, "a task of the replicator ended early");
            }
        }
    }
}
