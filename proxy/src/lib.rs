//! Lockgate: a Kafka-protocol-aware proxy that moves a live estate from one cluster to another.
//!
//! The modules in the order of a request's life, then those that decide where it goes: [`listener`] and [`session`]
//! (one client connection), [`api`] (the table of what is done to each API), [`upstream`] (the clusters' brokers),
//! [`route`] (the snapshot that sessions read), [`replicator`] (keeps the clusters level), [`flip`] (moves groups and
//! producers), [`policy`] (asks WASM components), [`verify`] (proves both clusters equal), [`state`] (what survives),
//! [`admin`] and [`telemetry`] (outside faces); [`app`] wires them, [`instance`] sees to it that there is one, [`cli`] is
//! the command line.

pub mod config;
pub mod error;
mod faults;
pub mod words;

pub mod listener;
pub mod session;

pub mod api;
pub mod route;
pub mod upstream;

pub mod flip;
pub mod policy;
pub mod replicator;
pub mod state;
pub mod verify;

pub mod admin;
pub mod telemetry;

pub mod app;
pub mod cli;
pub mod instance;
