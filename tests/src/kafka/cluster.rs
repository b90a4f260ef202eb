//! A cluster: one controller and some brokers, each a process of its own that can be killed and restarted on
//! the same ports and data.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use tokio::time::Instant;

use super::artifacts::{Kafka, Version};
use super::node::{CONTROLLER_ID, Node, Role, START_DEADLINE, STARTED, folder, random_id};
use crate::admin::Admin;
use crate::folders;
use crate::ports::Ports;
use crate::process::{Process, Signal};

/// How long all brokers may take to be registered once their processes are up.
const REGISTER_DEADLINE: Duration = Duration::from_secs(30);

/// A second client listener of a broker: where it listens, and the port that it tells clients.
#[derive(Debug, Clone, Copy)]
pub struct FurtherListener {
    /// Where the broker listens.
    pub port: u16,
    /// What clients that came through it are told.
    pub advertised_port: u16,
}

/// What a cluster is to be.
#[derive(Debug, Clone)]
pub struct ClusterSpec {
    /// Appears in process names and log folders.
    pub name: String,
    /// The release.
    pub version: Version,
    /// How many brokers; their node ids are 1, 2, ...
    pub brokers: u16,
    /// `min.insync.replicas` of new topics.
    pub min_insync_replicas: u16,
    /// `group.initial.rebalance.delay.ms`; Kafka's default is 3000.
    pub initial_rebalance_delay_ms: u32,
    /// The host that brokers tell clients; their ports are the same there. With another loopback address
    /// than 127.0.0.1 every client goes through the [`Relay`](crate::faults::Relay)s that listen on it.
    pub advertised_host: String,
    /// A second way in for clients, for instance through another proxy; only for clusters of one broker.
    pub further_listener: Option<FurtherListener>,
    /// Further broker settings; they win over the harness's own.
    pub settings: Vec<(String, String)>,
}

impl ClusterSpec {
    /// The source of a migration: Kafka 3.9, two brokers, groups that form at once.
    #[must_use]
    pub fn source() -> Self {
        Self {
            name: "source".to_owned(),
            version: Version::V3_9,
            brokers: 2,
            min_insync_replicas: 1,
            initial_rebalance_delay_ms: 0,
            advertised_host: "127.0.0.1".to_owned(),
            further_listener: None,
            settings: Vec::new(),
        }
    }

    /// The destination of a migration: Kafka 4.1, two brokers, the default initial rebalance delay.
    #[must_use]
    pub fn destination() -> Self {
        Self {
            name: "destination".to_owned(),
            version: Version::V4_1,
            initial_rebalance_delay_ms: 3000,
            ..Self::source()
        }
    }

    fn broker_settings(&self) -> Vec<(String, String)> {
        let replication = self.brokers.min(2).to_string();
        let mut settings: Vec<(String, String)> = [
            ("default.replication.factor", replication.clone()),
            ("offsets.topic.replication.factor", replication.clone()),
            ("transaction.state.log.replication.factor", replication),
            ("min.insync.replicas", self.min_insync_replicas.to_string()),
            (
                "group.initial.rebalance.delay.ms",
                self.initial_rebalance_delay_ms.to_string(),
            ),
        ]
        .map(|(key, value)| (key.to_owned(), value))
        .to_vec();
        settings.extend(self.settings.iter().cloned());
        settings
    }
}

/// A running cluster; dropping it kills its processes and removes its data.
#[derive(Debug)]
pub struct Cluster {
    spec: ClusterSpec,
    kafka: Kafka,
    nodes: Vec<Node>,
    running: Mutex<Vec<Option<Process>>>,
    // Declared after the processes: they die before their data and ports go.
    folder: tempfile::TempDir,
    _ports: Ports,
}

impl Cluster {
    /// Starts a cluster on free ports, fetching the release first if need be.
    ///
    /// # Errors
    /// When a node does not start in time; the error carries the end of its log.
    pub async fn start(spec: ClusterSpec) -> Result<Self> {
        let version = spec.version;
        let kafka = tokio::task::spawn_blocking(move || Kafka::resolve(version)).await??;
        let ports = Ports::reserve(2 * spec.brokers + 1)?;
        let scratch = folders::scratch()?;
        let nodes = plan_nodes(&spec, &ports, scratch.path());
        let cluster_id = random_id();
        for node in &nodes {
            let settings = if node.role == Role::Broker {
                spec.broker_settings()
            } else {
                Vec::new()
            };
            node.lay_out(&kafka, &cluster_id, &settings)?;
        }
        let running = Mutex::new(nodes.iter().map(|_| None).collect());
        let cluster = Self {
            spec,
            kafka,
            nodes,
            running,
            folder: scratch,
            _ports: ports,
        };
        for node in &cluster.nodes {
            cluster.launch(node)?;
        }
        for node in &cluster.nodes {
            cluster.wait_started(node.id, 0).await?;
        }
        cluster
            .wait_for_brokers(usize::from(cluster.spec.brokers))
            .await?;
        Ok(cluster)
    }

    /// `bootstrap.servers` of the cluster.
    #[must_use]
    pub fn bootstrap(&self) -> String {
        self.brokers()
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(",")
    }

    /// The brokers' addresses, in the order of their ids.
    #[must_use]
    pub fn brokers(&self) -> Vec<SocketAddr> {
        let brokers = self.nodes.iter().filter(|node| node.role == Role::Broker);
        brokers
            .map(|node| SocketAddr::from(([127, 0, 0, 1], node.port)))
            .collect()
    }

    /// The release it runs, also to start its clients with.
    #[must_use]
    pub fn kafka(&self) -> &Kafka {
        &self.kafka
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.spec.name
    }

