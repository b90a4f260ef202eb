//! The ways to the broker: direct, HAProxy, Lockgate; one destination broker behind all of them.
//!
//! Lockgate is measured after its route has moved to the destination, so that only the data path is at work: the
//! replicator has nothing to copy.

use std::fmt::Write;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use lockgate_tests::kafka::{Cluster, ClusterSpec, FurtherListener, Pair};
use lockgate_tests::lockgate::{Config, Lockgate, Route};
use lockgate_tests::ports::Ports;
use lockgate_tests::process::Process;

use crate::report::Way;

/// How long the route's move may take; filler segments have to go first.
const MOVE_MAX: Duration = Duration::from_secs(60);
/// The topic of the bench.
pub const TOPIC: &str = "bench";
/// Small segments, so that what is deleted is gone soon.
const SETTINGS: [(&str, &str); 1] = [("segment.bytes", "67108864")];
/// Its partitions.
pub const PARTITIONS: i32 = 8;

/// Everything that runs while the bench runs.
#[derive(Debug)]
pub struct Targets {
    /// The clusters; the work goes to the destination.
    pub pair: Pair,
    lockgate: Lockgate,
    haproxy: Option<(Process, String)>,
    _ports: Ports,
    _folder: tempfile::TempDir,
}

impl Targets {
    /// Starts a broker on each side, HAProxy if it is installed, and Lockgate; moves the bench's topic.
    pub async fn start() -> Result<Self> {
        let ports = Ports::reserve(2)?;
        let (behind, before) = (ports.at(0), ports.at(1));
        let one = |spec: ClusterSpec| ClusterSpec { brokers: 1, ..spec };
        let destination = ClusterSpec {
            further_listener: Some(FurtherListener {
                port: behind,
                advertised_port: before,
            }),
            ..one(ClusterSpec::destination())
        };
        let pair = Box::pin(Pair::start_with(one(ClusterSpec::source()), destination)).await?;
        let folder = tempfile::tempdir()?;
        let haproxy = haproxy(folder.path(), before, behind)?;
        pair.source
            .admin()
            .create_topic(TOPIC, PARTITIONS, 1, &SETTINGS)
            .await?;
        let lockgate = moved_lockgate(&pair.source, &pair.destination).await?;
        Ok(Self {
            pair,
            lockgate,
            haproxy,
            _ports: ports,
            _folder: folder,
        })
    }

    /// The ways that exist here.
    #[must_use]
    pub fn ways(&self) -> Vec<Way> {
        let haproxy = self.haproxy.as_ref().map(|_| Way::Haproxy);
        [Some(Way::Direct), haproxy, Some(Way::Lockgate)]
            .into_iter()
            .flatten()
            .collect()
    }

    /// `bootstrap.servers` of a way.
    #[must_use]
    pub fn bootstrap(&self, way: Way) -> String {
        match (way, &self.haproxy) {
            (Way::Lockgate, _) => self.lockgate.bootstrap(),
            (Way::Haproxy, Some((_, address))) => address.clone(),
            _ => self.pair.destination.bootstrap(),
        }
    }

    /// The process of the intermediary.
    #[must_use]
    pub fn pid(&self, way: Way) -> Option<u32> {
        match way {
            Way::Direct => None,
            Way::Haproxy => self.haproxy.as_ref().map(|(process, _)| process.pid()),
            Way::Lockgate => self.lockgate.pid(),
        }
    }
}

async fn moved_lockgate(source: &Cluster, destination: &Cluster) -> Result<Lockgate> {
    let route = Route {
        name: "bench".to_owned(),
        topics: vec![TOPIC.to_owned()],
        ..Route::default()
    };
    let config = Config::new(&source.bootstrap(), &destination.bootstrap(), vec![route])?;
    let lockgate = Lockgate::ready(config).await?;
    let level = |links: &serde_json::Value| {
        let all = links.as_array().map(Vec::as_slice).unwrap_or_default();
        let ours = all
            .iter()
            .filter(|link| link["topic"] == TOPIC && link["state"] == "copying");
        ours.count() == PARTITIONS as usize
    };
    lockgate
        .api()
        .wait_until("/v1/links", MOVE_MAX, level)
        .await?;
    lockgate
        .api()
        .flip("bench", "all", MOVE_MAX)
        .await
        .context("the bench's route did not move")?;
    Ok(lockgate)
}

/// HAProxy in TCP mode with one thread, copying; none where it is not installed.
fn haproxy(
    folder: &std::path::Path,
    before: u16,
    behind: u16,
) -> Result<Option<(Process, String)>> {
    let installed = Command::new("haproxy")
        .arg("-v")
        .output()
        .is_ok_and(|output| output.status.success());
    if !installed {
        return Ok(None);
    }
    let mut text = String::from("global\n  nbthread 1\n  maxconn 200\ndefaults\n  mode tcp\n");
    text.push_str("  timeout connect 5s\n  timeout client 5m\n  timeout server 5m\n");
    write!(
        text,
        "frontend clients\n  bind 127.0.0.1:{before}\n  default_backend broker\nbackend broker\n  server broker 127.0.0.1:{behind}\n"
    )?;
    let path = folder.join("haproxy.cfg");
    std::fs::write(&path, text)?;
    let mut command = Command::new("haproxy");
    command.arg("-db").arg("-f").arg(&path);
    let process = Process::start("haproxy", command, &folder.join("haproxy.log"))?;
    Ok(Some((process, format!("127.0.0.1:{before}"))))
}
