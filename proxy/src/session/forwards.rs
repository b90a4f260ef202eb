//! The connections that one session opens to other brokers than its own: one per broker, so that what the session
//! forwards to a broker stays in order. They carry Lockgate's principal and end with the session.

use std::collections::HashMap;

use tokio::sync::Mutex;

use crate::error::Result;
use crate::upstream::{Clusters, Connection};
use crate::words::{Side, UpstreamNode};

/// A session's side connections.
#[derive(Debug)]
pub struct Forwards {
    clusters: Clusters,
    /// Bounded by the number of brokers of both clusters.
    open: Mutex<HashMap<(Side, UpstreamNode), Connection>>,
}

impl Forwards {
    /// None are open at first.
    #[must_use]
    pub fn new(clusters: Clusters) -> Self {
        Self {
            clusters,
            open: Mutex::default(),
        }
    }

    /// The session's connection to a broker; opened when there is none or it was lost.
    pub async fn connection(&self, side: Side, node: UpstreamNode) -> Result<Connection> {
        let known = self.open.lock().await.get(&(side, node)).cloned();
        if let Some(open) = known.filter(|open| !open.is_closed()) {
            return Ok(open);
        }
        // A session forwards one request at a time, so nobody opens the same connection meanwhile.
        let opened = self.clusters.on(side).dedicated(node).await?;
        self.open.lock().await.insert((side, node), opened.clone());
        Ok(opened)
    }
}
