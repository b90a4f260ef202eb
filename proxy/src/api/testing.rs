//! Two clusters of fake brokers on loopback and everything an [`Exchange`] borrows, for the tests of this room.
//!
//! A fake broker answers ApiVersions, Metadata and FindCoordinator by itself from its cluster's model; everything
//! else, and what a test wants otherwise, is scripted per API.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex};

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::{
    ApiKey, ApiVersionsResponse, BrokerId, FindCoordinatorRequest, FindCoordinatorResponse,
    MetadataRequest, MetadataResponse, TopicName,
};
use kafka_protocol::protocol::{Decodable, Encodable, Request, StrBytes};
use lockgate_wire::header::{self, RequestHeader};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use uuid::Uuid;

use super::exchange::Exchange;
use super::handle::{Outcome, handle};
use crate::config::Config;
use crate::flip::GroupDesk;
use crate::route::{
    GroupPlace, Node, Nodes, Permits, Phase, RouteState, RouteTable, Routes, Snapshot,
};
use crate::session::{ClientKey, Clients, Forwards, OwnBroker, OwnCall};
use crate::upstream::{ApiRanges, BrokerAddress, Cluster, Clusters, Connection, RawRequest};
use crate::words::{Generation, Side, UpstreamNode};

pub(super) const TOPIC_ID: Uuid = Uuid::from_u128(7);
/// Each side's own id of every topic.
pub(super) const OWN_IDS: [Uuid; 2] = [Uuid::from_u128(100), Uuid::from_u128(200)];
const NODES: [i32; 2] = [1, 2];

/// One cluster's contents: topic to number of partitions; leaders alternate. Every epoch is 5.
type Topics = BTreeMap<&'static str, i32>;
type Answer = Arc<dyn Fn(i16, Bytes) -> Bytes + Send + Sync>;

/// What the brokers of one cluster share.
#[derive(Default)]
struct Model {
    topics: Mutex<Topics>,
    addresses: Mutex<Vec<BrokerAddress>>,
    /// By node and API key.
    scripts: Mutex<HashMap<(i32, i16), Answer>>,
    seen: Mutex<Vec<(i32, i16, i16)>>,
    created: Mutex<Vec<String>>,
}

/// Everything an exchange borrows.
pub(super) struct Bench {
    pub(super) config: Config,
    pub(super) clusters: Clusters,
    pub(super) routes: Arc<Routes>,
    clients: Clients,
    client: ClientKey,
    forwards: Forwards,
    pub(super) queued: watch::Sender<bool>,
    own: [OwnBroker; 2],
    models: [Arc<Model>; 2],
}

pub(super) fn ranges(list: &[(i16, i16, i16)]) -> ApiRanges {
    let keys = list.iter().map(|(key, min, max)| {
        ApiVersion::default()
            .with_api_key(*key)
            .with_min_version(*min)
            .with_max_version(*max)
    });
    ApiRanges::from_response(&ApiVersionsResponse::default().with_api_keys(keys.collect()))
}

pub(super) fn name(text: &str) -> TopicName {
    TopicName(StrBytes::from_string(text.to_owned()))
}

/// Sends every route's producers across.
pub(super) fn flip_all(snapshot: &mut Snapshot) {
    for route in &mut snapshot.routes {
        route.home = Side::Destination;
    }
}

/// And closes the way back.
pub(super) fn commit_all(snapshot: &mut Snapshot) {
    flip_all(snapshot);
    for route in &mut snapshot.routes {
        route.committed = true;
    }
}

/// Sends one group across.
pub(super) fn move_group(snapshot: &mut Snapshot, group: &str, desk: Option<Arc<GroupDesk>>) {
    let home = Side::Destination;
    let mut groups = (*snapshot.groups).clone();
    groups.insert(Arc::from(group), GroupPlace { home, desk });
    snapshot.groups = Arc::new(groups);
}

