//! Routes: which topics, groups and transactional ids move together, where each is at home, and the immutable
//! snapshot of all of it that the data path reads.
//!
//! Control is data: one writer publishes, sessions only read ([`Routes`]).

mod nodes;
mod permits;
mod publish;
mod snapshot;
mod table;

pub use nodes::{Node, Nodes};
pub use permits::{Drain, Drained, Permit, Permits};
pub use publish::Routes;
pub use snapshot::{GroupPlace, Phase, RouteState, Snapshot};
pub use table::{RouteId, RouteTable, STATE_TOPIC};
