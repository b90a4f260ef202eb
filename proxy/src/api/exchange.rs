//! What a handler of a rewritten or answered API may use: one request of one client connection, with everything
//! that is needed to decide it.

use std::sync::Arc;

use tokio::sync::watch;

use crate::config::Config;
use crate::route::{Routes, Snapshot};
use crate::session::{ClientKey, Clients, Forwards, OwnBroker};
use crate::upstream::Clusters;
use crate::words::Side;

/// One request being handled.
#[derive(Debug)]
pub struct Exchange<'a> {
    /// The configuration (listeners, advertised host).
    pub config: &'a Config,
    /// Both clusters, for what the own broker cannot answer.
    pub clusters: &'a Clusters,
    /// The publisher, for those who must wait for a change.
    pub routes: &'a Routes,
    /// The snapshot under which this request is decided.
    pub snapshot: Arc<Snapshot>,
    /// All clients.
    pub clients: &'a Clients,
    /// This one.
    pub client: &'a ClientKey,
    /// The connection's number in this process.
    pub connection: u64,
    /// The side whose virtual node the client is connected to.
    pub side: Side,
    /// The broker behind the connection; none when it is gone, then only what needs no broker is answered.
    pub own: Option<OwnBroker>,
    /// This session's connections to other brokers.
    pub forwards: &'a Forwards,
    /// True once another request waits behind this one on the same connection; a held Heartbeat is then released.
    pub queued: watch::Receiver<bool>,
}