impl Bench {
    /// Routes `orders` (topics `orders*`, group `billing`) and `default`, all at the source. Topics on both sides:
    /// `orders`, `payments` and the state topic; node 1 is the controller and every coordinator.
    pub(super) async fn start() -> Self {
        let topics = Topics::from([("orders", 3), ("payments", 1), ("__lockgate_state", 1)]);
        let mut models = Vec::new();
        let mut clusters = Vec::new();
        for side in Side::BOTH {
            let model = Arc::new(Model::default());
            *model.topics.lock().unwrap() = topics.clone();
            for node in NODES {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                let port = listener.local_addr().unwrap().port();
                let host = "127.0.0.1".to_owned();
                model
                    .addresses
                    .lock()
                    .unwrap()
                    .push(BrokerAddress { host, port });
                tokio::spawn(accept(side, node, listener, model.clone()));
            }
            let bootstrap = model.addresses.lock().unwrap().clone();
            let cluster = Cluster::new(side, bootstrap);
            cluster.refresh().await.unwrap();
            clusters.push(cluster);
            models.push(model);
        }
        let clusters = Clusters {
            source: clusters[0].clone(),
            destination: clusters[1].clone(),
        };
        let config = config();
        let routes = Routes::new(snapshot(&config, &clusters));
        Self {
            own: [
                own(&clusters, Side::Source).await,
                own(&clusters, Side::Destination).await,
            ],
            forwards: Forwards::new(clusters.clone()),
            config,
            clusters,
            routes,
            clients: Clients::default(),
            client: ClientKey {
                host: IpAddr::V4(Ipv4Addr::LOCALHOST),
                client_id: Arc::from("app"),
            },
            queued: watch::Sender::new(false),
            models: [models[0].clone(), models[1].clone()],
        }
    }

    /// A request on node 1 of a side, under the current snapshot.
    pub(super) fn exchange(&self, side: Side) -> Exchange<'_> {
        Exchange {
            config: &self.config,
            clusters: &self.clusters,
            routes: &self.routes,
            snapshot: self.routes.load_full(),
            clients: &self.clients,
            client: &self.client,
            connection: 1,
            side,
            own: Some(self.own[side.index()].clone()),
            queued: self.queued.subscribe(),
            forwards: &self.forwards,
        }
    }

    /// The whole way: encode, guard, decode, handle, encode, decode.
    pub(super) async fn call<R: Request>(
        &self,
        side: Side,
        version: i16,
        request: R,
    ) -> R::Response {
        self.call_on(&self.exchange(side), version, request).await
    }

    pub(super) async fn call_on<R: Request>(
        &self,
        exchange: &Exchange<'_>,
        version: i16,
        request: R,
    ) -> R::Response {
        let body = encoded(&request, version);
        match handle(exchange, R::KEY, version, Some("app"), body).await {
            Outcome::Answer(mut body) => {
                lockgate_wire::guard::check_response(R::KEY, version, &body).unwrap();
                R::Response::decode(&mut body, version).unwrap()
            }
            Outcome::Close(reason) => panic!("closed: {reason}"),
        }
    }

    /// Scripts one API of one broker.
    pub(super) fn on<R: Request + 'static>(
        &self,
        side: Side,
        node: i32,
        answer: impl Fn(R) -> R::Response + Send + Sync + 'static,
    ) {
        let answer: Answer = Arc::new(move |version, mut body| {
            let request = R::decode(&mut body, version).unwrap();
            encoded(&answer(request), version)
        });
        let mut scripts = self.models[side.index()].scripts.lock().unwrap();
        scripts.insert((node, R::KEY), answer);
    }

    /// Adds or removes topics, and lets the cluster's view see it.
    pub(super) async fn topics(&self, side: Side, change: impl FnOnce(&mut Topics)) {
        change(&mut self.models[side.index()].topics.lock().unwrap());
        self.clusters.on(side).refresh().await.unwrap();
    }

    /// Topics that brokers of a side were asked to create by Metadata.
    pub(super) fn created(&self, side: Side) -> Vec<String> {
        self.models[side.index()].created.lock().unwrap().clone()
    }

    /// How often a broker got requests of an API.
    pub(super) fn seen(&self, side: Side, node: i32, key: ApiKey) -> usize {
        let seen = self.models[side.index()].seen.lock().unwrap();
        let of = |entry: &&(i32, i16, i16)| entry.0 == node && entry.1 == key as i16;
        seen.iter().filter(of).count()
    }
}

