//! What clients connect to: the bootstrap port, and one port per virtual node, followed as nodes appear.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use metrics::Gauge;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::error::{Error, Result};
use crate::route::Node;
use crate::session::DataPath;
use crate::words::{Side, VirtualNode};

/// Connections open at the same time. One more is closed at once, so that those that are open keep their memory.
pub const CONNECTIONS_MAX: usize = 20_000;
/// After a failed accept (no more file descriptors): time for a connection to end.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Between looks whether every session has ended.
const DRAIN_PAUSE: Duration = Duration::from_millis(20);

/// All open listeners. Dropping it stops accepting; sessions go on.
#[derive(Debug)]
pub struct Listeners {
    path: Arc<DataPath>,
    open: Arc<AtomicUsize>,
    stop: watch::Sender<bool>,
    following: JoinHandle<()>,
    /// Where the bootstrap port really is.
    bootstrap: SocketAddr,
}

#[derive(Debug, Clone)]
struct Door {
    path: Arc<DataPath>,
    open: Arc<AtomicUsize>,
    stop: watch::Receiver<bool>,
    /// None is the bootstrap port.
    node: Option<(Side, VirtualNode)>,
}

impl Listeners {
    /// Opens the bootstrap port and the port of every virtual node that is known, then follows the snapshot. A port
    /// that is taken is an error that names it.
    pub async fn start(path: Arc<DataPath>) -> Result<Self> {
        let (stop, stopped) = watch::channel(false);
        let open = Arc::new(AtomicUsize::new(0));
        let door = |node| Door {
            path: path.clone(),
            open: open.clone(),
            stop: stopped.clone(),
            node,
        };
        let listen = &path.config().listen;
        let listener = bind(listen.bind, listen.bootstrap_port, "the bootstrap port").await?;
        let bootstrap = listener
            .local_addr()
            .map_err(|cause| Error::internal("a listener has no address").because(cause))?;
        tokio::spawn(accept(door(None), listener));
        let mut changed = path.routes().subscribe();
        let mut known = Vec::new();
        for node in missing(&path, &known) {
            let listener = bind_node(&path, &node).await?;
            tokio::spawn(accept(door(Some((node.side, node.id))), listener));
            known.push(node.id);
        }
        let follower = door(None);
        let following = tokio::spawn(async move {
            while changed.changed().await.is_ok() {
                for node in missing(&follower.path, &known) {
                    // Not fatal while others are served; tried again with the next change.
                    match bind_node(&follower.path, &node).await {
                        Ok(listener) => {
                            let node_door = Door {
                                node: Some((node.side, node.id)),
                                ..follower.clone()
                            };
                            tokio::spawn(accept(node_door, listener));
                            known.push(node.id);
                        }
                        Err(error) => {
                            tracing::error!(node = %node.id, %error, "a virtual node has no port")
                        }
                    }
                }
            }
        });
        Ok(Self {
            path,
            open,
            stop,
            following,
            bootstrap,
        })
    }

    /// Where clients bootstrap.
    #[must_use]
    pub fn bootstrap(&self) -> SocketAddr {
        self.bootstrap
    }

    /// Connections that are open now.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Stops accepting and waits, bounded, until every session has ended by itself: parked requests finish, answers
    /// that are due leave. True if all did.
    pub async fn drain(&self, bound: Duration) -> bool {
        self.stop.send_replace(true);
        self.path.close_sessions();
        let all_gone = async {
            while self.connections() > 0 {
                tokio::time::sleep(DRAIN_PAUSE).await;
            }
        };
        tokio::time::timeout(bound, all_gone).await.is_ok()
    }
}

impl Drop for Listeners {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        self.following.abort();
    }
}

fn missing(path: &DataPath, known: &[VirtualNode]) -> Vec<Node> {
    let nodes = path.routes().load().nodes.clone();
    let missing = nodes.0.values().filter(|node| !known.contains(&node.id));
    missing.cloned().collect()
}

async fn bind_node(path: &DataPath, node: &Node) -> Result<TcpListener> {
    let what = format!(
        "virtual node {} ({} broker {})",
        node.id, node.side, node.upstream
    );
    bind(path.config().listen.bind, node.port, &what).await
}

async fn bind(host: std::net::IpAddr, port: u16, what: &str) -> Result<TcpListener> {
    TcpListener::bind((host, port)).await.map_err(|cause| {
        Error::refused(format!("cannot listen on {host}:{port} for {what}")).because(cause)
    })
}

async fn accept(mut door: Door, listener: TcpListener) {
    let name = door
        .node
        .map_or("bootstrap".to_owned(), |(_, id)| id.to_string());
    let gauge = metrics::gauge!("lockgate_connections", "node" => name);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = door.stop.wait_for(|stop| *stop) => return,
        };
        let (socket, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Some(counted) = Open::one_more(&door.open, &gauge) else {
            tracing::warn!(%peer, "{CONNECTIONS_MAX} connections are open; one more was closed");
            continue;
        };
        let (side, node) = match door.node {
            Some((side, node)) => (side, Some(node)),
            None if door.path.routes().load().source_leaving() => (Side::Destination, None),
            None => (Side::Source, None),
        };
        let path = door.path.clone();
        tokio::spawn(async move {
            path.serve(socket, peer, side, node).await;
            drop(counted);
        });
    }
}

/// One open connection, counted while it lives.
struct Open {
    open: Arc<AtomicUsize>,
    gauge: Gauge,
}

impl Open {
    fn one_more(open: &Arc<AtomicUsize>, gauge: &Gauge) -> Option<Self> {
        let counted = open.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| {
            (count < CONNECTIONS_MAX).then_some(count + 1)
        });
        counted.ok()?;
        gauge.increment(1.0);
        Some(Self {
            open: open.clone(),
            gauge: gauge.clone(),
        })
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
        self.gauge.decrement(1.0);
    }
}
