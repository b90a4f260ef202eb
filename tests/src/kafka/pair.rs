//! The two clusters of a migration.

use anyhow::Result;
use tokio::sync::OnceCell;

use super::cluster::{Cluster, ClusterSpec};

/// A source and a destination.
#[derive(Debug)]
pub struct Pair {
    /// Where the estate lives before the migration.
    pub source: Cluster,
    /// Where it is to live.
    pub destination: Cluster,
}

impl Pair {
    /// Starts both clusters at the same time, with the settings of a migration.
    ///
    /// # Errors
    /// When one does not start.
    pub async fn start() -> Result<Self> {
        Self::start_with(ClusterSpec::source(), ClusterSpec::destination()).await
    }

    /// Starts both clusters at the same time.
    ///
    /// # Errors
    /// When one does not start.
    pub async fn start_with(source: ClusterSpec, destination: ClusterSpec) -> Result<Self> {
        let (source, destination) = tokio::try_join!(
            Box::pin(Cluster::start(source)),
            Box::pin(Cluster::start(destination))
        )?;
        Ok(Self {
            source,
            destination,
        })
    }

    /// The pair that the tests of this process share: they use topic names of their own and harm no broker.
    ///
    /// # Errors
    /// When it cannot be started.
    pub async fn shared() -> Result<&'static Self> {
        // Starting clusters takes seconds, so one pair serves a whole test binary; the kernel ends it with us.
        static SHARED: OnceCell<Pair> = OnceCell::const_new();
        SHARED.get_or_try_init(|| Box::pin(Self::start())).await
    }
}
