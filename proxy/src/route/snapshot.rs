//! What the data path reads: homes, phases, nodes. Immutable; a change replaces the whole.

use std::collections::HashMap;
use std::sync::Arc;

use uuid::Uuid;

use super::nodes::Nodes;
use super::permits::Permits;
use super::table::{RouteId, RouteTable};
use crate::flip::GroupDesk;
use crate::words::{Generation, Side};

/// Where a route's producers are in a move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// The home takes writes.
    Open,
    /// Writes are parked.
    Fenced,
}

/// One route as the data path sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteState {
    /// The cluster that takes the writes of the route's topics.
    pub home: Side,
    /// Whether it takes them now.
    pub phase: Phase,
    /// Grows by one with every change of the route.
    pub generation: Generation,
    /// The way back is closed; clients are moved off the source.
    pub committed: bool,
}

/// Where a group is served, where that differs from the source, and who watches its requests.
#[derive(Debug, Clone)]
pub struct GroupPlace {
    /// The cluster that coordinates it.
    pub home: Side,
    /// Set while the group moves, and after that for as long as members may bear ids of the other cluster: every
    /// request of the group is decided by the desk.
    pub desk: Option<Arc<GroupDesk>>,
}

/// All that a session needs to decide a request.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// Which route owns a name.
    pub table: Arc<RouteTable>,
    /// By [`RouteId`].
    pub routes: Vec<RouteState>,
    /// The groups that are not simply at the source.
    pub groups: Arc<HashMap<Arc<str>, GroupPlace>>,
    /// All virtual nodes.
    pub nodes: Arc<Nodes>,
    /// Topic ids as clients see them, for ever: the source's, or the birth id of a topic born at the destination.
    pub topic_ids: Arc<HashMap<Arc<str>, Uuid>>,
    /// The source's cluster id, which clients see for ever.
    pub cluster_id: Arc<str>,
    /// Held by Produce requests. Replaced by every fence.
    pub produce_permits: Permits,
    /// Held by requests that commit offsets. Replaced by every group move.
    pub commit_permits: Permits,
}

impl Snapshot {
    /// The state of the route that owns a topic. None for topics that no route may hold.
    #[must_use]
    pub fn topic(&self, topic: &str) -> Option<(RouteId, &RouteState)> {
        let id = self.table.topic(topic)?;
        Some((id, self.routes.get(id.0)?))
    }

    /// The cluster that takes a topic's writes and serves its reads; the source for what no route holds.
    #[must_use]
    pub fn topic_home(&self, topic: &str) -> Side {
        self.topic(topic)
            .map_or(Side::Source, |(_, state)| state.home)
    }

    /// Where a group is served. New groups begin where their route's producers are; a committed route has none left at
    /// the source.
    #[must_use]
    pub fn group(&self, group: &str) -> GroupPlace {
        let route = self.table.group(group).and_then(|id| self.routes.get(id.0));
        // One that stayed at the source and was gone at commit comes back where everything is.
        let is_left = |place: &&GroupPlace| {
            place.home == Side::Source && route.is_some_and(|route| route.committed)
        };
        if let Some(place) = self.groups.get(group).filter(|place| !is_left(place)) {
            return place.clone();
        }
        GroupPlace {
            home: route.map_or(Side::Source, |state| state.home),
            desk: None,
        }
    }

    /// Whether a group would be born while its route is fenced: at Open it would lose what it had committed until
    /// then, since nobody has moved it.
    #[must_use]
    pub fn is_born_behind_fence(&self, group: &str) -> bool {
        let route = self.table.group(group).and_then(|id| self.routes.get(id.0));
        route.is_some_and(|route| route.phase == Phase::Fenced) && !self.groups.contains_key(group)
    }

    /// Whether the source is on its way out: every route is committed to the destination.
    #[must_use]
    pub fn source_leaving(&self) -> bool {
        self.routes
            .iter()
            .all(|route| route.committed && route.home == Side::Destination)
    }
}
