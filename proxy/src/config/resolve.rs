//! From the file to what the proxy uses: ranges parsed, paths made absolute, routes checked against each other.

use std::path::Path;
use std::time::Duration;

use super::file::{ClusterFile, ConfigFile, PolicyFile, RouteFile, TimingFile};
use super::{
    ClusterConfig, Config, ListenConfig, PARK_MAX, PolicyConfig, RouteConfig, Timing, TopicConfig,
};
use crate::route::RouteTable;

pub(super) fn resolve(file: ConfigFile, folder: &Path) -> Result<Config, String> {
    let advertised = file
        .listen
        .advertised_host
        .unwrap_or_else(|| file.listen.bind.to_string());
    let mut routes = Vec::with_capacity(file.route.len() + 1);
    for route in file.route {
        routes.push(route_config(route, folder)?);
    }
    if !routes.iter().any(|route| route.name == RouteTable::DEFAULT) {
        routes.push(default_route());
    }
    // Stable: `default` goes last, since it owns what the others leave.
    routes.sort_by_key(|route| route.name == RouteTable::DEFAULT);
    RouteTable::new(&routes)?;
    file.replication
        .check()
        .map_err(|why| format!("[replication] {why}"))?;
    Ok(Config {
        source: cluster_config("source", &file.source)?,
        destination: cluster_config("destination", &file.destination)?,
        listen: ListenConfig {
            bind: file.listen.bind,
            advertised_host: advertised,
            bootstrap_port: file.listen.bootstrap_port,
            node_ports: port_range(&file.listen.node_ports)?,
        },
        admin: file.admin.listen,
        routes,
        topics: TopicConfig {
            replication_factor: file.topics.replication_factor,
            min_insync_replicas: file.topics.min_insync_replicas,
            max_filler_records: file.parity.max_filler_records,
            max_markers: file.parity.max_markers,
        },
        replication: file.replication,
        timing: timing(&file.timing)?,
    })
}

fn cluster_config(name: &str, file: &ClusterFile) -> Result<ClusterConfig, String> {
    if file.bootstrap.is_empty() {
        return Err(format!("[{name}] bootstrap names no broker"));
    }
    let bootstrap = file
        .bootstrap
        .iter()
        .map(|text| {
            text.parse()
                .map_err(|why| format!("[{name}] bootstrap: {why}"))
        })
        .collect::<Result<_, _>>()?;
    Ok(ClusterConfig { bootstrap })
}

fn port_range(text: &str) -> Result<std::ops::RangeInclusive<u16>, String> {
    let wrong = || format!("[listen] node_ports: {text:?} is not a range such as \"9100-9199\"");
    let (first, last) = text.split_once('-').ok_or_else(wrong)?;
    let range =
        first.trim().parse().map_err(|_| wrong())?..=last.trim().parse().map_err(|_| wrong())?;
    if range.is_empty() {
        Err(wrong())
    } else {
        Ok(range)
    }
}

fn default_route() -> RouteConfig {
    RouteConfig {
        name: RouteTable::DEFAULT.to_owned(),
        topics: Vec::new(),
        groups: Vec::new(),
        transactional_ids: Vec::new(),
        placement: None,
        cutover: None,
        translation: None,
    }
}

fn route_config(file: RouteFile, folder: &Path) -> Result<RouteConfig, String> {
    let route = RouteConfig {
        name: file.name,
        topics: file.topics,
        groups: file.groups,
        transactional_ids: file.transactional_ids,
        placement: file.placement.map(|policy| policy_config(policy, folder)),
        cutover: file.cutover.map(|policy| policy_config(policy, folder)),
        translation: file.translation.map(|policy| policy_config(policy, folder)),
    };
    let lists_nothing =
        route.topics.is_empty() && route.groups.is_empty() && route.transactional_ids.is_empty();
    if route.name == RouteTable::DEFAULT && !lists_nothing {
        return Err(
            "route \"default\" owns what no other route names; it cannot list names itself"
                .to_owned(),
        );
    }
    Ok(route)
}

fn policy_config(file: PolicyFile, folder: &Path) -> PolicyConfig {
    let config = if file.config.is_null() {
        serde_json::Value::Object(serde_json::Map::new())
    } else {
        file.config
    };
    PolicyConfig {
        path: folder.join(file.policy),
        config,
        deadline: Duration::from_millis(file.deadline_ms),
        memory_bytes_max: file.memory_mib << 20,
    }
}

fn timing(file: &TimingFile) -> Result<Timing, String> {
    if Duration::from_millis(file.flip_ms) > PARK_MAX {
        return Err(format!(
            "[timing] flip_ms: {} is over {PARK_MAX:?}, the longest that a client's request may be parked",
            file.flip_ms
        ));
    }
    Ok(Timing {
        settle: Duration::from_millis(file.settle_ms),
        drain: Duration::from_millis(file.drain_ms),
        flip: Duration::from_millis(file.flip_ms),
        group_move: Duration::from_millis(file.group_move_ms),
        quiet: Duration::from_millis(file.quiet_ms),
        retry_window: Duration::from_millis(file.retry_window_ms),
    })
}
