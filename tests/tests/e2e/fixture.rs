//! One migration as the tests play it: a topic with a backlog, a Lockgate between the clusters, clients through it,
//! and the check at the end.

use std::time::{Duration, Instant};

use lockgate_tests::clients::{
    Backlog, Client, Clients, ConsumerSpec, ProducerSpec, Software, write_backlog,
};
use lockgate_tests::faults::Relay;
use lockgate_tests::history::{Findings, History};
use lockgate_tests::kafka::{Cluster, ClusterSpec, Pair};
use lockgate_tests::lockgate::{Config, Lockgate, Route};
use lockgate_tests::logs::{compare_topic, read_records};
use serde_json::Value;
use tokio::sync::{Mutex, MutexGuard};

/// How long anything may take before the test gives up.
pub(crate) const DEADLINE: Duration = Duration::from_secs(90);
/// The topic of most tests.
pub(crate) const TOPIC: &str = "orders";
/// Its partitions.
pub(crate) const PARTITIONS: i32 = 4;
/// The route that holds it.
pub(crate) const ROUTE: &str = "orders";
const BACKLOG: u64 = 8_000;

/// Two clusters and a Lockgate at a time: the machine has few cores.
pub(crate) static TURN: Mutex<()> = Mutex::const_new(());

/// A migration in play. Fields are dropped in this order: clients first, clusters last.
pub(crate) struct Play {
    pub(crate) producers: Vec<Client>,
    pub(crate) consumers: Vec<Client>,
    pub(crate) clients: Clients,
    pub(crate) lockgate: Lockgate,
    /// Before the brokers of those clusters that say [`RELAYED_HOST`], source first.
    pub(crate) relays: Vec<Relay>,
    pub(crate) pair: Pair,
    pub(crate) history: History,
    _turn: MutexGuard<'static, ()>,
}

/// The usual route: [`TOPIC`] with both groups.
pub(crate) fn route() -> Route {
    Route {
        name: ROUTE.to_owned(),
        topics: vec![TOPIC.to_owned()],
        groups: vec!["java".to_owned(), "rd".to_owned()],
        ..Route::default()
    }
}

/// Where brokers say they are when everybody is to reach them through relays.
pub(crate) const RELAYED_HOST: &str = "127.0.0.2";
/// Settings that make a test short without changing what is tested.
pub(crate) const QUICK: &str = "\n[timing]\nquiet_ms = 1000\n";

impl Play {
    /// Clusters, a backlog on the source, and a Lockgate that is level.
    pub(crate) async fn begin() -> Self {
        Self::begin_with(ClusterSpec::source(), ClusterSpec::destination(), |_| {}).await
    }

    /// The same with other clusters or another configuration.
    pub(crate) async fn begin_with(
        source: ClusterSpec,
        destination: ClusterSpec,
        change: impl FnOnce(&mut Config),
    ) -> Self {
        let turn = TURN.lock().await;
        let relayed = [&source, &destination].map(|spec| spec.advertised_host == RELAYED_HOST);
        let pair = Box::pin(Pair::start_with(source, destination))
            .await
            .unwrap();
        let mut relays = Vec::new();
        for (cluster, relayed) in [&pair.source, &pair.destination].into_iter().zip(relayed) {
            for broker in cluster.brokers().into_iter().filter(|_| relayed) {
                relays.push(Relay::before(broker).await.unwrap());
            }
        }
        let history = History::default();
        pair.source
            .admin()
            .create_topic(TOPIC, PARTITIONS, 2, &[])
            .await
            .unwrap();
        let backlog = Backlog {
            topic: TOPIC.to_owned(),
            partitions: PARTITIONS,
            records: BACKLOG,
            deleted_percent: 20,
        };
        write_backlog(&pair.source, &backlog, &history)
            .await
            .unwrap();
        let (source, destination) = (pair.source.bootstrap(), pair.destination.bootstrap());
        let mut config = Config::new(&source, &destination, vec![route()]).unwrap();
        config.further = QUICK.to_owned();
        change(&mut config);
        let lockgate = Lockgate::ready(config).await.unwrap();
        let clients = Clients::new(&history).unwrap();
        let play = Self {
            producers: Vec::new(),
            consumers: Vec::new(),
            clients,
            lockgate,
            relays,
            pair,
            history,
            _turn: turn,
        };
        play.wait_level().await;
        play
    }

    /// Waits until every link of the topic is copying and level.
    pub(crate) async fn wait_level(&self) {
        let level = |links: &Value| {
            let ours = links
                .as_array()
                .into_iter()
                .flatten()
                .filter(|link| link["topic"] == TOPIC);
            let level = ours.filter(|link| link["state"] == "copying" && link["lag_records"] == 0);
            level.count() == PARTITIONS as usize
        };
        self.lockgate
            .api()
            .wait_until("/v1/links", DEADLINE, level)
            .await
            .unwrap();
    }

    /// Kafka's own client, as a library to choose.
    pub(crate) fn java(&self) -> Software {
        Software::Java(self.pair.source.kafka().clone())
    }

