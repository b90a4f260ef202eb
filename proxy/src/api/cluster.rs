//! The virtual cluster: which nodes clients see, where a topic is at home for them, and which names are nobody's.

use std::collections::BTreeMap;

use kafka_protocol::messages::BrokerId;
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use super::exchange::Exchange;
use crate::route::{RouteId, STATE_TOPIC, Snapshot};
use crate::words::{Side, UpstreamNode, VirtualNode};

/// Kafka's "no node".
pub(super) const NO_NODE: BrokerId = BrokerId(-1);
/// Kafka's "no leader epoch". The epochs of two clusters cannot be compared, so clients never see one.
pub(super) const NO_EPOCH: i32 = -1;
/// Kafka's "authorized operations were not asked for".
pub(super) const NO_OPERATIONS: i32 = i32::MIN;

/// Whether a topic is Lockgate's own, of which clients may know nothing.
pub(super) fn is_own_topic(topic: &str) -> bool {
    topic == STATE_TOPIC
}

/// Whether a group is Lockgate's own.
pub(super) fn is_own_group(snapshot: &Snapshot, group: &str) -> bool {
    snapshot.table.group(group).is_none()
}

/// The cluster that answers for what no route holds, and for the cluster as a whole.
pub(super) fn main_side(snapshot: &Snapshot) -> Side {
    if snapshot.source_leaving() {
        Side::Destination
    } else {
        Side::Source
    }
}

/// The cluster that takes a topic's writes and serves its reads.
pub(super) fn home(snapshot: &Snapshot, topic: &str) -> Side {
    snapshot
        .topic(topic)
        .map_or_else(|| main_side(snapshot), |(_, route)| route.home)
}

/// The cluster whose leaders Metadata names to this client: the home, except for a client that has written the topic
/// non-idempotently over a connection to the other side that is still open (trap 22).
pub(super) fn shown(exchange: &Exchange<'_>, topic: &str) -> Side {
    let home = home(&exchange.snapshot, topic);
    let away = home.other();
    // Also once the route is committed: the sticky view holds until the connection closes, and a commit only sees to
    // it that it does. Asking is a map lookup.
    if exchange.clients.is_sticky(exchange.client, topic, away) {
        away
    } else {
        home
    }
}

/// A topic's id as clients see it, for ever; `own` is its id at the cluster that answered.
pub(super) fn topic_id(snapshot: &Snapshot, topic: &str, own: Uuid) -> Uuid {
    snapshot.topic_ids.get(topic).copied().unwrap_or(own)
}

/// Where a client connects to for one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Endpoint {
    pub(super) host: StrBytes,
    pub(super) port: i32,
}

/// The nodes that clients are told of.
#[derive(Debug)]
pub(super) struct Announced {
    nodes: BTreeMap<VirtualNode, Endpoint>,
    controller: Option<VirtualNode>,
}

impl Announced {
    /// The live brokers of both sides that have a listener. The source's are left out once it is on its way out and
    /// no client writes through them any more.
    pub(super) fn new(exchange: &Exchange<'_>) -> Self {
        let snapshot = &exchange.snapshot;
        let host = StrBytes::from_string(exchange.config.listen.advertised_host.clone());
        let mut nodes = BTreeMap::new();
        for side in Side::BOTH {
            if side == Side::Source && source_gone(exchange) {
                continue;
            }
            let view = exchange.clusters.on(side).view();
            let live = snapshot
                .nodes
                .on(side)
                .filter(|node| view.brokers.contains_key(&node.upstream));
            nodes.extend(live.map(|node| {
                let port = i32::from(node.port);
                let host = host.clone();
                (node.id, Endpoint { host, port })
            }));
        }
        let mut announced = Self {
            nodes,
            controller: None,
        };
        announced.controller = announced.choose_controller(exchange);
        announced
    }

    /// The main side's controller; any node of that side where the controller has no listener (KRaft names a random
    /// broker anyway, and Lockgate finds the controller itself).
    fn choose_controller(&self, exchange: &Exchange<'_>) -> Option<VirtualNode> {
        let side = main_side(&exchange.snapshot);
        let view = exchange.clusters.on(side).view();
        let controller = view.controller.and_then(|node| node.to_virtual(side));
        controller
            .filter(|node| self.nodes.contains_key(node))
            .or_else(|| self.nodes.keys().find(|node| on(**node, side)).copied())
    }

    /// All nodes by id.
    pub(super) fn iter(&self) -> impl Iterator<Item = (BrokerId, &Endpoint)> {
        self.nodes.iter().map(|(id, at)| (BrokerId(id.0), at))
    }

    /// Where a virtual node is reached.
    pub(super) fn endpoint(&self, node: BrokerId) -> Option<&Endpoint> {
        self.nodes.get(&VirtualNode(node.0))
    }

    /// Whom clients take for the controller.
    pub(super) fn controller(&self) -> BrokerId {
        self.controller.map_or(NO_NODE, |node| BrokerId(node.0))
    }

    /// A broker's virtual id, if clients are told of it.
    pub(super) fn node(&self, side: Side, node: BrokerId) -> Option<BrokerId> {
        let node = UpstreamNode(node.0).to_virtual(side)?;
        self.nodes.contains_key(&node).then_some(BrokerId(node.0))
    }
}

fn on(node: VirtualNode, side: Side) -> bool {
    node.to_upstream().is_some_and(|(of, _)| of == side)
}

/// Whether the source has left the virtual cluster.
fn source_gone(exchange: &Exchange<'_>) -> bool {
    let snapshot = &exchange.snapshot;
    let quiet = |route: usize| {
        let writers = exchange.clients.writers(RouteId(route), Side::Source);
        writers.is_empty()
    };
    snapshot.source_leaving() && (0..snapshot.routes.len()).all(quiet)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::testing::{Bench, commit_all};

    #[tokio::test]
    async fn both_sides_are_announced_until_the_source_leaves() {
        let bench = Bench::start().await;
        let announced = Announced::new(&bench.exchange(Side::Source));
        let ids: Vec<i32> = announced.iter().map(|(id, _)| id.0).collect();
        assert_eq!(ids, [1, 2, 1_000_001, 1_000_002]);
        assert_eq!(announced.controller(), BrokerId(1));
        let node = announced.node(Side::Destination, BrokerId(2));
        assert_eq!(node, Some(BrokerId(1_000_002)));
        assert_eq!(announced.node(Side::Source, BrokerId(9)), None);
        assert_eq!(announced.node(Side::Source, NO_NODE), None);

        bench.routes.update(commit_all);
        let announced = Announced::new(&bench.exchange(Side::Source));
        let ids: Vec<i32> = announced.iter().map(|(id, _)| id.0).collect();
        assert_eq!(ids, [1_000_001, 1_000_002]);
        assert_eq!(announced.controller(), BrokerId(1_000_001));
    }
}
