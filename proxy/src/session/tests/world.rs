//! Two clusters of one broker each, and the data path between them and its clients.

use std::collections::{BTreeMap, HashMap};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};

use super::broker::Broker;
use super::client::Client;
use super::lookup;
use crate::config::{ClusterConfig, Config, ListenConfig, RouteConfig, Timing, TopicConfig};
use crate::replicator::Limits;
use crate::route::{Drain, Node, Nodes, Phase, RouteId, RouteState, RouteTable, Routes, Snapshot};
use crate::session::run::Handler;
use crate::session::{ClientKey, Clients, DataPath};
use crate::upstream::{BrokerAddress, Cluster, Clusters};
use crate::words::{Generation, Side, UpstreamNode};

pub(super) struct World {
    pub(super) source: Broker,
    pub(super) destination: Broker,
    pub(super) path: Arc<DataPath>,
    pub(super) routes: Arc<Routes>,
    pub(super) clients: Arc<Clients>,
}

/// How long requests are parked here.
pub(super) const PARKED_MAX: Duration = Duration::from_millis(1_000);

/// The route of topic `t`; `default` has `u`.
pub(super) const ROUTE: RouteId = RouteId(0);

fn address(broker: &Broker) -> BrokerAddress {
    BrokerAddress {
        host: "127.0.0.1".into(),
        port: broker.port,
    }
}

fn route(name: &str, topics: &[&str]) -> RouteConfig {
    RouteConfig {
        name: name.into(),
        topics: topics.iter().map(|topic| (*topic).to_owned()).collect(),
        groups: Vec::new(),
        transactional_ids: Vec::new(),
        placement: None,
        cutover: None,
        translation: None,
    }
}

fn config(source: &Broker, destination: &Broker) -> Config {
    let cluster = |broker| ClusterConfig {
        bootstrap: vec![address(broker)],
    };
    let second = Duration::from_secs(1);
    Config {
        source: cluster(source),
        destination: cluster(destination),
        listen: ListenConfig {
            bind: Ipv4Addr::LOCALHOST.into(),
            advertised_host: "127.0.0.1".into(),
            bootstrap_port: 0,
            node_ports: 1..=2,
        },
        admin: (Ipv4Addr::LOCALHOST, 0).into(),
        routes: vec![route("r", &["t"]), route("default", &[])],
        topics: TopicConfig {
            replication_factor: None,
            min_insync_replicas: None,
            max_filler_records: 0,
            max_markers: 0,
        },
        replication: Limits::default(),
        timing: Timing {
            settle: second,
            drain: second,
            flip: second,
            group_move: second,
            quiet: second,
            retry_window: second,
        },
    }
}

impl World {
    pub(super) async fn start() -> Self {
        let (source, destination) = (Broker::start().await, Broker::start().await);
        let config = config(&source, &destination);
        let clusters = Clusters {
            source: Cluster::new(Side::Source, vec![address(&source)]),
            destination: Cluster::new(Side::Destination, vec![address(&destination)]),
        };
        clusters.source.refresh().await.unwrap();
        clusters.destination.refresh().await.unwrap();
        let node = |side, broker| {
            let upstream = UpstreamNode(1);
            let id = upstream.to_virtual(side).unwrap();
            let address = address(broker);
            (
                id,
                Node {
                    id,
                    side,
                    upstream,
                    address,
                    port: 0,
                },
            )
        };
        let nodes = [(Side::Source, &source), (Side::Destination, &destination)]
            .map(|(side, broker)| node(side, broker));
        let state = RouteState {
            home: Side::Source,
            phase: Phase::Open,
            generation: Generation(1),
            committed: false,
        };
        let routes = Routes::new(Snapshot {
            table: Arc::new(RouteTable::new(&config.routes).unwrap()),
            routes: vec![state.clone(), state],
            groups: Arc::new(HashMap::new()),
            nodes: Arc::new(Nodes(BTreeMap::from(nodes))),
            topic_ids: Arc::default(),
            cluster_id: "source".into(),
            produce_permits: Default::default(),
            commit_permits: Default::default(),
        });
        let clients = Arc::new(Clients::default());
        let path = DataPath::with(
            Arc::new(config),
            clusters,
            routes.clone(),
            clients.clone(),
            Handler::Test,
            lookup,
            PARKED_MAX,
        );
        Self {
            source,
            destination,
            path,
            routes,
            clients,
        }
    }

    /// A client of the one node of a side.
    pub(super) async fn connect(&self, side: Side) -> Client {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (client, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
        let (socket, peer) = accepted.unwrap();
        let node = UpstreamNode(1).to_virtual(side);
        tokio::spawn(self.path.clone().serve(socket, peer, side, node));
        Client {
            socket: client.unwrap(),
        }
    }

    pub(super) fn fence(&self) -> Drain {
        self.routes.fence(|next| {
            let route = &mut next.routes[ROUTE.0];
            route.phase = Phase::Fenced;
            route.generation = route.generation.next();
        })
    }

    /// Ends the fence with this home.
    pub(super) fn open(&self, home: Side) {
        self.routes.update(|next| {
            let route = &mut next.routes[ROUTE.0];
            route.phase = Phase::Open;
            route.home = home;
            route.generation = route.generation.next();
        });
    }

    pub(super) fn client(&self) -> ClientKey {
        ClientKey {
            host: Ipv4Addr::LOCALHOST.into(),
            client_id: "app".into(),
        }
    }
}

/// The values (the correlation ids) of the records of all Produces that a broker saw.
pub(super) fn values(broker: &Broker) -> Vec<i32> {
    let mut request = lockgate_wire::produce::Request::default();
    let mut values = Vec::new();
    for seen in broker.seen(0) {
        request.walk(seen.version, &seen.body).unwrap();
        let records = request.partitions[0].records(&seen.body);
        // The last record's value stands before its empty list of headers.
        let at = records.len() - 5;
        values.push(i32::from_be_bytes(records[at..at + 4].try_into().unwrap()));
    }
    values
}
