//! What is kept, by kind and name.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The kinds of records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Who this pair of clusters is; written first.
    Identity,
    /// Which process writes the state; written at every start.
    Coordinator,
    /// A route's home, phase and generation.
    Route,
    /// The journal of a route's running flip.
    Flip,
    /// A group's home and, after a move, its members' ids.
    Group,
    /// A topic that Lockgate made at the destination, and how far its alignment is.
    Topic,
    /// A link's own producer id.
    Link,
    /// A topic's id as clients see it.
    TopicId,
    /// A virtual node's port and last address.
    Node,
    /// A cluster's API version ranges at last contact.
    ApiRanges,
    /// A policy's digest.
    Policy,
}

/// One key of the state topic.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Key {
    /// The kind.
    pub kind: Kind,
    /// The name within the kind.
    pub name: String,
}

impl Key {
    /// A key.
    pub fn new(kind: Kind, name: impl Into<String>) -> Self {
        Self {
            kind,
            name: name.into(),
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {:?}", self.kind, self.name)
    }
}
