//! Lockgate end to end: real clusters, real clients, faults. One test at a time, each with a pair of its own, since
//! they kill brokers and Lockgates and since two Lockgates cannot share a pair.

#[path = "e2e/estate.rs"]
mod estate;
#[path = "e2e/fixture.rs"]
mod fixture;

#[path = "e2e/crossing.rs"]
mod crossing;
#[path = "e2e/holes.rs"]
mod holes;
#[path = "e2e/hostile.rs"]
mod hostile;
#[path = "e2e/instances.rs"]
mod instances;
#[path = "e2e/kills.rs"]
mod kills;
#[path = "e2e/laggard.rs"]
mod laggard;
#[path = "e2e/lifted.rs"]
mod lifted;
#[path = "e2e/merging.rs"]
mod merging;
#[path = "e2e/policies.rs"]
mod policies;
#[path = "e2e/rebuilt.rs"]
mod rebuilt;
#[path = "e2e/replication.rs"]
mod replication;
#[path = "e2e/reverse.rs"]
mod reverse;
#[path = "e2e/swallowed.rs"]
mod swallowed;
#[path = "e2e/transactions.rs"]
mod transactions;
#[path = "e2e/verify.rs"]
mod verify;
