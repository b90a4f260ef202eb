//! A session from its first byte to its last: both loops in one task, and the order in which things end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};

use super::buffers::BufferPool;
use super::clients::Clients;
use super::connection::ConnectionState;
use super::ended::Ended;
use super::inbound::Inbound;
use super::link::OwnLink;
use super::metrics::{self, SessionMetrics};
use super::requests::{Requests, within};
use super::responses::Responses;
use super::slots::SLOTS_MAX;
use crate::api::{self, Api};
use crate::config::{Config, PARK_MAX};
use crate::route::Routes;
use crate::upstream::Clusters;
use crate::words::{Side, VirtualNode};

/// How long a broker may take to answer what it still owes when a client has gone.
const OWED_MAX: Duration = Duration::from_secs(60);
/// How long a client may take to close its end after Lockgate said FIN.
const FIN_MAX: Duration = Duration::from_secs(10);
/// At least so long lies between two warnings about ended sessions: neither a hostile client nor an outage fills the
/// log.
const WARN_PAUSE_MS: u64 = 1_000;

/// The API table.
pub(super) type Lookup = fn(i16) -> Option<&'static Api>;

/// Who answers requests that are decoded.
#[derive(Debug)]
pub(super) enum Handler {
    /// The handlers of the API table.
    Table,
    /// The tests' own.
    #[cfg(test)]
    Test,
}

/// What all sessions share.
#[derive(Debug)]
pub struct DataPath {
    pub(super) config: Arc<Config>,
    pub(super) clusters: Clusters,
    pub(super) routes: Arc<Routes>,
    pub(super) handler: Handler,
    pub(super) table: Lookup,
    /// Nothing is parked for longer.
    pub(super) park_max: Duration,
    pub(super) clients: Arc<Clients>,
    pub(super) pool: Arc<BufferPool>,
    pub(super) metrics: SessionMetrics,
    pub(super) closing: watch::Sender<bool>,
    started: std::time::Instant,
    warned_at_ms: AtomicU64,
    connections: AtomicU64,
}

impl DataPath {
    /// The data path over both clusters. Metrics are registered here, so the recorder is installed before.
    #[must_use]
    pub fn new(
        config: Arc<Config>,
        clusters: Clusters,
        routes: Arc<Routes>,
        clients: Arc<Clients>,
    ) -> Arc<Self> {
        let handler = Handler::Table;
        Self::with(
            config,
            clusters,
            routes,
            clients,
            handler,
            api::lookup,
            PARK_MAX,
        )
    }

    pub(super) fn with(
        config: Arc<Config>,
        clusters: Clusters,
        routes: Arc<Routes>,
        clients: Arc<Clients>,
        handler: Handler,
        table: Lookup,
        park_max: Duration,
    ) -> Arc<Self> {
        Arc::new(Self {
            config,
            clusters,
            routes,
            handler,
            table,
            park_max,
            clients,
            pool: Arc::default(),
            metrics: SessionMetrics::register(table),
            closing: watch::Sender::new(false),
            started: std::time::Instant::now(),
            warned_at_ms: AtomicU64::new(0),
            connections: AtomicU64::new(0),
        })
    }

    /// The publisher that sessions follow.
    #[must_use]
    pub fn routes(&self) -> &Arc<Routes> {
        &self.routes
    }

    /// The configuration.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Tells every session to end as soon as it has nothing outstanding; requests that are parked finish first.
    pub fn close_sessions(&self) {
        self.closing.send_replace(true);
    }

    /// Runs one client connection to its end. `node` is the virtual node it came in by; none for the bootstrap port,
    /// behind which any broker of `side` will do.
    pub async fn serve(
        self: Arc<Self>,
        socket: TcpStream,
        peer: SocketAddr,
        side: Side,
        node: Option<VirtualNode>,
    ) {
        // Answers are waited for; failing to switch Nagle off only costs latency.
        let _ = socket.set_nodelay(true);
        let id = self.connections.fetch_add(1, Ordering::Relaxed) + 1;
        let routes = self.routes.load().routes.len();
        let connection = ConnectionState::new(id, side, routes);
        let (read, write) = socket.into_split();
        let bytes = self.metrics.bytes_in.clone();
        let inbound = Inbound::new(read, self.pool.clone(), connection.clone(), bytes);
        let (sender, slots) = mpsc::channel(SLOTS_MAX);
        let own = OwnLink::new(side, node);
        let mut responses = Responses::new(self.clone(), connection.clone(), slots, write);
        let mut requests = Requests::new(
            self.clone(),
            connection.clone(),
            peer.ip(),
            inbound,
            own,
            sender,
        );
        let ended = tokio::select! {
            biased;
            ended = Box::pin(both(&mut requests, &mut responses, &connection)) => ended,
            () = connection.abandoned() => {
                Ended::Unserved("a fence could not wait any longer for its Produce".into())
            }
        };
        if let Some(client) = &requests.client {
            self.clients.remove(client, &connection);
        }
        connection.close();
        self.tell(&ended, peer, side);
    }

    fn tell(&self, ended: &Ended, peer: SocketAddr, side: Side) {
        match ended {
            Ended::Client => tracing::debug!(%peer, %side, "the client closed its connection"),
            Ended::Done(why) => tracing::debug!(%peer, %side, why, "a session was ended"),
            Ended::Bad(bad, what) => {
                metrics::bad_frame(*bad);
                let reason = bad.as_str();
                if *bad != super::ended::BadFrame::Truncated && self.may_warn() {
                    tracing::warn!(origin = "client", %peer, %side, reason, what, "a client's bytes cannot be served");
                } else {
                    tracing::debug!(origin = "client", %peer, %side, reason, what, "a client's bytes cannot be served");
                }
            }
            Ended::Unserved(what) if !self.may_warn() => {
                tracing::debug!(origin = "internal", %peer, %side, what, "a client's connection is closed");
            }
            Ended::Unserved(what) => {
                tracing::warn!(origin = "internal", %peer, %side, what, "a client's connection is closed");
            }
            Ended::Broker(error) => {
                tracing::debug!(origin = %error.origin, %peer, %side, %error, "a session lost its broker");
            }
        }
    }

    /// One warning per pause, whoever is the cause.
    fn may_warn(&self) -> bool {
        let now = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let now = now.saturating_add(WARN_PAUSE_MS);
        let last = self.warned_at_ms.load(Ordering::Relaxed);
        now - last.min(now) >= WARN_PAUSE_MS
            && self
                .warned_at_ms
                .compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }
}

/// Both loops. Whatever ends the requests, Produces that a broker already has are followed to their answers first:
/// closing the upstream before would make their outcome unknown.
async fn both(
    requests: &mut Requests,
    responses: &mut Responses,
    connection: &ConnectionState,
) -> Ended {
    let ended = {
        let mut answering = std::pin::pin!(responses.run());
        let ended = tokio::select! {
            biased;
            result = &mut answering => return result.err().unwrap_or(Ended::Client),
            ended = requests.run() => ended,
        };
        if let Ended::Done(_) = ended {
            requests.no_more();
            match within(OWED_MAX, answering).await {
                Some(Ok(())) => {}
                Some(Err(broken)) => return broken,
                None => return ended,
            }
        } else {
            tokio::select! {
                biased;
                // What the broker already answered is taken first, so that it is not counted as lost.
                _ = &mut answering => {}
                () = connection.direct_answered() => {}
                () = tokio::time::sleep(OWED_MAX) => {}
            }
            return ended;
        }
        ended
    };
    responses.half_close().await;
    let _ = within(FIN_MAX, requests.inbound.discard()).await;
    ended
}
