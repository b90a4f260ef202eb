//! Moves a live Kafka estate from one cluster to another while its clients keep running.

pub mod policy;
