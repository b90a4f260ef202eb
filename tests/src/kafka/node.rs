//! One Kafka node: its settings, its formatted data folder, and the one-time preparation of a release.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::artifacts::{JvmKind, Kafka};
use super::cluster::FurtherListener;
use crate::ports::Ports;
use crate::process::{Process, Signal};

/// Node id of the controller, which is a process of its own, so that every broker can be killed.
pub const CONTROLLER_ID: i32 = 100;
/// What a node logs once it serves.
pub(super) const STARTED: &str = "Kafka Server started";
/// How long a node may take to start; a loaded machine with two cores needs up to twenty seconds.
pub(super) const START_DEADLINE: Duration = Duration::from_secs(90);
/// The file that carries the feature levels of a new cluster into its metadata log.
const CHECKPOINT: &str = "bootstrap.checkpoint";

/// What a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Controller,
    Broker,
    /// Both in one, used only while a release is prepared.
    Combined,
}

/// The place of one node: id, role, ports and folder stay the same over its restarts.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) id: i32,
    pub(super) role: Role,
    pub(super) port: u16,
    /// Where brokers talk among themselves, so that a relay before clients leaves replication alone.
    pub(super) internal_port: u16,
    pub(super) controller_port: u16,
    /// The host that clients are told; a relay listens there on the same port.
    pub(super) advertised_host: String,
    pub(super) further_listener: Option<FurtherListener>,
    pub(super) folder: PathBuf,
}

impl Node {
    pub(super) fn log(&self) -> PathBuf {
        self.folder.join("server.log")
    }

