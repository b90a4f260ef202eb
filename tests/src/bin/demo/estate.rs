//! The estate that moves: topics, groups, clients.

use anyhow::Result;
use lockgate_tests::clients::{Backlog, Client, Clients, ConsumerSpec, ProducerSpec, Software};
use lockgate_tests::folders;
use lockgate_tests::kafka::Kafka;
use lockgate_tests::lockgate::Route;

/// A topic of the estate.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Topic {
    pub(crate) name: &'static str,
    pub(crate) partitions: i32,
    /// Records before Lockgate starts.
    pub(crate) history: u64,
    pub(crate) group: &'static str,
}

/// `audit` is named by no route, so it belongs to `default`.
pub(crate) const TOPICS: [Topic; 3] = [
    Topic {
        name: "orders",
        partitions: 12,
        history: 360_000,
        group: "billing",
    },
    Topic {
        name: "payments",
        partitions: 6,
        history: 150_000,
        group: "ledger",
    },
    Topic {
        name: "audit",
        partitions: 4,
        history: 8_000,
        group: "auditors",
    },
];

/// The part of each partition that is deleted before Lockgate starts.
const DELETED_PERCENT: u64 = 20;

/// Of each producer; a little more than the 500 that are promised, since throttles are not exact.
const RECORDS_PER_SECOND: u32 = 600;

impl Topic {
    pub(crate) fn backlog(&self) -> Backlog {
        Backlog {
            topic: self.name.to_owned(),
            partitions: self.partitions,
            records: self.history,
            deleted_percent: DELETED_PERCENT,
        }
    }
}

/// The routes of the configuration; `default` is there by itself.
pub(crate) fn routes() -> Vec<Route> {
    let orders = Route {
        name: "orders".to_owned(),
        topics: vec!["orders".to_owned()],
        groups: vec!["billing".to_owned()],
        cutover_policy: Some(folders::workspace().join("target/policies/lag-gate.wasm")),
        cutover_config: "max_lag_records = 100".to_owned(),
    };
    let payments = Route {
        name: "payments".to_owned(),
        topics: vec!["payments".to_owned()],
        groups: vec!["ledger".to_owned()],
        ..Route::default()
    };
    vec![orders, payments]
}

/// The live clients.
#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) producers: Vec<Client>,
    pub(crate) consumers: Vec<Client>,
}

impl Live {
    /// Starts every client against one bootstrap address.
    pub(crate) fn start(clients: &Clients, kafka: &Kafka, bootstrap: &str) -> Result<Self> {
        let java = Software::Java(kafka.clone());
        let rd = Software::Librdkafka;
        let producer = |name, topic, prefix| ProducerSpec {
            per_second: Some(RECORDS_PER_SECOND),
            ..ProducerSpec::new(name, bootstrap, topic, prefix)
        };
        let consumer = |name, topic, group| ConsumerSpec::new(name, bootstrap, topic, group);
        let consumers = vec![
            clients.consumer(&java, &consumer("java-consumer-1", "orders", "billing"))?,
            clients.consumer(&java, &consumer("java-consumer-2", "orders", "billing"))?,
            clients.consumer(&rd, &consumer("rdkafka-consumer-1", "payments", "ledger"))?,
            clients.consumer(&rd, &consumer("rdkafka-consumer-2", "payments", "ledger"))?,
            clients.consumer(&rd, &consumer("rdkafka-auditor", "audit", "auditors"))?,
        ];
        let producers = vec![
            clients.producer(&java, &producer("java-idempotent", "orders", 1))?,
            clients.producer(
                &java,
                &producer("java-acks-1", "orders", 2).not_idempotent(),
            )?,
            clients.producer(&rd, &producer("rdkafka-idempotent", "payments", 3))?,
            clients.producer(&rd, &producer("rdkafka-audit", "audit", 4))?,
        ];
        Ok(Self {
            producers,
            consumers,
        })
    }

    /// Everybody.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Client> {
        self.producers.iter().chain(&self.consumers)
    }
}
