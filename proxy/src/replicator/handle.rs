//! The door to the replicator for everybody else.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::status::{LagSummary, LinkStatus};
use crate::config::Config;
use crate::error::Result;
use crate::route::Routes;
use crate::state::Store;
use crate::upstream::Clusters;
use crate::words::TopicPartition;

/// The running replicator. Clones share it.
#[derive(Debug, Clone)]
pub struct Replicator {}

impl Replicator {
    /// Starts the links of every topic that a route holds and whose home is the source.
    #[must_use]
    pub fn start(
        _config: Arc<Config>,
        _clusters: Clusters,
        _routes: Arc<Routes>,
        _store: Arc<Store>,
    ) -> Self {
        unimplemented!()
    }

    /// Every link as it stands now, sorted by topic and partition.
    #[must_use]
    pub fn links(&self) -> Vec<LinkStatus> {
        unimplemented!()
    }

    /// The lag of the topics that `owned` picks.
    #[must_use]
    pub fn lag(&self, _owned: &dyn Fn(&str) -> bool) -> LagSummary {
        unimplemented!()
    }

    /// Waits until the destination has every record below these source offsets (all replicas in sync: below its high
    /// watermark).
    pub async fn wait_until_copied(
        &self,
        _ends: &HashMap<TopicPartition, i64>,
        _within: Duration,
    ) -> Result<()> {
        unimplemented!()
    }

    /// Called while no client writes to these topics: copies what is left, proves that source true end = source high
    /// watermark = destination high watermark for every partition (twice under the same leader epochs), cancels the
    /// long polls and seals the links with nothing unresolved. `still_for` is how long the source's ends must have
    /// stood still (zero where every Produce was answered). On an error the links go on as before only after
    /// [`Self::resume`].
    pub async fn level(
        &self,
        _topics: &[Arc<str>],
        _still_for: Duration,
        _within: Duration,
    ) -> Result<HashMap<TopicPartition, i64>> {
        unimplemented!()
    }

    /// Lets sealed links go on: the fence was lifted.
    pub fn resume(&self, _topics: &[Arc<str>]) {
        unimplemented!()
    }

    /// After Open: these topics' home is the destination; their forward links end for good.
    pub fn retire(&self, _topics: &[Arc<str>]) {
        unimplemented!()
    }

    /// Applies the settings that topics get for good at commit (DESIGN section 4).
    pub async fn apply_final_settings(&self, _topics: &[Arc<str>]) -> Result<()> {
        unimplemented!()
    }

    /// Ends all links clean: nothing unresolved is left behind.
    pub async fn stop(&self) {
        unimplemented!()
    }
}
