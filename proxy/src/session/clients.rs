//! What all connections of one client have in common: its Produces that are not answered yet (a client's first direct
//! Produce at a new home waits for those that it sent to the other side), and the topics it has written
//! non-idempotently over connections that are still open (the sticky view, DESIGN section 7 step 6).
//!
//! Cost: per Produce the counters of its own connection; the map is locked when a connection begins and ends,
//! and when one of its topics is written for the first time.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use dashmap::DashMap;
use serde::Serialize;

use super::connection::ConnectionState;
use crate::route::{Drain, Drained, RouteId};
use crate::words::Side;

/// Clients with ids of a cluster's own that are named per route; more would not tell the operator more.
const FOREIGN_NAMED_MAX: usize = 100;

/// How long sessions that are told to end may take to give their permits back.
const ABANDON_MAX: Duration = Duration::from_secs(1);

/// How connections are told to belong to one client.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ClientKey {
    /// The client's address.
    pub host: IpAddr,
    /// The client id of its request headers.
    pub client_id: Arc<str>,
}

impl std::fmt::Display for ClientKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.host, self.client_id)
    }
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
pub struct Clients {
    connections: DashMap<ClientKey, Vec<Arc<ConnectionState>>>,
    foreign: Mutex<HashMap<RouteId, BTreeSet<String>>>,
}

impl Clients {
    /// Whether this client has written a topic non-idempotently over a connection to a node of `side` that is still
    /// open: Metadata goes on naming that side's leaders to it.
    #[must_use]
    pub fn is_sticky(&self, client: &ClientKey, topic: &str, side: Side) -> bool {
        self.connections.get(client).is_some_and(|open| {
            open.iter()
                .any(|connection| connection.side == side && connection.is_sticky(topic))
        })
    }

    /// Clients that have written topics of a route through nodes of `side` and still hold that connection open.
    #[must_use]
    pub fn writers(&self, route: RouteId, side: Side) -> Vec<Writer> {
        self.list(side, |connection| connection.since_write(route))
    }

    /// Clients that have read (Fetch) topics of a route from nodes of `side` within the last `within`.
    #[must_use]
    pub fn readers(&self, route: RouteId, side: Side, within: Duration) -> Vec<Writer> {
        self.list(side, |connection| {
            connection
                .since_read(route)
                .filter(|quiet| *quiet <= within)
        })
    }

    /// Clients that write topics of a route with producer ids that a cluster gave out (`address/client id, id n`):
    /// at the other cluster such an id may belong to somebody else, so they shut the route's gate.
    #[must_use]
    pub fn foreign_producer_ids(&self, route: RouteId) -> Vec<String> {
        let foreign = self.foreign.lock().unwrap_or_else(PoisonError::into_inner);
        foreign
            .get(&route)
            .map(|named| named.iter().cloned().collect())
            .unwrap_or_default()
    }

    /// Waits until every Produce before a fence is over. Sessions that hold it up for longer than `within` are ended:
    /// both connections are closed, and a broker never executes a frame that it has only a part of. What it had whole
    /// is a loss. A client that does not read, or a broker that does not, would otherwise keep a route where it is.
    pub async fn drained(&self, drain: &Drain, within: Duration) -> Option<Drained> {
        if let Some(drained) = drain.drained(within).await {
            return Some(drained);
        }
        for client in &self.connections {
            let held_up = client.value().iter().filter(|open| open.abandon(drain));
            let sessions = held_up.count();
            if sessions > 0 {
                let client = client.key();
                tracing::warn!(%client, sessions, "sessions are closed that hold up a fence");
            }
        }
        drain.drained(ABANDON_MAX).await
    }

    /// Notes a producer id that a cluster gave out.
    pub(super) fn note_foreign(&self, route: RouteId, client: &ClientKey, producer_id: i64) {
        let mut foreign = self.foreign.lock().unwrap_or_else(PoisonError::into_inner);
        let named = foreign.entry(route).or_default();
        let name = format!("{client}, id {producer_id}");
        if named.len() < FOREIGN_NAMED_MAX && named.insert(name.clone()) {
            tracing::warn!(
                client = name,
                "a producer writes with an id that a cluster gave out: its route cannot move"
            );
        }
    }

    pub(super) fn add(&self, client: &ClientKey, connection: Arc<ConnectionState>) {
        self.connections
            .entry(client.clone())
            .or_default()
            .push(connection);
    }

