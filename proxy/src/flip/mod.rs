//! Moves: of groups ([`desk`], `group`) and of producers (`producers`). Pure state machines decide; loops here perform
//! their commands. [`Service`] is the door: it starts, watches and reports the operations of all routes.

mod service;

mod operation;
mod request;
mod view;

pub mod journal;

mod execute;
mod facts;
mod tick;

pub mod gate;
mod survey;

pub mod desk;
pub mod group;
pub mod producers;

#[cfg(test)]
mod testing;

pub use desk::{
    GroupCall, GroupDesk, GroupRequest, GroupResponse, PendingVerdict, Ticket, Verdict,
};
pub(crate) use operation::now_ms;
pub use operation::{Operation, OperationId, OperationKind, OperationState, Step};
pub use request::{Accepted, FlipRequest, Move, Plan, Refusal};
pub use service::{Deps, RoutePolicies, Service};
pub use view::{
    CutoverView, GroupView, LastProposal, PhaseView, PolicyViews, RollbackView, RouteView,
};
