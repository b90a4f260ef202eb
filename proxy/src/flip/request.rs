//! What may be asked of a route, and why it may be refused.

use serde::{Deserialize, Serialize};

use super::operation::OperationId;
use crate::words::Side;

/// What is to move.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Move {
    /// Consumer groups.
    Groups,
    /// The producers.
    Producers,
    /// All groups, then the producers.
    All,
}

/// A flip as asked for (`POST /v1/routes/{name}/flip`).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FlipRequest {
    /// What is to move.
    #[serde(rename = "move")]
    pub what: Move,
    /// These groups only; empty means all of the route.
    #[serde(default)]
    pub groups: Vec<String>,
    /// Where to.
    #[serde(default = "destination")]
    pub to: Side,
    /// Only say what would happen.
    #[serde(default)]
    pub dry_run: bool,
}

fn destination() -> Side {
    Side::Destination
}

/// What a flip would do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// The groups that would move now.
    pub groups: Vec<String>,
    /// Groups that would not, and why.
    pub groups_refused: Vec<(String, String)>,
    /// Whether the producers are asked to move.
    pub producers: bool,
    /// What stands against moving the producers; after the groups have moved, where those come first.
    pub producers_refused: Vec<String>,
}

/// The answer to a request that may begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Accepted {
    /// It began.
    Started(OperationId),
    /// It was a dry run.
    DryRun(Plan),
}

/// Why a request does not begin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no such route (404).
    #[error("there is no route {0:?}")]
    UnknownRoute(String),
    /// Another operation of the route runs (409).
    #[error("operation {0} of this route is under way")]
    Busy(OperationId),
    /// The gate is shut (409); every reason is listed.
    #[error("{}", .0.join("; "))]
    Shut(Vec<String>),
    /// Not built yet (501).
    #[error("{0}")]
    NotYet(String),
}
