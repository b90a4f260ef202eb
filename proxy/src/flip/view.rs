//! What the admin API shows of a route.

use serde::Serialize;

use super::operation::OperationId;
use crate::replicator::LagSummary;
use crate::words::Side;

/// One route.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RouteView {
    /// Its name.
    pub name: String,
    /// The cluster that takes its writes.
    pub home: Side,
    /// Grows with every change.
    pub generation: u64,
    /// `open` or `fenced`.
    pub phase: PhaseView,
    /// Whether the way back is closed.
    pub committed: bool,
    /// The topics that it holds now.
    pub topics: Vec<String>,
    /// The groups that it holds now.
    pub groups: Vec<GroupView>,
    /// How far its links are behind.
    pub lag: LagSummary,
    /// Its policies.
    pub policy: PolicyViews,
    /// The operation under way.
    pub operation: Option<OperationId>,
    /// Why the producers would be refused to move now.
    pub refused: Vec<String>,
    /// The way back.
    pub rollback: RollbackView,
}

/// Whether writes are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PhaseView {
    /// By the home.
    Open,
    /// They are parked.
    Fenced,
}

/// One consumer group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GroupView {
    /// Its id.
    pub group: String,
    /// The cluster that coordinates it.
    pub home: Side,
    /// As its coordinator says: `Stable`, `Empty` and so on; `Unknown` where it cannot be asked.
    pub state: String,
    /// How many.
    pub members: usize,
    /// Why it was refused to move, or why its last move was undone.
    pub reason: Option<String>,
}

/// The policies of a route.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PolicyViews {
    /// Who decides when it moves.
    pub cutover: CutoverView,
}

/// The cutover policy and what it said.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CutoverView {
    /// `manual`, or the component's name.
    pub name: String,
    /// The component's SHA-256.
    pub digest: Option<String>,
    /// Its last answer.
    pub last: Option<LastProposal>,
    /// How often it failed.
    pub faults: u64,
    /// What the newest fault said.
    pub last_fault: Option<String>,
}

/// One answer of a cutover policy.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LastProposal {
    /// `wait`, `move-groups`, `move-producers`, `roll-back` or `hold`.
    pub proposal: String,
    /// The policy's own reason, or why Lockgate refused the proposal.
    pub reason: Option<String>,
    /// When it was first given in a row, in milliseconds since the epoch.
    pub at_ms: u64,
}

/// Whether a route can go back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RollbackView {
    /// Whether it can.
    pub possible: bool,
    /// Why it cannot.
    pub reason: Option<String>,
    /// Records that the source lacks now: what would be lost if the destination were gone this moment.
    pub records_at_risk: i64,
}

impl RollbackView {
    /// Of a route whose producers' move the other way would be refused for these reasons.
    pub(super) fn of(home: Side, committed: bool, refused: &[String], lag_records: i64) -> Self {
        let moved = home == Side::Destination;
        let reason = match (moved, committed) {
            (true, true) => Some("the route is committed".to_owned()),
            (false, _) => Some("the route's producers are at the source".to_owned()),
            (true, false) => (!refused.is_empty()).then(|| refused.join("; ")),
        };
        Self {
            possible: reason.is_none(),
            reason,
            records_at_risk: if moved && !committed { lag_records } else { 0 },
        }
    }
}
