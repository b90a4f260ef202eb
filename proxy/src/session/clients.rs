//! What all connections of one client have in common: its outstanding Produces per side (an idempotent client's
//! first direct Produce waits for the older ones), and the topics it has written non-idempotently over connections
//! that are still open (the sticky view, DESIGN section 7 step 6).

use std::net::IpAddr;
use std::sync::Arc;

use serde::Serialize;

use crate::route::RouteId;
use crate::words::Side;

/// How connections are told to belong to one client.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ClientKey {
    /// The client's address.
    pub host: IpAddr,
    /// The client id of its request headers.
    pub client_id: Arc<str>,
}

/// A client that writes through nodes of a side, for the operator's list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Writer {
    /// `address/client id`.
    pub client: String,
    /// Milliseconds since its last write through that side.
    pub quiet_ms: u64,
}

/// All clients.
#[derive(Debug, Default)]
pub struct Clients {}

impl Clients {
    /// Whether this client has written a topic non-idempotently over a connection to a node of `side` that is still
    /// open: Metadata goes on naming that side's leaders to it.
    #[must_use]
    pub fn is_sticky(&self, _client: &ClientKey, _topic: &str, _side: Side) -> bool {
        false
    }

    /// Clients that have written topics of a route through nodes of `side` and still hold that connection open.
    #[must_use]
    pub fn writers(&self, _route: RouteId, _side: Side) -> Vec<Writer> {
        Vec::new()
    }

    /// Clients that have read (Fetch) topics of a route from nodes of `side` within the last `within`.
    #[must_use]
    pub fn readers(
        &self,
        _route: RouteId,
        _side: Side,
        _within: std::time::Duration,
    ) -> Vec<Writer> {
        Vec::new()
    }
}
