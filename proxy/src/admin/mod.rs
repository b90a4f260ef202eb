//! The admin API (DESIGN section 12): JSON over HTTP on a runtime of its own, so that it answers while the data path is
//! busy, and the data path does not notice it.

mod answer;
mod flip;
mod ready;
mod router;
mod verify;
mod views;

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::watch;

use crate::error::{Error, Result};
use crate::flip::Service;
use crate::replicator::Replicator;
use crate::route::Routes;
use crate::session::Clients;
use crate::state::Store;
use crate::telemetry::Metrics;
use crate::upstream::Clusters;

/// The parts that answers are made of, once they run.
#[derive(Debug)]
pub struct Parts {
    /// Moves and their history.
    pub flips: Arc<Service>,
    /// Verifications and their history.
    pub verify: Arc<crate::verify::Service>,
    /// The links.
    pub replicator: Replicator,
    /// The snapshot.
    pub routes: Arc<Routes>,
    /// Who is connected.
    pub clients: Arc<Clients>,
    /// Both clusters.
    pub clusters: Clusters,
    /// What survives.
    pub store: Arc<Store>,
}

/// What the process is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stage {
    /// Not serving yet, and what it waits for.
    Starting(&'static str),
    /// Serving.
    Running,
    /// On its way out.
    Draining,
}

/// The admin API's view of the process; clones share it.
#[derive(Debug, Clone)]
pub struct Admin {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    parts: OnceLock<Parts>,
    stage: watch::Sender<Stage>,
    metrics: Metrics,
    /// Whatever a request begins runs where the data path runs, not on the admin's runtime.
    data: Handle,
}

impl Admin {
    /// An API that knows of nothing yet. Called on the data path's runtime.
    #[must_use]
    pub fn new(metrics: Metrics) -> Self {
        Self {
            shared: Arc::new(Shared {
                parts: OnceLock::new(),
                stage: watch::Sender::new(Stage::Starting("the configuration")),
                metrics,
                data: Handle::current(),
            }),
        }
    }

    /// Says what the process is doing.
    pub fn stage(&self, stage: Stage) {
        tracing::info!(?stage, "stage");
        self.shared.stage.send_replace(stage);
    }

    /// Hands over the running parts; a second call changes nothing.
    pub fn parts(&self, parts: Parts) {
        // Set once by the one start of this process.
        let _ = self.shared.parts.set(parts);
    }

    /// Opens the port and answers on a thread of its own until the process ends.
    pub fn serve(&self, listen: SocketAddr) -> Result<SocketAddr> {
        let failed =
            |what: String| move |cause: std::io::Error| Error::refused(what).because(cause);
        let listener = std::net::TcpListener::bind(listen)
            .map_err(failed(format!("[admin] cannot listen on {listen}")))?;
        let no_thread = || failed("the admin API cannot start".to_owned());
        let address = listener.local_addr().map_err(no_thread())?;
        listener.set_nonblocking(true).map_err(no_thread())?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(no_thread())?;
        let router = router::router(self.clone());
        let serve = move || {
            runtime.block_on(async move {
                let served = match TcpListener::from_std(listener) {
                    Ok(listener) => axum::serve(listener, router).await,
                    Err(cause) => Err(cause),
                };
                if let Err(error) = served {
                    tracing::error!(%error, "the admin API has ended");
                }
            });
        };
        std::thread::Builder::new()
            .name("admin".to_owned())
            .spawn(serve)
            .map_err(no_thread())?;
        Ok(address)
    }

    fn running(&self) -> Option<&Parts> {
        self.shared.parts.get()
    }
}
