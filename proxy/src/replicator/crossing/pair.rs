//! Two real clusters with topics of a test's own, a writer for them, and the comparison of both sides.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use lockgate_wire::batch::{Batch, Batches};
use lockgate_wire::producer_id::{ProducerId, ProducerIdKind};
use lockgate_wire::records::{BatchSpec, Codec, NewRecord, Producer, batch, filler};
use tokio::task::JoinHandle;

use crate::config::{ClusterConfig, Config, ListenConfig, RouteConfig, Timing, TopicConfig};
use crate::error::Result;
use crate::replicator::fetch::read_once;
use crate::replicator::journal::Journal;
use crate::replicator::produce::write_one;
use crate::replicator::{Replicator, topic_calls};
use crate::route::{Phase, RouteState, RouteTable, Routes, Snapshot};
use crate::upstream::{Cluster, Clusters, OffsetAt};
use crate::words::{Generation, Side, TopicPartition};

/// How long anything may take here.
pub(super) const WITHIN: Duration = Duration::from_secs(120);

fn route(name: &str, topics: Vec<String>) -> RouteConfig {
    RouteConfig {
        name: name.to_owned(),
        topics,
        groups: Vec::new(),
        transactional_ids: Vec::new(),
        placement: None,
        cutover: None,
        translation: None,
    }
}

fn config(prefix: &str, bootstrap: &[String; 2]) -> Arc<Config> {
    let cluster = |text: &str| ClusterConfig {
        bootstrap: text.split(',').map(|one| one.parse().unwrap()).collect(),
    };
    Arc::new(Config {
        source: cluster(&bootstrap[0]),
        destination: cluster(&bootstrap[1]),
        listen: ListenConfig {
            bind: Ipv4Addr::LOCALHOST.into(),
            advertised_host: "127.0.0.1".to_owned(),
            bootstrap_port: 0,
            node_ports: 1..=1,
        },
        admin: "127.0.0.1:0".parse().unwrap(),
        routes: vec![
            route("crossing", vec![format!("{prefix}*")]),
            route("default", Vec::new()),
        ],
        topics: TopicConfig {
            replication_factor: None,
            min_insync_replicas: None,
            max_filler_records: 10_000_000,
        },
        timing: Timing {
            settle: Duration::from_secs(2),
            drain: Duration::from_secs(3),
            flip: Duration::from_secs(5),
            group_move: Duration::from_secs(10),
            quiet: Duration::from_secs(10),
            retry_window: Duration::from_secs(900),
        },
    })
}

fn routes(config: &Config) -> Arc<Routes> {
    let state = |home| RouteState {
        home,
        phase: Phase::Open,
        generation: Generation(1),
        committed: false,
    };
    Routes::new(Snapshot {
        table: Arc::new(RouteTable::new(&config.routes).unwrap()),
        routes: vec![state(Side::Source), state(Side::Destination)],
        groups: Arc::default(),
        nodes: Arc::default(),
        topic_ids: Arc::default(),
        cluster_id: "".into(),
        produce_permits: Default::default(),
        commit_permits: Default::default(),
    })
}

#[derive(Debug)]
pub(super) struct Pair {
    prefix: String,
    config: Arc<Config>,
    pub(super) clusters: Clusters,
    routes: Arc<Routes>,
    journal: Journal,
}

impl Pair {
    pub(super) async fn connect() -> Self {
        let address = |name| std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set"));
        let bootstrap = [
            address("LOCKGATE_TEST_SOURCE"),
            address("LOCKGATE_TEST_DESTINATION"),
        ];
        let prefix = format!("crossing-{:08x}-", rand::random::<u32>());
        let config = config(&prefix, &bootstrap);
        let clusters = Clusters {
            source: Cluster::new(Side::Source, config.source.bootstrap.clone()),
            destination: Cluster::new(Side::Destination, config.destination.bootstrap.clone()),
        };
        for side in Side::BOTH {
            clusters.on(side).refresh().await.unwrap();
            clusters.on(side).keep_fresh();
        }
        Self {
            routes: routes(&config),
            journal: Journal::in_memory(),
            prefix,
            config,
            clusters,
        }
    }

