//! Both clusters.

use std::sync::Arc;

use super::cluster::Cluster;
use crate::words::Side;

/// Both clusters, by side.
#[derive(Debug, Clone)]
pub struct Clusters {
    /// The cluster that is left.
    pub source: Arc<Cluster>,
    /// The cluster that is entered.
    pub destination: Arc<Cluster>,
}

impl Clusters {
    /// The cluster of one side.
    #[must_use]
    pub fn on(&self, side: Side) -> &Arc<Cluster> {
        match side {
            Side::Source => &self.source,
            Side::Destination => &self.destination,
        }
    }
}
