//! The session's own upstream connection, as the request loop sees it: the half that is written.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::Instant;

use super::DataPath;
use crate::upstream::BrokerAddress;
use crate::words::{Side, UpstreamNode, VirtualNode};

/// How long a broker may take to accept the session's connection.
const CONNECT_MAX: Duration = Duration::from_secs(3);
/// How often a session tries again to reach a broker that is gone.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// The session's own broker and the way to it.
#[derive(Debug)]
pub(super) struct OwnLink {
    side: Side,
    /// None for a session on the bootstrap port: any live broker will do.
    fixed: Option<VirtualNode>,
    pub(super) node: UpstreamNode,
    write: Option<OwnedWriteHalf>,
    /// Set by the response loop when the broker went away with nothing outstanding.
    lost: Arc<AtomicBool>,
    tried: Option<Instant>,
}

/// A connection that has just come up: for the response loop.
pub(super) struct Connected {
    pub(super) socket: OwnedReadHalf,
    pub(super) lost: Arc<AtomicBool>,
}

impl OwnLink {
    pub(super) fn new(side: Side, fixed: Option<VirtualNode>) -> Self {
        let node = fixed.and_then(VirtualNode::to_upstream);
        Self {
            side,
            fixed,
            node: node.map_or(UpstreamNode(-1), |(_, node)| node),
            write: None,
            lost: Arc::default(),
            tried: None,
        }
    }

    /// Whether the broker is there, as far as is known.
    pub(super) fn is_alive(&self) -> bool {
        self.write.is_some() && !self.lost.load(Ordering::SeqCst)
    }

    /// The half to write to, while the broker is there.
    pub(super) fn writer(&mut self) -> Option<&mut OwnedWriteHalf> {
        self.write.as_mut()
    }

    /// Connects if the broker is gone and there is reason to think that it is back.
    pub(super) async fn revive(&mut self, path: &DataPath) -> Option<Connected> {
        if self.is_alive() {
            return None;
        }
        let first = self.tried.is_none();
        if self.tried.is_some_and(|last| last.elapsed() < RETRY_PAUSE) {
            return None;
        }
        self.tried = Some(Instant::now());
        // While the whole cluster is away its last view says nothing, and a try may take its bound.
        if !first && !*path.clusters.on(self.side).reachable().borrow() {
            return None;
        }
        let (node, address) = self.address(path, first)?;
        let open = TcpStream::connect((address.host.as_str(), address.port));
        let socket = tokio::time::timeout(CONNECT_MAX, open).await.ok()?.ok()?;
        // Requests are waited for; failing to switch Nagle off only costs latency.
        let _ = socket.set_nodelay(true);
        let (socket, write) = socket.into_split();
        self.node = node;
        self.write = Some(write);
        self.lost = Arc::default();
        Some(Connected {
            socket,
            lost: self.lost.clone(),
        })
    }

    /// Where the broker listens: as the cluster says now; for a first try also where it was last known.
    fn address(&self, path: &DataPath, last_known: bool) -> Option<(UpstreamNode, BrokerAddress)> {
        let view = path.clusters.on(self.side).view();
        let Some(node) = self.fixed else {
            let index = rand::random_range(0..view.brokers.len().max(1));
            let (node, address) = view.brokers.iter().nth(index)?;
            return Some((*node, address.clone()));
        };
        if let Some(address) = view.brokers.get(&self.node) {
            return Some((self.node, address.clone()));
        }
        let snapshot = path.routes.load();
        let known = snapshot.nodes.0.get(&node).filter(|_| last_known)?;
        Some((self.node, known.address.clone()))
    }
}
