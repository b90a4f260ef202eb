//! The configuration: a file as written ([`file`], unknown keys refused), then resolved ([`Config`]), which is all
//! that the rest of the proxy sees.

mod file;
mod resolve;

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use crate::replicator::Limits;
use crate::upstream::BrokerAddress;
use crate::words::Side;

pub use file::load;

/// Everything the operator decided, checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// The cluster that is left.
    pub source: ClusterConfig,
    /// The cluster that is entered.
    pub destination: ClusterConfig,
    /// What clients see.
    pub listen: ListenConfig,
    /// Where the admin API listens.
    pub admin: SocketAddr,
    /// The routes in the order of the file, `default` last whether named or not.
    pub routes: Vec<RouteConfig>,
    /// How topics are made at the destination.
    pub topics: TopicConfig,
    /// How fast is copied, until an admin call says otherwise.
    pub replication: Limits,
    /// Bounds on waits.
    pub timing: Timing,
}

impl Config {
    /// The settings of one side.
    #[must_use]
    pub fn cluster(&self, side: Side) -> &ClusterConfig {
        match side {
            Side::Source => &self.source,
            Side::Destination => &self.destination,
        }
    }
}

/// How to reach one cluster.
#[derive(Debug, Clone)]
pub struct ClusterConfig {
    /// Where to ask first.
    pub bootstrap: Vec<BrokerAddress>,
}

/// What clients connect to.
#[derive(Debug, Clone)]
pub struct ListenConfig {
    /// The address that listeners bind to.
    pub bind: IpAddr,
    /// The host name that Metadata tells clients.
    pub advertised_host: String,
    /// The port of `bootstrap.servers`.
    pub bootstrap_port: u16,
    /// One port per virtual node, remembered for ever.
    pub node_ports: RangeInclusive<u16>,
}

/// One route as configured.
#[derive(Debug, Clone)]
pub struct RouteConfig {
    /// Unique; `default` owns what no other route names.
    pub name: String,
    /// Exact names or globs of topics.
    pub topics: Vec<String>,
    /// Exact names or globs of consumer groups.
    pub groups: Vec<String>,
    /// Exact names or globs of transactional ids.
    pub transactional_ids: Vec<String>,
    /// Who is served where; built-in `stay` where none.
    pub placement: Option<PolicyConfig>,
    /// When the route moves; built-in `manual` where none.
    pub cutover: Option<PolicyConfig>,
    /// How committed offsets cross; built-in `exact` where none.
    pub translation: Option<PolicyConfig>,
}

/// A WASM policy and its settings.
#[derive(Debug, Clone)]
pub struct PolicyConfig {
    /// The component's file, relative to the configuration file's folder unless absolute.
    pub path: PathBuf,
    /// Handed to the policy as JSON.
    pub config: serde_json::Value,
    /// How long one call may take.
    pub deadline: Duration,
    /// Linear memory that an instance may use, in bytes.
    pub memory_bytes_max: usize,
}

/// How topics are made at the destination.
#[derive(Debug, Clone)]
pub struct TopicConfig {
    /// None keeps the source's factor.
    pub replication_factor: Option<i16>,
    /// None keeps the source's value.
    pub min_insync_replicas: Option<i16>,
    /// Over this many filler records per partition, alignment is refused.
    pub max_filler_records: u64,
    /// Over this many offsets without a record in one place, a partition stops.
    pub max_markers: u64,
}

/// Every wait that an operator may have reason to change.
#[derive(Debug, Clone)]
pub struct Timing {
    /// How long an end must stand still before "not in the log" is believed (trap 25).
    pub settle: Duration,
    /// How long Produce in flight may take to be answered during a fence.
    pub drain: Duration,
    /// How long a fence may last in all before it is lifted.
    pub flip: Duration,
    /// How long a group's members may take to park.
    pub group_move: Duration,
    /// How long a client must not have written through a source node before the source leaves Metadata.
    pub quiet: Duration,
    /// How long the replicator has kept retried batches apart; see DESIGN section 4.
    pub retry_window: Duration,
}

/// Nothing is parked longer than this; it stays far below the smallest client timeout.
pub const PARK_MAX: Duration = Duration::from_secs(10);
