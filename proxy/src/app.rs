//! The process: its parts wired in start order, and its end.
//!
//! Configuration and telemetry come from `main`. Then: both clusters are contacted; the guard makes sure that this is
//! the only instance; the state is opened, and the first snapshot made from it; virtual nodes get their ports; the
//! replicator, the policies and the flip service start (which finishes or lifts what an earlier process left under
//! way); only then do clients get in.

mod learn;
mod nodes;
mod policies;
mod snapshot;

use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::admin::{Admin, Parts, Stage};
use crate::config::Config;
use crate::error::{Error, Kind, Result};
use crate::flip::{Deps, Service};
use crate::instance::Guard;
use crate::listener::Listeners;
use crate::replicator::Replicator;
use crate::route::Routes;
use crate::session::{Clients, DataPath};
use crate::state::Store;
use crate::telemetry::Metrics;
use crate::upstream::{Cluster, Clusters};
use crate::verify;
use crate::words::Side;

pub use policies::load as load_policies;

/// How long clients may take to go when the process is told to end.
const DRAIN_MAX: Duration = Duration::from_secs(20);
/// How long the replicator may take to end its links clean.
const STOP_MAX: Duration = Duration::from_secs(10);
/// How often a start looks whether the cluster that it needs is back.
const WAIT_FOR_COPY: Duration = Duration::from_millis(500);

/// Both clusters of a configuration, not yet contacted.
#[must_use]
pub fn clusters(config: &Config) -> Clusters {
    Clusters {
        source: Cluster::new(Side::Source, config.source.bootstrap.clone()),
        destination: Cluster::new(Side::Destination, config.destination.bootstrap.clone()),
    }
}