    /// A producer through Lockgate.
    pub(crate) fn producer(&mut self, software: &Software, name: &str, idempotent: bool) {
        let prefix = self.producers.len() as u32 + 1;
        let mut spec = ProducerSpec::new(name, &self.lockgate.bootstrap(), TOPIC, prefix);
        if !idempotent {
            spec = spec.not_idempotent();
        }
        self.producers
            .push(self.clients.producer(software, &spec).unwrap());
    }

    /// A member of a group through Lockgate.
    pub(crate) fn consumer(&mut self, software: &Software, name: &str, group: &str) {
        let spec = ConsumerSpec::new(name, &self.lockgate.bootstrap(), TOPIC, group);
        self.consumers
            .push(self.clients.consumer(software, &spec).unwrap());
    }

    /// The usual clients: three producers, a Java group of two and a librdkafka group of one, all at work.
    pub(crate) async fn usual_clients(&mut self) {
        let java = self.java();
        self.producer(&java, "java-idempotent", true);
        self.producer(&Software::Librdkafka, "rd-idempotent", true);
        self.producer(&java, "java-plain", false);
        self.consumer(&java, "java-1", "java");
        self.consumer(&java, "java-2", "java");
        self.consumer(&Software::Librdkafka, "rd-1", "rd");
        self.all_at_work().await;
    }

    /// Waits until every client works on records, the consumers with partitions.
    pub(crate) async fn all_at_work(&self) {
        for client in &self.producers {
            client.wait_for_records(500, DEADLINE).await.unwrap();
        }
        for client in &self.consumers {
            client.wait_for_records(1, DEADLINE).await.unwrap();
        }
        for group in self.groups() {
            self.read_down_to(&group, 1_000).await;
        }
    }

    pub(crate) fn groups(&self) -> Vec<String> {
        let mut groups = Vec::new();
        for name in ["java", "rd"] {
            if self
                .consumers
                .iter()
                .any(|client| client.name().starts_with(name))
            {
                groups.push(name.to_owned());
            }
        }
        groups
    }

    /// Lets the clients run until each producer has `records` more acknowledged.
    pub(crate) async fn go_on(&self, records: u64) {
        let goals: Vec<u64> = self
            .producers
            .iter()
            .map(|client| client.records() + records)
            .collect();
        for (client, goal) in self.producers.iter().zip(goals) {
            client.wait_for_records(goal, DEADLINE).await.unwrap();
        }
    }

    pub(crate) async fn read_down_to(&self, group: &str, left: u64) {
        let end = Instant::now() + DEADLINE;
        while self.history.unread(group, TOPIC) > left {
            let unread = self.history.unread(group, TOPIC);
            assert!(
                Instant::now() < end,
                "{group} still has {unread} records to read"
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Flips and insists on success.
    pub(crate) async fn flip(&self, what: &str) -> Value {
        let operation = self
            .lockgate
            .api()
            .flip(ROUTE, what, DEADLINE)
            .await
            .unwrap();
        assert_eq!(operation["state"], "done", "{operation:#}");
        operation
    }

    /// Stops the clients after everything was read.
    pub(crate) async fn stop_clients(&self) {
        for client in &self.producers {
            client.stop().await.unwrap();
        }
        for group in self.groups() {
            self.read_down_to(&group, 0).await;
        }
        for client in &self.consumers {
            client.stop().await.unwrap();
        }
        for client in self.producers.iter().chain(&self.consumers) {
            let report = client.report();
            assert_eq!(report.restarts, 0, "{} was restarted", report.name);
            assert_eq!(report.errors, Vec::<String>::new(), "{}", report.name);
        }
    }

    /// Everything stops; acknowledged is compared with read and with the destination's log, and both logs offset by
    /// offset up to the flip.
    pub(crate) async fn end(self) {
        self.stop_clients().await;
        self.compare_logs().await;
        self.check_history().await;
    }

    /// Both logs are equal offset by offset over what the source holds.
    pub(crate) async fn compare_logs(&self) {
        let (source, destination) = (&self.pair.source, &self.pair.destination);
        let differences = compare_topic(source, destination, TOPIC).await.unwrap();
        assert!(differences.is_empty(), "{differences:#?}");
    }

    /// Nothing lost, doubled, reordered or misplaced, in the destination's log either.
    pub(crate) async fn check_history(&self) {
        check_history(&self.history, &self.pair.destination).await;
    }

    /// What the checker says of everything read and of the destination's log.
    pub(crate) async fn findings(&self) -> Findings {
        findings(&self.history, &self.pair.destination).await
    }
}

/// Nothing lost, doubled, reordered or misplaced in [`TOPIC`], in this cluster's log either.
pub(crate) async fn check_history(history: &History, cluster: &Cluster) {
    let findings = findings(history, cluster).await;
    assert!(
        findings.is_clean(),
        "{:?}: {:#?}",
        findings.total,
        findings.examples
    );
}

async fn findings(history: &History, cluster: &Cluster) -> Findings {
    let ranges = cluster.admin().log_ranges(TOPIC).await.unwrap();
    for (partition, range) in (0..).zip(&ranges) {
        let bootstrap = cluster.bootstrap();
        let records = read_records(&bootstrap, TOPIC, partition, range.start, range.end)
            .await
            .unwrap();
        for record in records {
            let value = String::from_utf8_lossy(record.value.as_deref().unwrap_or_default());
            history.in_log(TOPIC, partition, record.offset, &value);
        }
    }
    history.check()
}
