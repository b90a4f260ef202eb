//! The harness: real Kafka clusters from Maven artifacts, real clients of Java and librdkafka, fault hooks, a
//! running Lockgate, and the checker that compares what was acknowledged with what was read.
//!
//! Everything listens on loopback, chooses free ports and dies with the process that started it.

pub mod folders;
pub mod ports;
pub mod process;

pub mod admin;
pub mod kafka;
pub mod logs;

pub mod clients;
pub mod history;

pub mod faults;
pub mod lockgate;
