//! Operations: what was asked of a route, how far it is, how it ended. The history is bounded and lives as long as the
//! process; what must survive is in the journal.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime};

use serde::{Deserialize, Serialize};

/// Operations that are remembered.
const HISTORY_MAX: usize = 1_000;
/// Steps of one operation that are remembered; a move of many groups has some per group.
const STEPS_MAX: usize = 1_000;

/// An operation's name in the API.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct OperationId(pub String);

impl fmt::Display for OperationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What an operation does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum OperationKind {
    /// Groups move.
    FlipGroups,
    /// The producers move.
    FlipProducers,
    /// All groups, then the producers.
    FlipAll,
    /// The way back is closed.
    Commit,
}

impl OperationKind {
    /// The word in JSON and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::FlipGroups => "flip-groups",
            Self::FlipProducers => "flip-producers",
            Self::FlipAll => "flip-all",
            Self::Commit => "commit",
        }
    }
}

/// Where an operation stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum OperationState {
    /// Under way.
    Running,
    /// It did what was asked.
    Done,
    /// It began and was undone; everything is where it was.
    Lifted,
    /// It did not begin, or only a part of it was done; the reason says which.
    Failed,
}

impl OperationState {
    /// The word in JSON and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Done => "done",
            Self::Lifted => "lifted",
            Self::Failed => "failed",
        }
    }
}

/// One step of an operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Step {
    /// `fence`, `drain`, `level`, `open`; for groups `name: step`.
    pub name: String,
    /// When it began, in milliseconds since the epoch.
    pub at_ms: u64,
    /// How long it took, in milliseconds; none while it runs.
    pub took_ms: Option<u64>,
}

/// One operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Operation {
    /// Its name.
    pub id: OperationId,
    /// The route.
    pub route: String,
    /// What it does.
    pub kind: OperationKind,
    /// Where it stands.
    pub state: OperationState,
    /// What it did, in order.
    pub steps: Vec<Step>,
    /// Why it was lifted or failed.
    pub reason: Option<String>,
    /// Records that the route's links were behind when it began.
    pub lag_at_start: i64,
    /// When it began, in milliseconds since the epoch.
    pub started_ms: u64,
}

/// The operations of this process, newest last.
#[derive(Debug, Default)]
pub(super) struct Operations(Mutex<VecDeque<Operation>>);

impl Operations {
    fn lock(&self) -> MutexGuard<'_, VecDeque<Operation>> {
        // Every critical section leaves the list usable at each step.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins an operation. The oldest that has ended is forgotten where there are too many.
    pub(super) fn begin(
        self: &Arc<Self>,
        route: &str,
        kind: OperationKind,
        lag_at_start: i64,
    ) -> Progress {
        let id = OperationId(uuid::Uuid::new_v4().to_string());
        let mut list = self.lock();
        if list.len() >= HISTORY_MAX
            && let Some(ended) = list
                .iter()
                .position(|known| known.state != OperationState::Running)
        {
            list.remove(ended);
        }
        list.push_back(Operation {
            id: id.clone(),
            route: route.to_owned(),
            kind,
            state: OperationState::Running,
            steps: Vec::new(),
            reason: None,
            lag_at_start,
            started_ms: now_ms(),
        });
        drop(list);
        metrics::gauge!("lockgate_operations_running").increment(1.0);
        Progress {
            operations: self.clone(),
            id,
            kind,
            route: Arc::from(route),
            step_began: Arc::new(Mutex::new(None)),
        }
    }

    pub(super) fn all(&self) -> Vec<Operation> {
        self.lock().iter().cloned().collect()
    }

    pub(super) fn get(&self, id: &str) -> Option<Operation> {
        self.lock().iter().find(|known| known.id.0 == id).cloned()
    }

    fn edit(&self, id: &OperationId, edit: impl FnOnce(&mut Operation)) {
        if let Some(operation) = self.lock().iter_mut().find(|known| known.id == *id) {
            edit(operation);
        }
    }
}

/// The pen with which a running operation writes its record.
#[derive(Debug, Clone)]
pub(super) struct Progress {
    operations: Arc<Operations>,
    pub(super) id: OperationId,
    pub(super) kind: OperationKind,
    route: Arc<str>,
    step_began: Arc<Mutex<Option<(String, Instant)>>>,
}

impl Progress {
    /// Ends the current step and begins the next.
    pub(super) fn step(&self, name: &str) {
        self.end_step();
        tracing::info!(operation = %self.id, route = %self.route, step = name, "flip step");
        *self.began() = Some((name.to_owned(), Instant::now()));
        let step = Step {
            name: name.to_owned(),
            at_ms: now_ms(),
            took_ms: None,
        };
        self.operations.edit(&self.id, |operation| {
            if operation.steps.len() < STEPS_MAX {
                operation.steps.push(step);
            }
        });
    }

    fn began(&self) -> MutexGuard<'_, Option<(String, Instant)>> {
        // One assignment under the lock.
        self.step_began
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn end_step(&self) {
        let Some((name, began)) = self.began().take() else {
            return;
        };
        let took = began.elapsed();
        // The name of a group would make one series per group: only the step itself is a label.
        let label = name.rsplit(": ").next().unwrap_or(&name).to_owned();
        metrics::histogram!("lockgate_flip_steps_seconds", "route" => self.route.to_string(), "step" => label)
            .record(took.as_secs_f64());
        let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        self.operations.edit(&self.id, |operation| {
            if let Some(step) = operation.steps.last_mut() {
                step.took_ms = Some(took_ms);
            }
        });
    }

    /// Ends the operation.
    pub(super) fn end(&self, state: OperationState, reason: Option<String>) {
        self.end_step();
        match &reason {
            None => {
                tracing::info!(operation = %self.id, route = %self.route, state = state.as_str(), "operation ended");
            }
            Some(reason) => {
                tracing::warn!(operation = %self.id, route = %self.route, state = state.as_str(), %reason, "operation ended");
            }
        }
        metrics::gauge!("lockgate_operations_running").decrement(1.0);
        metrics::counter!("lockgate_flips_total", "kind" => self.kind.as_str(), "outcome" => state.as_str())
            .increment(1);
        self.operations.edit(&self.id, |operation| {
            operation.state = state;
            operation.reason = reason;
        });
    }
}

/// Milliseconds since the epoch, for records that people read.
pub(crate) fn now_ms() -> u64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| {
            u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operation_keeps_its_steps_and_its_end() {
        let operations = Arc::new(Operations::default());
        let progress = operations.begin("orders", OperationKind::FlipAll, 7);
        progress.step("fence");
        progress.step("drain");
        progress.end(OperationState::Lifted, Some("too slow".to_owned()));
        let operation = operations.get(&progress.id.0).unwrap();
        assert_eq!(operation.steps.len(), 2);
        assert!(operation.steps.iter().all(|step| step.took_ms.is_some()));
        let json = serde_json::to_value(&operation).unwrap();
        assert_eq!(json["state"], "lifted");
        assert_eq!(json["kind"], "flip-all");
        assert_eq!(json["lag_at_start"], 7);
    }
}
