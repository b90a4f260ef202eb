//! The words of the design as types. Two look-alike numbers are two types, so that a source's node id cannot be
//! handed to the destination, nor a virtual node id to a broker.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// One of the two upstream clusters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// The cluster that is left.
    Source,
    /// The cluster that is entered.
    Destination,
}

impl Side {
    /// Both sides, source first.
    pub const BOTH: [Self; 2] = [Self::Source, Self::Destination];

    /// The cluster across.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::Source => Self::Destination,
            Self::Destination => Self::Source,
        }
    }

    /// Where this side's things stand in a two-element array.
    #[must_use]
    pub fn index(self) -> usize {
        match self {
            Self::Source => 0,
            Self::Destination => 1,
        }
    }

    /// What is added to an upstream node id to make the id that clients see.
    #[must_use]
    pub fn node_base(self) -> i32 {
        match self {
            Self::Source => 0,
            Self::Destination => 1_000_000,
        }
    }

    /// The word used in logs, metrics and JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Destination => "destination",
        }
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A broker's id in its own cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UpstreamNode(pub i32);

/// A broker's id as clients see it: the upstream id plus its side's base, stable for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct VirtualNode(pub i32);

impl UpstreamNode {
    /// The id under which clients know this broker. None for ids outside a side's million (a broker's answer is
    /// outside data), including Kafka's -1 for "no node".
    #[must_use]
    pub fn to_virtual(self, side: Side) -> Option<VirtualNode> {
        (0..Side::Destination.node_base())
            .contains(&self.0)
            .then(|| VirtualNode(self.0 + side.node_base()))
    }
}

impl VirtualNode {
    /// The side and the upstream id behind a virtual id.
    #[must_use]
    pub fn to_upstream(self) -> Option<(Side, UpstreamNode)> {
        let side = if self.0 >= Side::Destination.node_base() {
            Side::Destination
        } else {
            Side::Source
        };
        let id = self.0.checked_sub(side.node_base())?;
        (0..Side::Destination.node_base())
            .contains(&id)
            .then_some((side, UpstreamNode(id)))
    }
}

impl fmt::Display for UpstreamNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for VirtualNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Grows by one with every change of a route; every decision carries it.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Generation(pub u64);

impl Generation {
    /// The generation after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One partition of one topic. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicPartition {
    /// The topic's name, the same on both clusters.
    pub topic: Arc<str>,
    /// The partition's index.
    pub partition: i32,
}

impl TopicPartition {
    /// A partition by name and index.
    #[must_use]
    pub fn new(topic: impl Into<Arc<str>>, partition: i32) -> Self {
        Self {
            topic: topic.into(),
            partition,
        }
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn node_ids_map_there_and_back() {
        for side in Side::BOTH {
            let seen = UpstreamNode(7).to_virtual(side).unwrap();
            assert_eq!(seen.to_upstream(), Some((side, UpstreamNode(7))));
        }
        assert_eq!(UpstreamNode(-1).to_virtual(Side::Destination), None);
        assert_eq!(UpstreamNode(1_000_000).to_virtual(Side::Source), None);
        assert_eq!(VirtualNode(-5).to_upstream(), None);
    }
}
