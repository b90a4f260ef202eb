//! Virtual nodes: one upstream broker each, as clients see it.

use std::collections::BTreeMap;

use crate::upstream::BrokerAddress;
use crate::words::{Side, UpstreamNode, VirtualNode};

/// One virtual node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// The id clients see.
    pub id: VirtualNode,
    /// The cluster of the broker behind it.
    pub side: Side,
    /// The broker's own id.
    pub upstream: UpstreamNode,
    /// Where the broker listens; the last known address while it is away.
    pub address: BrokerAddress,
    /// The port Lockgate listens on for it; never changes.
    pub port: u16,
}

/// All virtual nodes ever given a port, by id.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Nodes(pub BTreeMap<VirtualNode, Node>);

impl Nodes {
    /// A node by the broker behind it.
    #[must_use]
    pub fn of(&self, side: Side, upstream: UpstreamNode) -> Option<&Node> {
        self.0.get(&upstream.to_virtual(side)?)
    }

    /// All nodes of one side.
    pub fn on(&self, side: Side) -> impl Iterator<Item = &Node> {
        self.0.values().filter(move |node| node.side == side)
    }
}
