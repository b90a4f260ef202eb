//! Virtual nodes: every broker that was ever seen has a port for ever; addresses follow the brokers.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::error::{Error, Result};
use crate::route::{Node, Nodes, Routes};
use crate::state::{CopyOrder, Key, Kind, Store};
use crate::upstream::{BrokerAddress, Clusters};
use crate::words::{Side, UpstreamNode};

/// How long after a failed write of the state the next one is tried.
const AGAIN: Duration = Duration::from_secs(5);

/// A virtual node as it is remembered (`Kind::Node`, by virtual id).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct NodeRecord {
    side: Side,
    broker: UpstreamNode,
    address: BrokerAddress,
    port: u16,
}

type Brokers = [BTreeMap<UpstreamNode, BrokerAddress>; 2];

/// The nodes that are remembered, and those of brokers seen now for the first time.
pub(super) async fn at_start(config: &Config, store: &Store, clusters: &Clusters) -> Result<Nodes> {
    let mut nodes = Nodes::default();
    let remembered: Vec<(String, NodeRecord)> = store.list(Kind::Node)?;
    for (name, record) in remembered {
        let id = record.broker.to_virtual(record.side).ok_or_else(|| {
            Error::internal(format!("the state of virtual node {name} cannot be used"))
        })?;
        let node = Node {
            id,
            side: record.side,
            upstream: record.broker,
            address: record.address,
            port: record.port,
        };
        nodes.0.insert(id, node);
    }
    let changed = changes(
        &nodes,
        &brokers(clusters),
        &config.listen.node_ports,
        &taken(config),
    )
    .map_err(Error::refused)?;
    match remember(store, &changed).await {
        Ok(()) => nodes
            .0
            .extend(changed.into_iter().map(|node| (node.id, node))),
        // Without their ports written down, new nodes would get others at the next start.
        Err(error) => {
            tracing::warn!(%error, "new virtual nodes wait until they can be written down")
        }
    }
    Ok(nodes)
}

/// Follows the clusters' views for as long as the process lives.
pub(super) async fn follow(
    config: Arc<Config>,
    store: Arc<Store>,
    clusters: Clusters,
    routes: Arc<Routes>,
) {
    let mut source = clusters.source.subscribe();
    let mut destination = clusters.destination.subscribe();
    let mut failed = true;
    loop {
        tokio::select! {
            changed = source.changed() => if changed.is_err() { return },
            changed = destination.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(AGAIN), if failed => {}
        }
        let known = routes.load().nodes.clone();
        let (ports, taken) = (&config.listen.node_ports, taken(&config));
        let outcome = match changes(&known, &brokers(&clusters), ports, &taken) {
            Ok(changed) if changed.is_empty() => {
                failed = false;
                continue;
            }
            Ok(changed) => remember(&store, &changed).await.map(|()| changed),
            Err(why) => Err(Error::refused(why)),
        };
        failed = outcome.is_err();
        match outcome {
            Ok(changed) => {
                for node in &changed {
                    tracing::info!(node = %node.id, side = %node.side, address = %node.address, port = node.port, "virtual node");
                }
                routes.update(|snapshot| {
                    let nodes = Arc::make_mut(&mut snapshot.nodes);
                    nodes
                        .0
                        .extend(changed.into_iter().map(|node| (node.id, node)));
                });
            }
            Err(error) => tracing::warn!(%error, "virtual nodes do not follow the brokers"),
        }
    }
}

fn brokers(clusters: &Clusters) -> Brokers {
    Side::BOTH.map(|side| clusters.on(side).view().brokers.clone())
}

/// Ports of the range that are in use for something else.
fn taken(config: &Config) -> Vec<u16> {
    vec![config.listen.bootstrap_port, config.admin.port()]
}

/// New nodes, and known ones whose broker has moved. Pure.
fn changes(
    known: &Nodes,
    brokers: &Brokers,
    ports: &RangeInclusive<u16>,
    taken: &[u16],
) -> Result<Vec<Node>, String> {
    let mut used: Vec<u16> = known.0.values().map(|node| node.port).collect();
    used.extend(taken);
    let mut changed = Vec::new();
    for side in Side::BOTH {
        for (&upstream, address) in &brokers[side.index()] {
            let Some(id) = upstream.to_virtual(side) else {
                return Err(format!(
                    "broker {upstream} of the {side} has an id that no virtual node can have"
                ));
            };
            let port = match known.0.get(&id) {
                Some(node) if node.address == *address => continue,
                Some(node) => node.port,
                None => ports
                    .clone()
                    .find(|port| !used.contains(port))
                    .ok_or_else(|| {
                        format!(
                            "[listen] node_ports has no port left for broker {upstream} of the {side}; widen the range"
                        )
                    })?,
            };
            used.push(port);
            changed.push(Node {
                id,
                side,
                upstream,
                address: address.clone(),
                port,
            });
        }
    }
    Ok(changed)
}

async fn remember(store: &Store, nodes: &[Node]) -> Result<()> {
    let entries: Vec<_> = nodes
        .iter()
        .map(|node| {
            let record = NodeRecord {
                side: node.side,
                broker: node.upstream,
                address: node.address.clone(),
                port: node.port,
            };
            (Key::new(Kind::Node, node.id.to_string()), Some(record))
        })
        .collect();
    store.put(&entries, CopyOrder::Both).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broker(id: i32, port: u16) -> (UpstreamNode, BrokerAddress) {
        let address = BrokerAddress {
            host: "h".to_owned(),
            port,
        };
        (UpstreamNode(id), address)
    }

    #[test]
    fn ports_are_given_in_order_kept_for_ever_and_never_twice() {
        let mut brokers = [
            BTreeMap::from([broker(1, 1), broker(2, 2)]),
            BTreeMap::from([broker(1, 3)]),
        ];
        let mut nodes = Nodes::default();
        let first = changes(&nodes, &brokers, &(9100..=9103), &[9101]).unwrap();
        let ports: Vec<u16> = first.iter().map(|node| node.port).collect();
        assert_eq!(ports, [9100, 9102, 9103]);
        nodes
            .0
            .extend(first.into_iter().map(|node| (node.id, node)));
        assert!(
            changes(&nodes, &brokers, &(9100..=9103), &[9101])
                .unwrap()
                .is_empty()
        );

        // One broker moves, another goes away and keeps its port.
        brokers[0] = BTreeMap::from([broker(1, 9)]);
        let moved = changes(&nodes, &brokers, &(9100..=9103), &[9101]).unwrap();
        assert_eq!(moved.len(), 1);
        assert_eq!((moved[0].port, moved[0].address.port), (9100, 9));

        brokers[1].extend([broker(7, 7)]);
        let full = changes(&nodes, &brokers, &(9100..=9103), &[9101]).unwrap_err();
        assert!(
            full.contains("node_ports") && full.contains("broker 7"),
            "{full}"
        );
    }
}
