//! Real clients as child processes: Kafka's `VerifiableProducer` and `VerifiableConsumer` in JVMs of their own,
//! and their librdkafka twins (`rdkafka-client`), which take the same arguments and print the same events.

mod backlog;
mod client;
mod complaints;
mod event;
mod spec;

pub use backlog::{Backlog, write_backlog};
pub use client::{Client, ClientKind, ClientReport, Clients};
pub use complaints::complaints;
pub use event::Event;
pub use spec::{ConsumerSpec, ProducerSpec, Software};
