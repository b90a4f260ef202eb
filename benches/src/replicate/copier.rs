//! The two copiers as processes.

use anyhow::{Context, Result};
use lockgate_tests::kafka::{MirrorMaker, Pair, Version};
use lockgate_tests::lockgate::{Config, Lockgate, Route};
use lockgate_tests::process::Process;
use serde::Serialize;

use super::{Shape, Work};

/// Who copies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Copier {
    /// MirrorMaker 2, tuned.
    MirrorMaker,
    /// Lockgate's replicator.
    Lockgate,
}

impl Copier {
    /// The word in the table.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::MirrorMaker => "MirrorMaker 2",
            Self::Lockgate => "Lockgate",
        }
    }

    /// Starts copying the topic of `work`.
    ///
    /// # Errors
    /// When the process cannot be started.
    pub fn start(self, pair: &Pair, work: &Work) -> Result<Running> {
        match self {
            Self::MirrorMaker => {
                let folder = tempfile::tempdir()?;
                let mirror = MirrorMaker::resolve(Version::V4_1)?;
                let process = mirror.start(&properties(pair, work), folder.path())?;
                Ok(Running::MirrorMaker(process, folder))
            }
            Self::Lockgate => {
                let route = Route {
                    name: "bench".to_owned(),
                    topics: vec![work.topic.to_owned()],
                    ..Route::default()
                };
                let (source, destination) = (pair.source.bootstrap(), pair.destination.bootstrap());
                let config = Config::new(&source, &destination, vec![route])?;
                Ok(Running::Lockgate(Lockgate::start(config)?))
            }
        }
    }
}

/// A copier at work; dropping it kills it.
#[derive(Debug)]
pub enum Running {
    /// The process, and the folder with its log.
    MirrorMaker(Process, tempfile::TempDir),
    /// The process.
    Lockgate(Lockgate),
}

impl Running {
    /// The process that is measured.
    ///
    /// # Errors
    /// When it has ended.
    pub fn pid(&self) -> Result<u32> {
        match self {
            Self::MirrorMaker(process, _) => process.is_running().then(|| process.pid()),
            Self::Lockgate(lockgate) => lockgate.is_running().then(|| lockgate.pid()).flatten(),
        }
        .with_context(|| format!("the copier has ended; its log ends:\n{}", self.log_tail()))
    }

    /// The end of its log.
    #[must_use]
    pub fn log_tail(&self) -> String {
        match self {
            Self::MirrorMaker(process, _) => process.log_tail(),
            Self::Lockgate(lockgate) => {
                let log = lockgate.log_text();
                let from = log.floor_char_boundary(log.len().saturating_sub(3_000));
                log[from..].to_owned()
            }
        }
    }
}

/// MirrorMaker's settings, tuned for throughput as its users do: large batches that wait for each other, large polls,
/// large fetches, four tasks. What copies no records (heartbeats, checkpoints, ACLs) is off.
fn properties(pair: &Pair, work: &Work) -> String {
    let codec = match work.shape {
        Shape::Batches { codec, .. } => codec,
        Shape::Singles => "none",
    };
    format!(
        "clusters = source, destination
source.bootstrap.servers = {}
destination.bootstrap.servers = {}
source->destination.enabled = true
destination->source.enabled = false
source->destination.topics = {}
replication.policy.class = org.apache.kafka.connect.mirror.IdentityReplicationPolicy
tasks.max = 4
replication.factor = 1
offset-syncs.topic.replication.factor = 1
checkpoints.topic.replication.factor = 1
heartbeats.topic.replication.factor = 1
config.storage.replication.factor = 1
offset.storage.replication.factor = 1
status.storage.replication.factor = 1
emit.heartbeats.enabled = false
emit.checkpoints.enabled = false
sync.topic.acls.enabled = false
source.consumer.max.poll.records = 5000
source.consumer.max.partition.fetch.bytes = 4194304
destination.producer.batch.size = 524288
destination.producer.linger.ms = 20
destination.producer.compression.type = {codec}
",
        pair.source.bootstrap(),
        pair.destination.bootstrap(),
        work.topic,
    )
}
