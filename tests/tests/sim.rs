//! Simulated tests: the pure state machines of moves against modelled coordinators, clients and crashes. Each run is
//! decided by a seed, which a failure names.

#[path = "sim/client.rs"]
mod client;
#[path = "sim/coordinator.rs"]
mod coordinator;
#[path = "sim/group.rs"]
mod group;
#[path = "sim/producers.rs"]
mod producers;
