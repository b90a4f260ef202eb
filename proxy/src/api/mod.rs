//! The API table: the only list of what Lockgate supports, in which versions, and what is done to it.
//!
//! `table` is the list, `handle` the way of a decoded request through it. Then one file per API key, both halves in
//! one: its head says which versions, what is done to them, and what each version added. Last, what several of them
//! share: `group` (a request of a classic group on its way to its desk or coordinator), `ask` (whom to ask, and how
//! again), `transaction` (where transactions are
//! served) and `cluster` (the virtual cluster: nodes, homes, names).

mod exchange;
mod handle;
mod table;
mod unsupported;

mod fetch;
mod produce;

mod list_offsets;
mod metadata;
mod offset_commit;
mod offset_fetch;

mod describe_groups;
mod find_coordinator;
mod heartbeat;
mod join_group;
mod leave_group;
mod list_groups;
mod sync_group;

mod api_versions;
mod create_topics;
mod describe_cluster;
mod describe_configs;

mod add_offsets_to_txn;
mod add_partitions_to_txn;
mod end_txn;
mod init_producer_id;
mod txn_offset_commit;

mod ask;
mod cluster;
mod group;
mod transaction;

#[cfg(test)]
mod testing;

pub use exchange::Exchange;
pub use handle::{Outcome, handle};
pub use table::{Api, Treatment, apis, lookup};
pub use unsupported::unsupported;