    pub(super) fn remove(&self, client: &ClientKey, connection: &Arc<ConnectionState>) {
        connection.close();
        if let Some(mut open) = self.connections.get_mut(client) {
            open.retain(|other| !Arc::ptr_eq(other, connection));
        }
        self.connections
            .remove_if(client, |_, open| open.is_empty());
    }

    /// The Produces of this client that were read from connections to nodes of `side` and are not answered yet. Only
    /// connections that have written one of these routes count: a route's fence is not to hold up another, and two
    /// connections that write a route each would otherwise wait for each other.
    pub(super) fn unanswered(
        &self,
        client: &ClientKey,
        side: Side,
        routes: impl Iterator<Item = RouteId> + Clone,
    ) -> Unanswered {
        let has_written = |connection: &ConnectionState| {
            let mut routes = routes.clone();
            routes.any(|route| connection.since_write(route).is_some())
        };
        let older = self
            .connections
            .get(client)
            .map(|open| {
                open.iter()
                    .filter(|connection| connection.side == side && has_written(connection))
                    .map(|connection| (connection.clone(), connection.produces_seen()))
                    .filter(|(connection, seen)| !connection.has_answered(*seen))
                    .collect()
            })
            .unwrap_or_default();
        Unanswered(older)
    }

    fn list(
        &self,
        side: Side,
        since: impl Fn(&ConnectionState) -> Option<Duration>,
    ) -> Vec<Writer> {
        let mut list: Vec<Writer> = self
            .connections
            .iter()
            .filter_map(|client| {
                let on_side = client.value().iter().filter(|open| open.side == side);
                let quiet = on_side.filter_map(|open| since(open)).min()?;
                Some(Writer {
                    client: client.key().to_string(),
                    quiet_ms: u64::try_from(quiet.as_millis()).unwrap_or(u64::MAX),
                })
            })
            .collect();
        list.sort_by(|one, other| one.client.cmp(&other.client));
        list
    }
}

/// Requests as of one moment: not "until there are none", since another producer with the same client id may never
/// pause.
#[derive(Debug)]
pub(super) struct Unanswered(Vec<(Arc<ConnectionState>, u64)>);

impl Unanswered {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Waits until each of them was answered, or its connection is gone.
    pub(super) async fn answered(self) {
        for (connection, seen) in self.0 {
            connection.answered(seen).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> ClientKey {
        ClientKey {
            host: std::net::Ipv4Addr::LOCALHOST.into(),
            client_id: "app".into(),
        }
    }

    #[tokio::test]
    async fn a_snapshot_of_older_requests_ends_although_newer_ones_come() {
        let clients = Clients::default();
        let open = ConnectionState::new(1, Side::Source, 1);
        clients.add(&key(), open.clone());
        let unanswered = |side| clients.unanswered(&key(), side, std::iter::once(RouteId(0)));
        open.wrote(RouteId(0));
        assert!(unanswered(Side::Source).is_empty());
        open.saw_produce();
        let older = unanswered(Side::Source);
        assert!(!older.is_empty());
        assert!(unanswered(Side::Destination).is_empty());
        open.saw_produce();
        drop(open.ticket());
        older.answered().await;
        assert!(!unanswered(Side::Source).is_empty());
        let newer = unanswered(Side::Source);
        clients.remove(&key(), &open);
        newer.answered().await;
        assert!(clients.connections.is_empty());
    }

    #[test]
    fn sticky_and_writers_last_as_long_as_the_connection() {
        let clients = Clients::default();
        let open = ConnectionState::new(1, Side::Source, 2);
        clients.add(&key(), open.clone());
        open.wrote(RouteId(1));
        open.stick("t".into());
        assert!(clients.is_sticky(&key(), "t", Side::Source));
        assert!(!clients.is_sticky(&key(), "t", Side::Destination));
        assert!(!clients.is_sticky(&key(), "u", Side::Source));
        assert_eq!(clients.writers(RouteId(1), Side::Source).len(), 1);
        assert!(clients.writers(RouteId(0), Side::Source).is_empty());
        let minute = Duration::from_secs(60);
        assert!(clients.readers(RouteId(1), Side::Source, minute).is_empty());
        clients.remove(&key(), &open);
        assert!(!clients.is_sticky(&key(), "t", Side::Source));
        assert!(clients.writers(RouteId(1), Side::Source).is_empty());
    }
}
