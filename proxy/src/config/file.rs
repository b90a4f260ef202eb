//! The file as written: TOML, every unknown key an error that names it. `LOCKGATE_SOURCE__BOOTSTRAP='["h:9092"]'` and
//! the like override single values, for containers.

use std::path::Path;

use figment::Figment;
use figment::providers::{Env, Format, Toml};
use serde::Deserialize;

use super::{Config, resolve};
use crate::error::{Error, Result};
use crate::replicator::Limits;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ConfigFile {
    pub(super) source: ClusterFile,
    pub(super) destination: ClusterFile,
    #[serde(default)]
    pub(super) listen: ListenFile,
    #[serde(default)]
    pub(super) admin: AdminFile,
    #[serde(default)]
    pub(super) route: Vec<RouteFile>,
    #[serde(default)]
    pub(super) topics: TopicsFile,
    #[serde(default)]
    pub(super) parity: ParityFile,
    #[serde(default)]
    pub(super) replication: Limits,
    #[serde(default)]
    pub(super) timing: TimingFile,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ClusterFile {
    pub(super) bootstrap: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ListenFile {
    pub(super) bind: std::net::IpAddr,
    pub(super) advertised_host: Option<String>,
    pub(super) bootstrap_port: u16,
    pub(super) node_ports: String,
}

impl Default for ListenFile {
    fn default() -> Self {
        Self {
            bind: std::net::Ipv4Addr::LOCALHOST.into(),
            advertised_host: None,
            bootstrap_port: 9092,
            node_ports: "9100-9199".to_owned(),
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct AdminFile {
    pub(super) listen: std::net::SocketAddr,
}

impl Default for AdminFile {
    fn default() -> Self {
        Self {
            listen: (std::net::Ipv4Addr::LOCALHOST, 8080).into(),
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RouteFile {
    pub(super) name: String,
    #[serde(default)]
    pub(super) topics: Vec<String>,
    #[serde(default)]
    pub(super) groups: Vec<String>,
    #[serde(default)]
    pub(super) transactional_ids: Vec<String>,
    pub(super) placement: Option<PolicyFile>,
    pub(super) cutover: Option<PolicyFile>,
    pub(super) translation: Option<PolicyFile>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PolicyFile {
    pub(super) policy: std::path::PathBuf,
    #[serde(default)]
    pub(super) config: serde_json::Value,
    #[serde(default = "default_policy_deadline_ms")]
    pub(super) deadline_ms: u64,
    #[serde(default = "default_policy_memory_mib")]
    pub(super) memory_mib: usize,
}

fn default_policy_deadline_ms() -> u64 {
    100
}

fn default_policy_memory_mib() -> usize {
    64
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct TopicsFile {
    pub(super) replication_factor: Option<i16>,
    pub(super) min_insync_replicas: Option<i16>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ParityFile {
    pub(super) max_filler_records: u64,
    pub(super) max_markers: u64,
}

impl Default for ParityFile {
    fn default() -> Self {
        Self {
            max_filler_records: 100_000_000,
            max_markers: 10_000_000,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct TimingFile {
    pub(super) settle_ms: u64,
    pub(super) drain_ms: u64,
    pub(super) flip_ms: u64,
    pub(super) group_move_ms: u64,
    pub(super) quiet_ms: u64,
    pub(super) retry_window_ms: u64,
}

impl Default for TimingFile {
    fn default() -> Self {
        Self {
            settle_ms: 2_000,
            drain_ms: 3_000,
            flip_ms: 5_000,
            group_move_ms: 10_000,
            quiet_ms: 30_000,
            retry_window_ms: 15 * 60 * 1_000,
        }
    }
}

/// Reads and checks a configuration file.
pub fn load(path: &Path) -> Result<Config> {
    if !path.is_file() {
        return Err(Error::refused(format!(
            "the configuration file {} does not exist",
            path.display()
        )));
    }
    let file: ConfigFile = Figment::from(Toml::file_exact(path))
        // Every setting stands in a table, so its variable has a `__`; others with the prefix are not settings.
        .merge(
            Env::prefixed("LOCKGATE_")
                .filter(|name| name.as_str().contains("__"))
                .split("__"),
        )
        .extract()
        .map_err(|cause| {
            Error::refused(format!("{}", path.display())).because(cause.to_string())
        })?;
    let folder = path.parent().unwrap_or(Path::new("."));
    resolve::resolve(file, folder)
        .map_err(|why| Error::refused(format!("{}: {why}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: &str =
        "[source]\nbootstrap=['127.0.0.1:1']\n[destination]\nbootstrap=['127.0.0.1:2']\n";

    fn load_text(text: &str) -> Result<Config> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lockgate.toml");
        std::fs::write(&path, text).unwrap();
        load(&path)
    }

    #[test]
    fn a_small_file_gets_defaults_and_the_default_route() {
        let config = load_text(SMALL).unwrap();
        assert_eq!(config.listen.bootstrap_port, 9092);
        assert_eq!(config.listen.node_ports, 9100..=9199);
        assert_eq!(config.routes.len(), 1);
        assert_eq!(config.routes[0].name, "default");
    }

    #[test]
    fn bad_files_are_refused_with_the_culprit() {
        for (extra, culprit) in [
            ("[listen]\nbnd='127.0.0.1'", "bnd"),
            ("[listen]\nnode_ports='9'", "node_ports"),
            ("[[route]]\nname='a'\n[[route]]\nname='a'", "\"a\""),
            (
                "[[route]]\nname='a'\ntopics=['x']\n[[route]]\nname='b'\ntopics=['x']",
                "\"x\"",
            ),
            (
                "[[route]]\nname='a'\ngroups=['g*']\n[[route]]\nname='b'\ngroups=['g1']",
                "\"g1\"",
            ),
            ("[[route]]\nname='a'\ntopics=['[']", "\"[\""),
            ("[timing]\nflip_ms=60000", "flip_ms"),
            ("[replication]\nbytes_per_s_max=0", "bytes_per_s_max"),
        ] {
            let error = load_text(&format!("{SMALL}{extra}"))
                .unwrap_err()
                .to_string();
            assert!(error.contains(culprit), "{culprit} not in: {error}");
        }
    }
}