pub(super) fn encoded<M: Encodable>(message: &M, version: i16) -> Bytes {
    let mut body = BytesMut::new();
    message.encode(&mut body, version).unwrap();
    body.freeze()
}

fn config() -> Config {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lockgate.toml");
    let text = r#"
        [source]
        bootstrap = ["127.0.0.1:1"]
        [destination]
        bootstrap = ["127.0.0.1:2"]
        [listen]
        bind = "127.0.0.1"
        advertised_host = "gate.example"
        bootstrap_port = 9092
        node_ports = "9100-9199"
        [admin]
        listen = "127.0.0.1:8080"
        [[route]]
        name = "orders"
        topics = ["orders*"]
        groups = ["billing"]
    "#;
    std::fs::write(&path, text).unwrap();
    crate::config::load(&path).unwrap()
}

fn snapshot(config: &Config, clusters: &Clusters) -> Snapshot {
    let mut nodes = Nodes::default();
    let mut port = 9100;
    for side in Side::BOTH {
        for (upstream, address) in &clusters.on(side).view().brokers {
            let id = upstream.to_virtual(side).unwrap();
            let node = Node {
                id,
                side,
                upstream: *upstream,
                address: address.clone(),
                port,
            };
            nodes.0.insert(id, node);
            port += 1;
        }
    }
    let route = RouteState {
        home: Side::Source,
        phase: Phase::Open,
        generation: Generation(1),
        committed: false,
    };
    Snapshot {
        table: Arc::new(RouteTable::new(&config.routes).unwrap()),
        routes: vec![route; config.routes.len()],
        groups: Arc::default(),
        nodes: Arc::new(nodes),
        topic_ids: Arc::new(HashMap::from([(Arc::from("orders"), TOPIC_ID)])),
        cluster_id: Arc::from("source-id"),
        produce_permits: Permits::default(),
        commit_permits: Permits::default(),
    }
}

/// Stands in for a session's request loop.
async fn own(clusters: &Clusters, side: Side) -> OwnBroker {
    let node = UpstreamNode(NODES[0]);
    let connection: Connection = clusters.on(side).dedicated(node).await.unwrap();
    let (calls, mut asked) = mpsc::channel::<OwnCall>(1);
    tokio::spawn(async move {
        while let Some(call) = asked.recv().await {
            let request = RawRequest {
                api_key: call.api_key,
                version: call.version,
                client_id: None,
                body: vec![call.body],
            };
            let answer = connection.call_raw(request, std::time::Duration::from_secs(5));
            let _ = call.reply.send(answer.await);
        }
    });
    OwnBroker { side, node, calls }
}

async fn accept(side: Side, node: i32, listener: TcpListener, model: Arc<Model>) {
    while let Ok((socket, _)) = listener.accept().await {
        tokio::spawn(serve(side, node, socket, model.clone()));
    }
}