    pub(super) fn start(&self) -> Replicator {
        let (config, routes) = (self.config.clone(), self.routes.clone());
        Replicator::start_with(config, self.clusters.clone(), routes, self.journal.clone())
    }

    pub(super) async fn topic(
        &self,
        side: Side,
        name: &str,
        partitions: i32,
        changes: &[(&str, &str)],
    ) -> Arc<str> {
        let topic: Arc<str> = format!("{}{name}", self.prefix).into();
        let cluster = self.clusters.on(side);
        topic_calls::create(cluster, &topic, partitions, 2)
            .await
            .unwrap();
        if !changes.is_empty() {
            let changes = changes
                .iter()
                .map(|(name, value)| ((*name).to_owned(), Some((*value).to_owned())))
                .collect();
            topic_calls::alter(cluster, &topic, &changes).await.unwrap();
        }
        for _ in 0..100 {
            let view = cluster.refresh().await.unwrap();
            if (0..partitions).all(|partition| view.leader(&topic, partition).is_some()) {
                return topic;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("{topic} got no leaders");
    }

    pub(super) async fn writer(&self, at: &TopicPartition) -> Writer {
        let source = &self.clusters.source;
        let leader = source.view().leader(&at.topic, at.partition).unwrap();
        Writer {
            at: at.clone(),
            source: source.clone(),
            connection: source.dedicated(leader).await.unwrap(),
            client: ProducerId::client(rand::random()),
            sequence: 0,
            turn: 0,
        }
    }
}

#[derive(Debug)]
pub(super) struct Writer {
    at: TopicPartition,
    source: Arc<Cluster>,
    pub(super) connection: crate::upstream::Connection,
    client: ProducerId,
    sequence: i32,
    turn: u32,
}

impl Writer {
    /// Batches of a Lockgate client, of a client with a cluster's id, and without any id take turns.
    pub(super) async fn write(&mut self, records: usize) -> i64 {
        self.turn += 1;
        let now = std::time::SystemTime::UNIX_EPOCH
            .elapsed()
            .unwrap()
            .as_millis() as i64;
        let values: Vec<String> = (0..records)
            .map(|n| format!("{}-{n}", rand::random::<u64>()))
            .collect();
        let new: Vec<NewRecord<'_>> = values
            .iter()
            .map(|value| NewRecord {
                timestamp: now,
                key: Some(value.as_bytes()),
                value: Some(value.as_bytes()),
                headers: &[],
            })
            .collect();
        let producer = match self.turn % 3 {
            0 => None,
            1 => Some(Producer {
                id: self.client,
                epoch: 0,
                base_sequence: self.sequence,
            }),
            _ => Some(Producer {
                id: ProducerId::new(7_000_000 + i64::from(self.turn)),
                epoch: 0,
                base_sequence: 0,
            }),
        };
        if self.turn % 3 == 1 {
            self.sequence += records as i32;
        }
        let codec = if self.turn.is_multiple_of(2) {
            Codec::Zstd
        } else {
            Codec::None
        };
        let spec = BatchSpec {
            producer,
            transactional: false,
            codec,
        };
        let bytes = batch(&new, spec).unwrap();
        loop {
            match write_one(&self.connection, &self.at, bytes.clone()).await {
                Ok(base) => return base,
                // A broker died; a batch without an id may be written twice then, which is as good to copy.
                Err(_) => self.reconnect().await,
            }
        }
    }

    async fn reconnect(&mut self) {
        loop {
            tokio::time::sleep(Duration::from_millis(200)).await;
            let Ok(view) = self.source.refresh().await else {
                continue;
            };
            let Some(leader) = view.leader(&self.at.topic, self.at.partition) else {
                continue;
            };
            if let Ok(connection) = self.source.dedicated(leader).await {
                self.connection = connection;
                return;
            }
        }
    }
}

type Seen = (i64, i64, i64, i64, bytes::Bytes);

/// Every batch of a log: offsets, timestamp, the id if it is one that crosses, and the payload.
async fn read_all(cluster: &Cluster, at: &TopicPartition) -> Result<(i64, i64, Vec<Seen>)> {
    let only = std::slice::from_ref(at);
    let start = cluster.list_offsets(only, OffsetAt::LogStart).await?[at];
    let end = cluster.list_offsets(only, OffsetAt::HighWatermark).await?[at];
    let (mut next, mut seen) = (start, Vec::new());
    while next < end {
        let records = read_once(cluster, at, next).await?;
        for found in Batches::new(&records) {
            if let Batch::Whole(found) = found.unwrap() {
                found.check_checksum().unwrap();
                let id = found.producer_id();
                let id = if id.kind() == ProducerIdKind::Client {
                    id.get()
                } else {
                    -1
                };
                let payload = records.slice_ref(found.payload());
                seen.push((
                    found.base_offset(),
                    found.last_offset(),
                    found.max_timestamp(),
                    id,
                    payload,
                ));
                next = found.next_offset();
            }
        }
    }
    Ok((start, end, seen))
}

pub(super) async fn assert_equal(pair: &Pair, at: &TopicPartition) {
    let source = read_all(&pair.clusters.source, at).await.unwrap();
    let copy = read_all(&pair.clusters.destination, at).await.unwrap();
    assert_eq!(
        (source.0, source.1),
        (copy.0, copy.1),
        "start and end of {at}"
    );
    assert_eq!(source.2.len(), copy.2.len(), "batches of {at}");
    for (one, other) in source.2.iter().zip(&copy.2) {
        assert_eq!(one, other, "{at}");
    }
}

pub(super) async fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let since = Instant::now();
    while !done() {
        assert!(since.elapsed() < WITHIN, "{what}: not within {WITHIN:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

pub(super) fn partitions(topic: &Arc<str>, count: i32) -> Vec<TopicPartition> {
    (0..count)
        .map(|partition| TopicPartition::new(topic.clone(), partition))
        .collect()
}

pub(super) fn show_log() {
    let filter = tracing_subscriber::EnvFilter::from_default_env();
    // The second test in a process finds the first one's subscriber, which is as good.
    let _ = tracing_subscriber::fmt()
        .with_test_writer()
        .with_env_filter(filter)
        .try_init();
}

/// Two million records of history, nearly all of them deleted again.
pub(super) async fn begin_deep(pair: &Pair, at: &TopicPartition) {
    let writer = pair.writer(at).await;
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
    let history = filler(100_000, now.as_millis() as i64, None).unwrap();
    for _ in 0..20 {
        write_one(&writer.connection, at, history.clone())
            .await
            .unwrap();
    }
    topic_calls::delete_below(&pair.clusters.source, at, 1_950_123)
        .await
        .unwrap();
}

/// Writes to every partition at its own pace until told to stop.
#[derive(Debug)]
pub(super) struct LiveWrites {
    live: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<()>>,
}

impl LiveWrites {
    pub(super) fn start(writers: Vec<Writer>, records: usize, pause: Duration) -> Self {
        let live = Arc::new(AtomicBool::new(true));
        let write = |mut writer: Writer| {
            let live = live.clone();
            tokio::spawn(async move {
                while live.load(Ordering::Relaxed) {
                    writer.write(records).await;
                    tokio::time::sleep(pause).await;
                }
            })
        };
        let tasks = writers.into_iter().map(write).collect();
        Self { live, tasks }
    }

    pub(super) async fn stop(self) {
        self.live.store(false, Ordering::Relaxed);
        for task in self.tasks {
            task.await.unwrap();
        }
    }
}