    /// The folder with one folder per node: settings, data and `server.log`.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The log of a node.
    #[must_use]
    pub fn log(&self, id: i32) -> PathBuf {
        folder(self.folder.path(), id).join("server.log")
    }

    /// An admin client for this cluster.
    #[must_use]
    pub fn admin(&self) -> Admin {
        Admin::new(self.brokers())
    }

    /// The process ids of all nodes that run.
    #[must_use]
    pub fn pids(&self) -> Vec<u32> {
        self.running
            .lock()
            .map(|all| all.iter().flatten().map(Process::pid).collect())
            .unwrap_or_default()
    }

    /// SIGKILL to a node.
    ///
    /// # Errors
    /// When it does not run or does not end.
    pub async fn kill(&self, id: i32) -> Result<()> {
        self.take(id)?.kill().await.map(drop)
    }

    /// SIGTERM to a node; a broker hands its leaderships over first.
    ///
    /// # Errors
    /// When it does not run or does not end.
    pub async fn stop(&self, id: i32) -> Result<()> {
        self.take(id)?.stop().await.map(drop)
    }

    /// SIGKILL to every broker at once; the controller stays.
    ///
    /// # Errors
    /// When one does not end.
    pub async fn kill_brokers(&self) -> Result<()> {
        let ids: Vec<i32> = (1..=i32::from(self.spec.brokers)).collect();
        let brokers: Vec<Process> = ids.iter().filter_map(|id| self.take(*id).ok()).collect();
        for broker in &brokers {
            broker.signal(Signal::Kill);
        }
        for broker in &brokers {
            broker.kill().await?;
        }
        Ok(())
    }

    /// Sends a signal (for instance SIGSTOP) to a running node.
    ///
    /// # Errors
    /// When it does not run.
    pub fn signal(&self, id: i32, signal: Signal) -> Result<()> {
        let index = self.index(id)?;
        let running = self
            .running
            .lock()
            .map_err(|_| anyhow!("a test panicked while it held the nodes"))?;
        running[index]
            .as_ref()
            .with_context(|| format!("node {id} does not run"))?
            .signal(signal);
        Ok(())
    }

    /// Starts a node that was killed or stopped, on its old ports and data, and waits until it serves.
    ///
    /// # Errors
    /// When it does not start in time.
    pub async fn restart(&self, id: i32) -> Result<()> {
        let index = self.index(id)?;
        let from = std::fs::metadata(self.log(id)).map_or(0, |meta| meta.len());
        self.launch(&self.nodes[index])?;
        self.wait_started(id, from).await
    }

    /// Starts every node that does not run and waits until all brokers are registered.
    ///
    /// # Errors
    /// When one does not start in time.
    pub async fn restart_all(&self) -> Result<()> {
        let down: Vec<i32> = {
            let running = self
                .running
                .lock()
                .map_err(|_| anyhow!("a test panicked while it held the nodes"))?;
            self.nodes
                .iter()
                .zip(running.iter())
                .filter(|(_, process)| process.is_none())
                .map(|(node, _)| node.id)
                .collect()
        };
        for id in down {
            self.restart(id).await?;
        }
        self.wait_for_brokers(usize::from(self.spec.brokers)).await
    }

    /// Waits until exactly `count` brokers are alive in the cluster's own view.
    ///
    /// # Errors
    /// When that is not so in time.
    pub async fn wait_for_brokers(&self, count: usize) -> Result<()> {
        let end = Instant::now() + REGISTER_DEADLINE;
        let admin = self.admin();
        loop {
            if admin.all_see_brokers(count).await {
                return Ok(());
            }
            if Instant::now() >= end {
                let alive = admin.live_brokers().await;
                bail!(
                    "cluster {} shows brokers {alive:?} after {REGISTER_DEADLINE:?}, not {count}",
                    self.spec.name
                );
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    fn index(&self, id: i32) -> Result<usize> {
        let place = self.nodes.iter().position(|node| node.id == id);
        place.with_context(|| format!("cluster {} has no node {id}", self.spec.name))
    }

    fn launch(&self, node: &Node) -> Result<()> {
        let index = self.index(node.id)?;
        let process = node.start(&self.kafka, &format!("{}-{}", self.spec.name, node.id))?;
        let mut running = self
            .running
            .lock()
            .map_err(|_| anyhow!("a test panicked while it held the nodes"))?;
        running[index] = Some(process);
        Ok(())
    }

    fn take(&self, id: i32) -> Result<Process> {
        let index = self.index(id)?;
        let mut running = self
            .running
            .lock()
            .map_err(|_| anyhow!("a test panicked while it held the nodes"))?;
        running[index]
            .take()
            .with_context(|| format!("node {id} of {} does not run", self.spec.name))
    }

    async fn wait_started(&self, id: i32, from: u64) -> Result<()> {
        let process = self.take(id)?;
        let started = process.wait_for_log(STARTED, from, START_DEADLINE).await;
        let index = self.index(id)?;
        let mut running = self
            .running
            .lock()
            .map_err(|_| anyhow!("a test panicked while it held the nodes"))?;
        running[index] = Some(process);
        started
    }
}

fn plan_nodes(spec: &ClusterSpec, ports: &Ports, base: &Path) -> Vec<Node> {
    let controller_port = ports.at(0);
    let node = |id: i32, role, port, internal_port| Node {
        id,
        role,
        port,
        internal_port,
        controller_port,
        advertised_host: spec.advertised_host.clone(),
        further_listener: spec.further_listener,
        folder: folder(base, id),
    };
    let brokers = usize::from(spec.brokers);
    let broker = |index: usize| {
        node(
            index as i32,
            Role::Broker,
            ports.at(index),
            ports.at(index + brokers),
        )
    };
    std::iter::once(node(CONTROLLER_ID, Role::Controller, 0, 0))
        .chain((1..=brokers).map(broker))
        .collect()
}