    fn properties_path(&self) -> PathBuf {
        self.folder.join("server.properties")
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// Writes the settings and formats the data folder, by copying the release's formatted checkpoint.
    pub(super) fn lay_out(
        &self,
        kafka: &Kafka,
        cluster_id: &str,
        settings: &[(String, String)],
    ) -> Result<()> {
        fs::create_dir_all(self.data())
            .with_context(|| format!("cannot create {}", self.folder.display()))?;
        fs::write(self.properties_path(), self.properties(settings))
            .context("cannot write server.properties")?;
        let directory_id = random_id();
        let meta = format!(
            "version=1\ncluster.id={cluster_id}\nnode.id={}\ndirectory.id={directory_id}\n",
            self.id
        );
        fs::write(self.data().join("meta.properties"), meta)
            .context("cannot write meta.properties")?;
        fs::copy(
            kafka.folder().join(CHECKPOINT),
            self.data().join(CHECKPOINT),
        )
        .context("the cache holds no bootstrap checkpoint")?;
        Ok(())
    }

    pub(super) fn start(&self, kafka: &Kafka, name: &str) -> Result<Process> {
        let mut command = kafka.java(JvmKind::Server, "kafka.Kafka");
        command.arg(self.properties_path());
        Process::start(name, command, &self.log())
    }

    fn properties(&self, settings: &[(String, String)]) -> String {
        let clients = format!("PLAINTEXT://127.0.0.1:{}", self.port);
        let mut internal = format!("INTERNAL://127.0.0.1:{}", self.internal_port);
        let mut advertised_internal = internal.clone();
        if let Some(further) = self.further_listener {
            internal.push_str(&format!(",FURTHER://127.0.0.1:{}", further.port));
            advertised_internal
                .push_str(&format!(",FURTHER://127.0.0.1:{}", further.advertised_port));
        }
        let controller = format!("CONTROLLER://127.0.0.1:{}", self.controller_port);
        let (roles, listeners) = match self.role {
            Role::Controller => ("controller", controller),
            Role::Broker => ("broker", format!("{clients},{internal}")),
            Role::Combined => (
                "broker,controller",
                format!("{clients},{internal},{controller}"),
            ),
        };
        let voter = if self.role == Role::Combined {
            self.id
        } else {
            CONTROLLER_ID
        };
        let mut text = format!(
            "process.roles={roles}\nnode.id={}\nlisteners={listeners}\nlog.dirs={}\n\
             controller.quorum.voters={voter}@127.0.0.1:{}\n{COMMON}",
            self.id,
            self.data().display(),
            self.controller_port,
        );
        if self.role != Role::Controller {
            let advertised = format!(
                "PLAINTEXT://{}:{},{advertised_internal}",
                self.advertised_host, self.port
            );
            text.push_str(&format!(
                "advertised.listeners={advertised}\ninter.broker.listener.name=INTERNAL\n"
            ));
        }
        for (key, value) in settings {
            text.push_str(&format!("{key}={value}\n"));
        }
        text
    }
}

/// Settings of every node. Retention looks every 2 s, so that deleted segments are gone in seconds; a killed
/// broker is fenced after 3 s; buffers and thread pools are small because six nodes share one machine.
const COMMON: &str = "controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,INTERNAL:PLAINTEXT,FURTHER:PLAINTEXT,PLAINTEXT:PLAINTEXT
auto.create.topics.enable=false
num.network.threads=2
num.io.threads=4
num.recovery.threads.per.data.dir=1
background.threads=2
log.cleaner.threads=1
log.cleaner.dedupe.buffer.size=4194304
log.initial.task.delay.ms=1000
log.retention.check.interval.ms=2000
log.segment.delete.delay.ms=1000
offsets.topic.num.partitions=4
transaction.state.log.num.partitions=4
transaction.state.log.min.isr=1
broker.heartbeat.interval.ms=500
broker.session.timeout.ms=3000
controlled.shutdown.enable=true
replica.lag.time.max.ms=10000
";

/// Formats the checkpoint that every new node copies, then runs a node once so that the classes it loads can
/// be archived.
pub(super) fn prepare(kafka: &Kafka) -> Result<()> {
    let scratch = crate::folders::scratch()?;
    let ports = Ports::reserve(3)?;
    let node = Node {
        id: 1,
        role: Role::Combined,
        port: ports.at(0),
        internal_port: ports.at(2),
        controller_port: ports.at(1),
        advertised_host: "127.0.0.1".to_owned(),
        further_listener: None,
        folder: scratch.path().to_owned(),
    };
    fs::create_dir_all(node.data()).context("cannot create the scratch node")?;
    let settings = [(
        "offsets.topic.replication.factor".to_owned(),
        "1".to_owned(),
    )];
    fs::write(node.properties_path(), node.properties(&settings))
        .context("cannot write server.properties")?;
    format(kafka, &node)?;
    fs::copy(
        node.data().join(CHECKPOINT),
        kafka.folder().join(CHECKPOINT),
    )
    .context("formatting left no bootstrap checkpoint")?;

    let mut command = kafka.archiving_java(JvmKind::Server, "kafka.Kafka");
    command.arg(node.properties_path());
    let server = Process::start("kafka-prepare", command, &node.log())?;
    wait_for_start(&server)?;
    archive_client_classes(kafka, &node)?;
    server.signal(Signal::Terminate);
    wait_for_end(&server);
    Ok(())
}

fn format(kafka: &Kafka, node: &Node) -> Result<()> {
    let output = kafka
        .java(JvmKind::Client, "kafka.tools.StorageTool")
        .args([
            "format",
            "--cluster-id",
            "bG9ja2dhdGUtaGFybmVzcw",
            "--config",
        ])
        .arg(node.properties_path())
        .stdin(Stdio::null())
        .output()
        .context(
            "cannot run `java`: install it with `apt-get install -y openjdk-17-jdk-headless`",
        )?;
    if !output.status.success() {
        bail!(
            "formatting a Kafka data folder failed:\n{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(())
}

/// Lets a consumer join a group once, so that the classes of a running client are in the archive.
fn archive_client_classes(kafka: &Kafka, node: &Node) -> Result<()> {
    let mut command =
        kafka.archiving_java(JvmKind::Client, "org.apache.kafka.tools.VerifiableConsumer");
    command
        .args(["--bootstrap-server", &format!("127.0.0.1:{}", node.port)])
        .args(["--topic", "warm", "--group-id", "warm", "--verbose"]);
    let client = Process::start(
        "kafka-prepare-client",
        command,
        &node.folder.join("client.log"),
    )?;
    std::thread::sleep(Duration::from_secs(5));
    client.signal(Signal::Terminate);
    wait_for_end(&client);
    Ok(())
}

fn wait_for_start(server: &Process) -> Result<()> {
    let end = Instant::now() + START_DEADLINE;
    while !crate::process::read_from(server.log(), 0).contains(STARTED) {
        if !server.is_running() || Instant::now() >= end {
            bail!("Kafka did not start; its log ends:\n{}", server.log_tail());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// An archive that is not written only costs time later, so a slow end is no error.
fn wait_for_end(process: &Process) {
    let end = Instant::now() + Duration::from_secs(40);
    while process.is_running() && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The folder of node `id` under a cluster's folder.
pub(super) fn folder(cluster: &Path, id: i32) -> PathBuf {
    cluster.join(format!("node-{id}"))
}

/// A new id in Kafka's form: 22 characters of base64 for 16 bytes; the last one carries two bits only.
pub(super) fn random_id() -> String {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let mut id: String = (0..21)
        .map(|_| char::from(ALPHABET[rand::random_range(0..ALPHABET.len())]))
        .collect();
    id.push('A');
    id
}