/// Answers in order until the connection ends; an API without an answer ends it.
async fn serve(side: Side, node: i32, mut socket: TcpStream, model: Arc<Model>) {
    while let Ok(length) = socket.read_i32().await {
        let mut frame = vec![0; usize::try_from(length).unwrap()];
        socket.read_exact(&mut frame).await.unwrap();
        let header = RequestHeader::peek(&frame).unwrap();
        let (key, version) = (header.api_key, header.api_version);
        let mut out = BytesMut::new();
        header::encode_response(key, version, header.correlation_id, &mut out).unwrap();
        let body = Bytes::copy_from_slice(&frame[header.body..]);
        model.seen.lock().unwrap().push((node, key, version));
        let script = model.scripts.lock().unwrap().get(&(node, key)).cloned();
        let body = match script {
            Some(script) => script(version, body),
            None => match by_itself(side, &model, key, version, body) {
                Some(body) => body,
                None => return,
            },
        };
        out.extend_from_slice(&body);
        let length = i32::try_from(out.len()).unwrap();
        socket.write_i32(length).await.unwrap();
        socket.write_all(&out).await.unwrap();
    }
}

fn by_itself(side: Side, model: &Model, key: i16, version: i16, mut body: Bytes) -> Option<Bytes> {
    match ApiKey::try_from(key).ok()? {
        ApiKey::ApiVersions => Some(encoded(&api_versions(), version)),
        ApiKey::Metadata => {
            let request = MetadataRequest::decode(&mut body, version).unwrap();
            let implied = version < 4;
            Some(encoded(&metadata(side, model, &request, implied), version))
        }
        ApiKey::FindCoordinator => {
            FindCoordinatorRequest::decode(&mut body, version).unwrap();
            let answer = FindCoordinatorResponse::default().with_node_id(BrokerId(NODES[0]));
            Some(encoded(&answer, version))
        }
        _ => None,
    }
}

fn api_versions() -> ApiVersionsResponse {
    let keys = ApiKey::iter().map(|key| {
        let known = key.valid_versions();
        ApiVersion::default()
            .with_api_key(key as i16)
            .with_min_version(known.min)
            .with_max_version(known.max)
    });
    ApiVersionsResponse::default().with_api_keys(keys.collect())
}

fn metadata(
    side: Side,
    model: &Model,
    request: &MetadataRequest,
    implied: bool,
) -> MetadataResponse {
    let addresses = model.addresses.lock().unwrap();
    let brokers = NODES.iter().zip(addresses.iter()).map(|(node, address)| {
        MetadataResponseBroker::default()
            .with_node_id(BrokerId(*node))
            .with_host(StrBytes::from_string(address.host.clone()))
            .with_port(i32::from(address.port))
    });
    let mut known = model.topics.lock().unwrap();
    let asked: Vec<String> = match &request.topics {
        None => known.keys().map(|name| (*name).to_owned()).collect(),
        Some(topics) => {
            let names = topics.iter().filter_map(|topic| topic.name.as_ref());
            names.map(|name| name.to_string()).collect()
        }
    };
    let topics = asked.into_iter().map(|asked| {
        if !known.contains_key(asked.as_str()) && (request.allow_auto_topic_creation || implied) {
            model.created.lock().unwrap().push(asked.clone());
            known.insert(asked.clone().leak(), 1);
        }
        let topic = MetadataResponseTopic::default().with_name(Some(name(&asked)));
        match known.get(asked.as_str()) {
            Some(count) => topic
                .with_topic_id(OWN_IDS[side.index()])
                .with_partitions((0..*count).map(partition).collect()),
            None => topic.with_error_code(3),
        }
    });
    MetadataResponse::default()
        .with_topics(topics.collect())
        .with_brokers(brokers.collect())
        .with_cluster_id(Some(StrBytes::from_string(format!("{side}-id"))))
        .with_controller_id(BrokerId(NODES[0]))
}

fn partition(index: i32) -> MetadataResponsePartition {
    let leader = BrokerId(NODES[usize::try_from(index).unwrap() % NODES.len()]);
    MetadataResponsePartition::default()
        .with_partition_index(index)
        .with_leader_id(leader)
        .with_leader_epoch(5)
        .with_replica_nodes(NODES.map(BrokerId).to_vec())
        .with_isr_nodes(vec![leader])
}
