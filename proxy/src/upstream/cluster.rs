//! One cluster: its current view, its shared control connections, and who to ask for what.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use kafka_protocol::messages::{
    ApiVersionsRequest, ApiVersionsResponse, FindCoordinatorRequest, MetadataRequest,
};
use kafka_protocol::protocol::StrBytes;
use tokio::sync::watch;

use super::codec::OwnRequest;
use super::connection::Connection;
use super::versions::ApiRanges;
use super::view::{BrokerAddress, ClusterView};
use crate::error::{Error, Kind, Result};
use crate::words::{Side, UpstreamNode};

/// How often the whole view is fetched again without being asked for.
pub(super) const REFRESH_INTERVAL: Duration = Duration::from_secs(2);

/// Whom a control request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target<'a> {
    /// Any live broker.
    Any,
    /// The broker that takes topic changes.
    Controller,
    /// This broker.
    Broker(UpstreamNode),
    /// The leader of this partition.
    Leader(&'a str, i32),
    /// The coordinator of this group.
    Group(&'a str),
    /// The coordinator of this transactional id.
    TransactionalId(&'a str),
}

/// One upstream cluster.
#[derive(Debug)]
pub struct Cluster {
    side: Side,
    bootstrap: Vec<BrokerAddress>,
    view: ArcSwap<ClusterView>,
    versions: ArcSwap<ApiRanges>,
    /// Counts refreshes that changed something.
    changed: watch::Sender<u64>,
    reachable: watch::Sender<bool>,
    control: Mutex<HashMap<UpstreamNode, Connection>>,
    /// Refreshes that have begun.
    begun: AtomicU64,
    /// One refresh at a time; holds the number of the last that ended, and whether it succeeded.
    refreshing: tokio::sync::Mutex<(u64, bool)>,
}

impl Cluster {
    /// A cluster that has not been contacted yet.
    #[must_use]
    pub fn new(side: Side, bootstrap: Vec<BrokerAddress>) -> Arc<Self> {
        Arc::new(Self {
            side,
            bootstrap,
            view: ArcSwap::default(),
            versions: ArcSwap::default(),
            changed: watch::Sender::new(0),
            reachable: watch::Sender::new(false),
            control: Mutex::default(),
            begun: AtomicU64::new(0),
            refreshing: tokio::sync::Mutex::default(),
        })
    }

    /// Which cluster this is.
    #[must_use]
    pub fn side(&self) -> Side {
        self.side
    }

    /// The view of the last successful refresh.
    pub fn view(&self) -> Guard<Arc<ClusterView>> {
        self.view.load()
    }

    /// What all brokers of the cluster speak, as of the last contact.
    pub fn versions(&self) -> Guard<Arc<ApiRanges>> {
        self.versions.load()
    }

    /// Takes over what was known at an earlier start, for a cluster that cannot be reached now.
    pub fn remember_versions(&self, ranges: ApiRanges) {
        if self.versions.load().is_empty() {
            self.versions.store(Arc::new(ranges));
        }
    }

    /// Ticks when the view changed.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Whether the last refresh succeeded.
    pub fn reachable(&self) -> watch::Receiver<bool> {
        self.reachable.subscribe()
    }

    /// Keeps the view fresh until the cluster is dropped.
    pub fn keep_fresh(self: &Arc<Self>) -> tokio::task::JoinHandle<()> {
        let cluster = Arc::downgrade(self);
        tokio::spawn(async move {
            let mut failing = false;
            loop {
                tokio::time::sleep(REFRESH_INTERVAL).await;
                let Some(cluster) = cluster.upgrade() else {
                    return;
                };
                match cluster.refresh().await {
                    Ok(_) => failing = false,
                    Err(error) if !failing => {
                        failing = true;
                        tracing::warn!(side = %cluster.side, %error, "the cluster cannot be reached");
                    }
                    Err(_) => {}
                }
            }
        })
    }

    /// Fetches the whole view. Callers that come while a refresh runs share the next one: what they get was asked for
    /// after they came.
    pub async fn refresh(&self) -> Result<Arc<ClusterView>> {
        let came_at = self.begun.load(Ordering::SeqCst);
        let mut done = self.refreshing.lock().await;
        match *done {
            (number, true) if number > came_at => return Ok(self.view.load_full()),
            (number, false) if number > came_at => {
                let what = "the cluster's metadata could not be fetched a moment ago";
                return Err(Error::new(self.side, Kind::Disconnected, what));
            }
            _ => {}
        }
        let number = self.begun.fetch_add(1, Ordering::SeqCst) + 1;
        let result = self.fetch_view().await;
        *done = (number, result.is_ok());
        self.reachable.send_if_modified(|reachable| {
            std::mem::replace(reachable, result.is_ok()) != result.is_ok()
        });
        let (view, ranges) = result?;
        if !ranges.is_empty() {
            self.versions.store(Arc::new(ranges));
        }
        let view = Arc::new(view);
        if **self.view.load() != *view {
            self.forget_moved_brokers(&view);
            self.view.store(view.clone());
            self.changed.send_modify(|count| *count += 1);
        }
        Ok(view)
    }

    async fn fetch_view(&self) -> Result<(ClusterView, ApiRanges)> {
        let request = MetadataRequest::default()
            .with_topics(None)
            .with_allow_auto_topic_creation(true);
        let connection = self.any().await?;
        let response = match connection
            .call_within(&request, Duration::from_secs(10))
            .await
        {
            Ok(response) => response,
            Err(error) => {
                self.forget(connection.node());
                return Err(error);
            }
        };
        let view = ClusterView::from_response(&response);
        let mut ranges = connection.versions().clone();
        for connection in lock(&self.control).values() {
            ranges = ranges.intersect(connection.versions());
        }
        Ok((view, ranges))
    }

    fn forget_moved_brokers(&self, view: &ClusterView) {
        let known = self.view.load();
        lock(&self.control).retain(|node, _| {
            node.0 < 0
                || (view.brokers.contains_key(node)
                    && view.brokers.get(node) == known.brokers.get(node))
        });
    }

    fn forget(&self, node: UpstreamNode) {
        lock(&self.control).remove(&node);
    }

    /// The shared control connection to a broker; opened when there is none.
    pub async fn connection(&self, node: UpstreamNode) -> Result<Connection> {
        if let Some(connection) = lock(&self.control)
            .get(&node)
            .filter(|open| !open.is_closed())
        {
            return Ok(connection.clone());
        }
        let connection = self.dedicated(node).await?;
        lock(&self.control).insert(node, connection.clone());
        Ok(connection)
    }

    /// A connection of the caller's own.
    pub async fn dedicated(&self, node: UpstreamNode) -> Result<Connection> {
        let address = self
            .view
            .load()
            .brokers
            .get(&node)
            .cloned()
            .ok_or_else(|| {
                Error::new(
                    self.side,
                    Kind::Disconnected,
                    format!("broker {node} is not in the cluster's metadata"),
                )
            })?;
        Connection::open(self.side, node, &address).await
    }

    /// A connection to any broker: one that is open, else the known ones, else the bootstrap addresses.
    async fn any(&self) -> Result<Connection> {
        let open = lock(&self.control)
            .values()
            .find(|open| !open.is_closed())
            .cloned();
        if let Some(open) = open {
            return Ok(open);
        }
        let known: Vec<UpstreamNode> = self.view.load().brokers.keys().copied().collect();
        for node in known {
            if let Ok(connection) = self.connection(node).await {
                return Ok(connection);
            }
        }
        let mut last = Error::new(
            self.side,
            Kind::Disconnected,
            "no bootstrap address is configured",
        );
        for address in &self.bootstrap {
            match Connection::open(self.side, UpstreamNode(-1), address).await {
                Ok(connection) => {
                    lock(&self.control).insert(UpstreamNode(-1), connection.clone());
                    return Ok(connection);
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    async fn target(&self, target: Target<'_>) -> Result<Connection> {
        let view = self.view.load_full();
        let node = match target {
            Target::Any => return self.any().await,
            Target::Controller => match view.controller {
                Some(node) => node,
                None => self.refresh().await?.controller.ok_or_else(|| {
                    Error::new(
                        self.side,
                        Kind::Disconnected,
                        "the cluster has no controller",
                    )
                })?,
            },
            Target::Broker(node) => node,
            Target::Leader(topic, partition) => match view.leader(topic, partition) {
                Some(node) => node,
                None => self
                    .refresh()
                    .await?
                    .leader(topic, partition)
                    .ok_or_else(|| {
                        Error::kafka(
                            self.side,
                            5,
                            format!("partition {topic}-{partition} has no leader"),
                        )
                    })?,
            },
            Target::Group(key) => self.coordinator(0, key).await?,
            Target::TransactionalId(key) => self.coordinator(1, key).await?,
        };
        self.connection(node).await
    }

    /// Sends a control request over the shared connections.
    pub async fn call<R: OwnRequest>(
        &self,
        target: Target<'_>,
        request: &R,
    ) -> Result<R::Response> {
        self.target(target).await?.call(request).await
    }

    /// As [`Self::call`] with a deadline.
    pub async fn call_within<R: OwnRequest>(
        &self,
        target: Target<'_>,
        request: &R,
        timeout: Duration,
    ) -> Result<R::Response> {
        self.target(target)
            .await?
            .call_within(request, timeout)
            .await
    }

    /// The broker that coordinates a group (`key_type` 0) or a transactional id (1). Error 15
    /// (COORDINATOR_NOT_AVAILABLE) is passed on: a fresh cluster answers it until its topic exists.
    pub async fn coordinator(&self, key_type: i8, key: &str) -> Result<UpstreamNode> {
        let any = self.any().await?;
        let key = StrBytes::from_string(key.to_owned());
        // From version 4 on the request carries a list; version 3 is spoken by every broker.
        let request = FindCoordinatorRequest::default()
            .with_key(key.clone())
            .with_key_type(key_type);
        let timeout = Duration::from_secs(10);
        let response = any.call_version(&request, 3, timeout).await?;
        if response.error_code != 0 {
            let what = format!("looking for the coordinator of {:?}", key.as_str());
            return Err(Error::kafka(self.side, response.error_code, what));
        }
        let node = UpstreamNode(response.node_id.0);
        if !self.view.load().brokers.contains_key(&node) {
            self.refresh().await?;
        }
        Ok(node)
    }
}

/// Asks a fresh connection's broker for its API versions. Brokers below ApiVersions 3 answer with a version 0 body
/// and error 35, and are asked again.
pub(super) async fn negotiate(connection: &Connection) -> Result<ApiRanges> {
    let timeout = super::connection::CONNECT_TIMEOUT;
    let request = ApiVersionsRequest::default()
        .with_client_software_name(StrBytes::from_static_str("lockgate"))
        .with_client_software_version(StrBytes::from_static_str(env!("CARGO_PKG_VERSION")));
    let first: Result<ApiVersionsResponse> = connection.call_version(&request, 3, timeout).await;
    let response = match first {
        Ok(response) if response.error_code == 0 => response,
        Ok(_)
        | Err(Error {
            kind: Kind::Malformed,
            ..
        }) => {
            connection
                .call_version(&ApiVersionsRequest::default(), 0, timeout)
                .await?
        }
        Err(error) => return Err(error),
    };
    if response.error_code != 0 {
        return Err(Error::kafka(
            connection.side(),
            response.error_code,
            "asking for API versions",
        ));
    }
    Ok(ApiRanges::from_response(&response))
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // Every critical section is one map operation; a panic cannot leave it half done.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