/// Runs Lockgate until it is told to end (`Ok`) or must not go on.
pub async fn run(config: Arc<Config>, metrics: Metrics) -> Result<()> {
    metrics::gauge!("lockgate_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    let told = told_to_end()?;
    let admin = Admin::new(metrics);
    let clusters = clusters(&config);
    let mut guarding = None;
    let started = tokio::select! {
        started = start(&config, &admin, &clusters, &mut guarding) => started,
        () = until(told.clone()) => {
            leave(guarding).await;
            return Ok(());
        }
    };
    let running = match started {
        Ok(running) => running,
        Err(error) => {
            leave(guarding).await;
            return Err(error);
        }
    };
    let lost = guarding.as_ref().map(Guarding::lost);
    let outcome = tokio::select! {
        () = until(told) => Ok(()),
        () = until(running.store.fenced()) => Err(Error::refused(
            "another Lockgate has taken over the state; this one has stopped",
        )),
        () = lost_guard(lost) => Err(Error::refused(
            "another Lockgate has become the one instance; this one has stopped",
        )),
    };
    // Whoever is no longer the one instance has no time for its clients: the other may be moving their topics now, and
    // what is still passed on here is written beside it (I4).
    outcome?;
    admin.stage(Stage::Draining);
    running.end().await;
    leave(guarding).await;
    Ok(())
}

struct Running {
    listeners: Listeners,
    replicator: Replicator,
    store: Arc<Store>,
    /// Kept alive: they follow the clusters.
    followers: Vec<JoinHandle<()>>,
}

async fn start(
    config: &Arc<Config>,
    admin: &Admin,
    clusters: &Clusters,
    guarding: &mut Option<Guarding>,
) -> Result<Running> {
    admin.stage(Stage::Starting("the clusters"));
    contact(clusters).await?;
    admin.stage(Stage::Starting("a former instance's membership to expire"));
    *guarding = Some(guard(config, &clusters.destination).await?);
    // Behind the guard: an instance that lives holds this port too, and the guard has the better sentence.
    let address = admin.serve(config.admin)?;
    tracing::info!(%address, "the admin API answers");

    let store = open_state(config, admin, clusters).await?;
    admin.stage(Stage::Starting("the routes"));
    learn::recall_ranges(&store, clusters)?;
    let nodes = nodes::at_start(config, &store, clusters).await?;
    let routes = Routes::new(snapshot::first(config, &store, nodes)?);
    if routes.load().source_leaving() {
        store.destination_counts_alone();
    }
    learn::learn(&store, clusters, &routes).await;

    serve(config, admin, clusters, store, routes).await
}

/// Opens the state, and waits for the other cluster where this one's copy cannot stand alone.
async fn open_state(config: &Config, admin: &Admin, clusters: &Clusters) -> Result<Arc<Store>> {
    admin.stage(Stage::Starting("the state"));
    let store = Store::open(clusters.clone()).await?;
    admin.stage(Stage::Starting(
        "the cluster whose copy of the state is needed",
    ));
    let mut said = String::new();
    while let Some(reason) = snapshot::needs_other_copy(config, &store)? {
        if reason != said {
            tracing::warn!(reason, "waiting for the other copy of the state");
            said = reason;
        }
        tokio::time::sleep(WAIT_FOR_COPY).await;
    }
    Ok(store)
}

/// Starts what works under the routes; clients get in last.
async fn serve(
    config: &Arc<Config>,
    admin: &Admin,
    clusters: &Clusters,
    store: Arc<Store>,
    routes: Arc<Routes>,
) -> Result<Running> {
    admin.stage(Stage::Starting("the replicator and the policies"));
    let clients = Arc::new(Clients::default());
    let policies = policies::load(config).await?;
    let replicator = Replicator::start(
        config.clone(),
        clusters.clone(),
        routes.clone(),
        store.clone(),
    );
    admin.stage(Stage::Starting("moves that were under way"));
    let flips = Service::start(Deps {
        config: config.clone(),
        clusters: clusters.clone(),
        routes: routes.clone(),
        store: store.clone(),
        replicator: replicator.clone(),
        clients: clients.clone(),
        policies,
    })
    .await?;
    let path = DataPath::new(
        config.clone(),
        clusters.clone(),
        routes.clone(),
        clients.clone(),
    );
    let listeners = Listeners::start(path).await?;
    tracing::info!(bootstrap = %listeners.bootstrap(), "clients are served");
    let followers = vec![
        tokio::spawn(nodes::follow(
            config.clone(),
            store.clone(),
            clusters.clone(),
            routes.clone(),
        )),
        tokio::spawn(learn::follow(
            store.clone(),
            clusters.clone(),
            routes.clone(),
        )),
    ];
    let verify = verify::Service::new(clusters.clone(), routes.clone());
    admin.parts(Parts {
        flips,
        verify,
        replicator: replicator.clone(),
        routes,
        clients,
        clusters: clusters.clone(),
        store: store.clone(),
    });
    admin.stage(Stage::Running);
    Ok(Running {
        listeners,
        replicator,
        store,
        followers,
    })
}

impl Running {
    /// No new connections, parked requests finish, links end clean; each within its bound.
    async fn end(self) {
        for follower in &self.followers {
            follower.abort();
        }
        if !self.listeners.drain(DRAIN_MAX).await {
            tracing::warn!(
                "clients are still connected after {DRAIN_MAX:?}; their connections are cut"
            );
        }
        if tokio::time::timeout(STOP_MAX, self.replicator.stop())
            .await
            .is_err()
        {
            tracing::warn!(
                "links had not ended after {STOP_MAX:?}; the next start reads what became of them"
            );
        }
    }
}

/// Looks at both clusters. One may be away; that is the state's to judge.
async fn contact(clusters: &Clusters) -> Result<()> {
    let (source, destination) =
        tokio::join!(clusters.source.refresh(), clusters.destination.refresh());
    if let (Err(source), Err(destination)) = (&source, &destination) {
        return Err(Error::new(
            Side::Source,
            Kind::Disconnected,
            format!("neither cluster can be reached ({source}; {destination})"),
        ));
    }
    for (side, outcome) in Side::BOTH.into_iter().zip([source, destination]) {
        match outcome {
            Ok(view) => {
                tracing::info!(%side, cluster = view.cluster_id, brokers = view.brokers.len(), "contact");
            }
            Err(error) => tracing::warn!(%side, %error, "no contact"),
        }
        clusters.on(side).keep_fresh();
    }
    Ok(())
}

/// The membership that makes this the one instance. With the destination away it is sought when that is back; the
/// state's own fence holds meanwhile.
enum Guarding {
    Member(Guard),
    Seeking(watch::Receiver<bool>),
}

impl Guarding {
    fn lost(&self) -> watch::Receiver<bool> {
        match self {
            Self::Member(guard) => guard.lost(),
            Self::Seeking(lost) => lost.clone(),
        }
    }
}

async fn guard(config: &Config, destination: &Arc<Cluster>) -> Result<Guarding> {
    let me = format!("(process {}, admin {})", std::process::id(), config.admin);
    if *destination.reachable().borrow() {
        return Ok(Guarding::Member(
            Guard::enter(destination.clone(), me).await?,
        ));
    }
    tracing::warn!(
        "the destination cannot be reached, so whether another instance runs is not known yet"
    );
    let (losing, lost) = watch::channel(false);
    tokio::spawn(seek(destination.clone(), me, losing));
    Ok(Guarding::Seeking(lost))
}

async fn seek(destination: Arc<Cluster>, me: String, losing: watch::Sender<bool>) {
    loop {
        until(destination.reachable()).await;
        match Guard::enter(destination.clone(), me.clone()).await {
            Ok(guard) => {
                until(guard.lost()).await;
                losing.send_replace(true);
                return;
            }
            Err(error) if error.kind == Kind::Refused => {
                tracing::error!(%error, "this instance must stop");
                losing.send_replace(true);
                return;
            }
            Err(error) => {
                tracing::warn!(%error, "not a member of the group of instances yet");
                tokio::time::sleep(WAIT_FOR_COPY).await;
            }
        }
    }
}

async fn leave(guarding: Option<Guarding>) {
    if let Some(Guarding::Member(guard)) = guarding {
        guard.leave().await;
    }
}

async fn lost_guard(lost: Option<watch::Receiver<bool>>) {
    match lost {
        Some(lost) => until(lost).await,
        None => std::future::pending().await,
    }
}

/// Waits until a flag is true; for ever once nobody can set it any more.
async fn until(mut flag: watch::Receiver<bool>) {
    if flag.wait_for(|set| *set).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Turns true on SIGTERM or SIGINT.
fn told_to_end() -> Result<watch::Receiver<bool>> {
    let failed = |cause| Error::internal("signals cannot be received").because(cause);
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let (telling, told) = watch::channel(false);
    tokio::spawn(async move {
        let name = tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        };
        tracing::info!(signal = name, "ending: no new connections");
        telling.send_replace(true);
        // Keeps the sender: a closed channel would look like a flag that nobody can set.
        std::future::pending::<()>().await;
    });
    Ok(told)
}
