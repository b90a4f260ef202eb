//! The verifications of this process, one at a time.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::task::JoinSet;

use super::operation::{Operation, VerifyView};
use super::partition::Run;
use super::range::{self, Ends, insist, plan};
use super::request::{Refusal, VerifyRequest};
use crate::error::{Error, Result};
use crate::flip::OperationId;
use crate::route::Routes;
use crate::upstream::Clusters;
use crate::words::{Side, TopicPartition};

/// Verifications that are remembered.
const HISTORY_MAX: usize = 20;

/// The door to verification. One per process.
#[derive(Debug)]
pub struct Service {
    clusters: Clusters,
    routes: Arc<Routes>,
    operations: Mutex<VecDeque<Arc<Operation>>>,
}

impl Service {
    /// A service that runs nothing yet.
    #[must_use]
    pub fn new(clusters: Clusters, routes: Arc<Routes>) -> Arc<Self> {
        Arc::new(Self {
            clusters,
            routes,
            operations: Mutex::default(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Arc<Operation>>> {
        // Critical sections are steps on a list.
        self.operations
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, id: &str) -> Option<Arc<Operation>> {
        let operations = self.lock();
        operations.iter().find(|known| known.id.0 == id).cloned()
    }

    /// Begins a verification, or says why not. Called on the runtime that it is to run on.
    pub fn begin(&self, mut request: VerifyRequest) -> std::result::Result<OperationId, Refusal> {
        request.check()?;
        if let Some(id) = request.resume.take() {
            let Some(earlier) = self.find(&id) else {
                return Err(Refusal::Unknown(format!(
                    "there is no verification {id:?}; they are remembered until Lockgate ends: give what it had left as \"partitions\""
                )));
            };
            if earlier.is_running() {
                return Err(Refusal::Busy(earlier.id.clone()));
            }
            request.partitions = earlier.left();
            if request.partitions.is_empty() {
                return Err(Refusal::Refused(format!(
                    "verification {id} has nothing left"
                )));
            }
        }
        let [source, destination] = Side::BOTH.map(|side| self.clusters.on(side).view().clone());
        let asked = request.select(&self.routes.load(), [&source, &destination])?;
        let operation = Operation::new(asked, request.pace());
        {
            let mut operations = self.lock();
            if let Some(running) = operations.iter().find(|known| known.is_running()) {
                return Err(Refusal::Busy(running.id.clone()));
            }
            if operations.len() >= HISTORY_MAX {
                operations.pop_front();
            }
            operations.push_back(operation.clone());
        }
        let id = operation.id.clone();
        tracing::info!(operation = %id, partitions = operation.asked.len(), "verification begins");
        tokio::spawn(supervise(self.clusters.clone(), operation));
        Ok(id)
    }

    /// Ends a running verification; none where there is no such one.
    #[must_use]
    pub fn cancel(&self, id: &str) -> Option<()> {
        let operation = self.find(id)?;
        operation.cancelled.send_replace(true);
        Some(())
    }

    /// One verification.
    #[must_use]
    pub fn operation(&self, id: &str) -> Option<VerifyView> {
        self.find(id).map(|found| found.view())
    }

    /// All that are remembered, newest last.
    #[must_use]
    pub fn operations(&self) -> Vec<VerifyView> {
        let operations = self.lock().clone();
        operations.iter().map(|known| known.view()).collect()
    }
}

/// Runs an operation to its end, whatever way.
async fn supervise(clusters: Clusters, operation: Arc<Operation>) {
    let run = Arc::new(Run {
        clusters,
        operation: operation.clone(),
        large: Arc::default(),
    });
    let mut cancelled = operation.cancelled.subscribe();
    // A task of its own, so that a panic in it is a verification that failed.
    let mut work = tokio::spawn(compare_all(run));
    let reason = tokio::select! {
        ended = &mut work => match ended {
            Ok(Ok(())) => None,
            Ok(Err(error)) => {
                operation.blame(&error);
                Some(error.to_string())
            }
            Err(_) => Some("an internal error ended the verification; see the log".to_owned()),
        },
        _ = cancelled.wait_for(|cancelled| *cancelled) => {
            work.abort();
            Some("cancelled on request".to_owned())
        }
    };
    operation.end(reason);
}

/// Settles all ranges, then compares some partitions at a time.
async fn compare_all(run: Arc<Run>) -> Result<()> {
    for side in Side::BOTH {
        let cluster = run.clusters.on(side);
        insist(cluster, || cluster.refresh()).await?;
    }
    let ends = Arc::new(all_ends(&run).await?);
    let operation = &run.operation;
    for (index, asked) in operation.asked.iter().enumerate() {
        if let Some(ends) = ends.get(&asked.at) {
            operation.planned(index, &plan(asked, *ends));
        }
    }
    let next = Arc::new(AtomicUsize::new(0));
    let mut workers = JoinSet::new();
    for _ in 0..operation.pace.parallel {
        workers.spawn(work(run.clone(), ends.clone(), next.clone()));
    }
    while let Some(ended) = workers.join_next().await {
        ended.map_err(|cause| Error::internal("a comparison ended early").because(cause))?;
    }
    Ok(())
}

async fn all_ends(run: &Run) -> Result<HashMap<TopicPartition, Ends>> {
    let mut all = HashMap::new();
    for home in Side::BOTH {
        let asked = run.operation.asked.iter();
        let here = asked.filter(|asked| asked.home == home && asked.absent_at.is_none());
        let mut partitions: Vec<TopicPartition> = here.map(|asked| asked.at.clone()).collect();
        partitions.sort_unstable();
        partitions.dedup();
        if !partitions.is_empty() {
            all.extend(range::ends(&run.clusters, home, &partitions).await?);
        }
    }
    Ok(all)
}

/// Takes partition after partition.
async fn work(run: Arc<Run>, ends: Arc<HashMap<TopicPartition, Ends>>, next: Arc<AtomicUsize>) {
    let operation = &run.operation;
    loop {
        let index = next.fetch_add(1, Ordering::Relaxed);
        let Some(asked) = operation.asked.get(index) else {
            return;
        };
        // Where one side does not have it, the view says so from the start.
        let Some(ends) = ends.get(&asked.at) else {
            continue;
        };
        if let Err(error) = run.partition(index, &plan(asked, *ends)).await {
            operation.failed(index, &error);
        }
    }
}
