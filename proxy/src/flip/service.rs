//! The flip service: starts, watches and reports the operations of all routes; one per route at a time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;

use super::facts::{self, Surveys};
use super::journal::{self, FlipRecord};
use super::operation::{Operation, OperationId, OperationKind, Operations, Progress};
use super::request::{Accepted, FlipRequest, Move, Plan, Refusal};
use super::view::{
    CutoverView, GroupView, LastProposal, PhaseView, PolicyViews, RollbackView, RouteView,
};
use super::{execute, gate, group, producers, tick};
use crate::config::Config;
use crate::error::Result;
use crate::policy::question::LagHistory;
use crate::policy::{Cutover, Translation};
use crate::replicator::Replicator;
use crate::route::{Phase, RouteId, Routes};
use crate::session::Clients;
use crate::state::{Kind, Store};
use crate::upstream::Clusters;
use crate::words::Side;

/// A start waits so long for moves that were under way; what takes longer ends behind open listeners, whose requests
/// are parked as long as the route is fenced.
const RESUME_MAX: Duration = Duration::from_secs(10);

/// The policies of one route.
pub struct RoutePolicies {
    /// When it moves. Replaced at run time.
    pub cutover: Arc<ArcSwap<Cutover>>,
    /// How committed offsets cross.
    pub translation: Arc<Translation>,
}

impl Default for RoutePolicies {
    fn default() -> Self {
        Self {
            cutover: Arc::new(ArcSwap::from_pointee(Cutover::default())),
            translation: Arc::new(Translation::default()),
        }
    }
}

impl std::fmt::Debug for RoutePolicies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RoutePolicies")
            .field("cutover", &self.cutover.load().info())
            .field("translation", &self.translation.info())
            .finish()
    }
}

/// What moves need.
#[derive(Debug)]
pub struct Deps {
    /// The configuration.
    pub config: Arc<Config>,
    /// Both clusters.
    pub clusters: Clusters,
    /// The snapshot's writer.
    pub routes: Arc<Routes>,
    /// The journal.
    pub store: Arc<Store>,
    /// The links.
    pub replicator: Replicator,
    /// Who writes and reads where.
    pub clients: Arc<Clients>,
    /// By [`RouteId`].
    pub policies: Vec<RoutePolicies>,
}

/// What is remembered of a route between two ticks.
#[derive(Debug, Default)]
pub(super) struct Memory {
    pub(super) running: Option<Progress>,
    pub(super) last: Option<LastProposal>,
    pub(super) lags: LagHistory,
    /// Groups that were refused or put back, when and why.
    pub(super) refused: HashMap<String, (Instant, String)>,
}

/// The service. One per process.
#[derive(Debug)]
pub struct Service {
    pub(super) deps: Arc<Deps>,
    pub(super) surveys: Surveys,
    operations: Arc<Operations>,
    memory: Vec<Mutex<Memory>>,
}

impl Service {
    /// Ends what an earlier process left under way, sets up the desks of groups that have moved, and begins to ask
    /// the policies. Called once, before listeners open; the snapshot comes from [`journal::restore`].
    pub async fn start(deps: Deps) -> Result<Arc<Self>> {
        let deps = Arc::new(deps);
        let snapshot = deps.routes.load_full();
        if snapshot.source_leaving() {
            deps.store.destination_counts_alone();
        }
        for (name, record) in journal::groups(&deps.store)? {
            group::strike_unfinished(&deps, &name, &record).await;
            let moved = record.home == Side::Destination && !record.former_members.is_empty();
            if let Some(route) = snapshot.table.group(&name).filter(|_| moved) {
                group::resume(&deps, route, &name, &record);
            }
        }
        let mut unfinished = tokio::task::JoinSet::new();
        for (name, flip) in deps.store.list::<FlipRecord>(Kind::Flip)? {
            let Some(route) = snapshot.table.by_name(&name) else {
                tracing::warn!(
                    route = name,
                    "the journal knows a flip of a route that is not configured"
                );
                continue;
            };
            let deps = deps.clone();
            unfinished.spawn(async move { producers::resume(&deps, route, flip).await });
        }
        let ended = async { while unfinished.join_next().await.is_some() {} };
        if tokio::time::timeout(RESUME_MAX, ended).await.is_err() {
            tracing::warn!("a flip that was under way cannot be ended yet; its route stays fenced");
            unfinished.detach_all();
        }
        let memory = snapshot.routes.iter().map(|_| Mutex::default()).collect();
        let service = Arc::new(Self {
            deps,
            surveys: Surveys::default(),
            operations: Arc::new(Operations::default()),
            memory,
        });
        tick::start(&service);
        Ok(service)
    }

    pub(super) fn memory(&self, route: RouteId) -> Option<MutexGuard<'_, Memory>> {
        // Critical sections are assignments; a panic cannot leave one half done.
        let memory = self.memory.get(route.0)?;
        Some(memory.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn by_name(&self, name: &str) -> Result<RouteId, Refusal> {
        self.deps
            .routes
            .load()
            .table
            .by_name(name)
            .ok_or_else(|| Refusal::UnknownRoute(name.to_owned()))
    }

    /// Takes the route for one operation.
    fn begin(&self, route: RouteId, kind: OperationKind) -> Result<Progress, Refusal> {
        let snapshot = self.deps.routes.load_full();
        let name = snapshot.table.name(route);
        let lag = self
            .deps
            .replicator
            .lag(&|topic| snapshot.table.topic(topic) == Some(route));
        let Some(mut memory) = self.memory(route) else {
            return Err(Refusal::UnknownRoute(name.to_owned()));
        };
        if let Some(running) = &memory.running {
            return Err(Refusal::Busy(running.id.clone()));
        }
        let fenced = snapshot
            .routes
            .get(route.0)
            .is_some_and(|state| state.phase == Phase::Fenced);
        if fenced {
            return Err(Refusal::Shut(vec![
                "a flip that was under way when the process ended is not over yet".to_owned(),
            ]));
        }
        let progress = self.operations.begin(name, kind, lag.records);
        memory.running = Some(progress.clone());
        Ok(progress)
    }

    /// Starts an operation's work; the route is free again when it ends, whatever way.
    fn run(
        self: &Arc<Self>,
        route: RouteId,
        progress: &Progress,
        work: impl Future<Output = ()> + Send + 'static,
    ) {
        let (service, progress) = (self.clone(), progress.clone());
        tokio::spawn(async move {
            // A task of its own, so that a panic in it is an operation that failed, not a route that is taken for ever.
            if tokio::spawn(work).await.is_err() {
                let why = "an internal error ended the operation; see the log".to_owned();
                progress.end(super::OperationState::Failed, Some(why));
            }
            service.surveys.forget().await;
            if let Some(mut memory) = service.memory(route) {
                memory.running = None;
            }
        });
    }

    /// Begins a flip, or says why not.
    pub async fn flip(
        self: &Arc<Self>,
        name: &str,
        request: FlipRequest,
    ) -> Result<Accepted, Refusal> {
        let route = self.by_name(name)?;
        if request.to == Side::Source && request.what != Move::Producers {
            return Err(Refusal::NotYet(
                "moving groups back to the source is not built yet; producers can (\"move\": \"producers\")"
                    .to_owned(),
            ));
        }
        let plan = self.plan(route, &request).await?;
        if request.dry_run {
            return Ok(Accepted::DryRun(plan));
        }
        if let Some(running) = self.memory(route).and_then(|memory| memory.running.clone()) {
            return Err(Refusal::Busy(running.id));
        }
        let mut against: Vec<String> = plan
            .groups_refused
            .iter()
            .map(|(group, why)| format!("group {group:?}: {why}"))
            .collect();
        if request.what == Move::Producers {
            against.extend(plan.producers_refused);
        }
        if request.what == Move::Groups && plan.groups.is_empty() && against.is_empty() {
            against.push("no group of the route is left at the source".to_owned());
        }
        if !against.is_empty() {
            return Err(Refusal::Shut(against));
        }
        let kind = match request.what {
            Move::Groups => OperationKind::FlipGroups,
            Move::Producers => OperationKind::FlipProducers,
            Move::All => OperationKind::FlipAll,
        };
        let progress = self.begin(route, kind)?;
        let work = execute::flip(
            self.clone(),
            route,
            request.what,
            request.to,
            plan.groups,
            progress.clone(),
        );
        self.run(route, &progress, work);
        Ok(Accepted::Started(progress.id))
    }

    /// What a flip would do now.
    async fn plan(&self, route: RouteId, request: &FlipRequest) -> Result<Plan, Refusal> {
        let snapshot = self.deps.routes.load_full();
        let state = snapshot
            .routes
            .get(route.0)
            .ok_or_else(|| Refusal::UnknownRoute(snapshot.table.name(route).to_owned()))?;
        if state.committed {
            return Err(Refusal::Shut(vec!["the route is committed".to_owned()]));
        }
        if state.home == request.to && request.what != Move::Groups {
            return Err(Refusal::Shut(vec![format!(
                "the route's producers are at the {} already",
                request.to
            )]));
        }
        let mut plan = Plan {
            groups: Vec::new(),
            groups_refused: Vec::new(),
            producers: request.what != Move::Groups,
            producers_refused: Vec::new(),
        };
        if request.what != Move::Producers {
            let known = self.groups(route).await;
            for group in &request.groups {
                if snapshot.table.group(group) != Some(route) {
                    let why = "it does not belong to this route".to_owned();
                    plan.groups_refused.push((group.clone(), why));
                } else if snapshot.group(group).home == request.to {
                    let why = format!("it is at the {} already", request.to);
                    plan.groups_refused.push((group.clone(), why));
                }
            }
            let wanted = |view: &&GroupView| {
                view.home != request.to
                    && (request.groups.is_empty() || request.groups.contains(&view.group))
            };
            for view in known.iter().filter(wanted) {
                match group::judge(&self.deps, &view.group, request.to.other()).await {
                    Err(unmovable) if !unmovable.passing => {
                        plan.groups_refused
                            .push((view.group.clone(), unmovable.why));
                    }
                    // What passes by itself is tried again by the operation.
                    _ => plan.groups.push(view.group.clone()),
                }
            }
        }
        if plan.producers {
            plan.producers_refused = self.refused(route, request.to).await;
        }
        Ok(plan)
    }

    /// Why the producers would be refused now.
    pub(super) async fn refused(&self, route: RouteId, to: Side) -> Vec<String> {
        gate::reasons(&facts::gather(&self.deps, &self.surveys, route, to).await)
    }

    /// Begins the commit of a route, or says why not.
    pub async fn commit(self: &Arc<Self>, name: &str) -> Result<OperationId, Refusal> {
        let route = self.by_name(name)?;
        let against = execute::against_commit(self, route).await;
        if !against.is_empty() {
            return Err(Refusal::Shut(against));
        }
        let progress = self.begin(route, OperationKind::Commit)?;
        let work = execute::commit(self.clone(), route, progress.clone());
        self.run(route, &progress, work);
        Ok(progress.id)
    }

    /// All operations of this process, newest last; old ones are forgotten.
    #[must_use]
    pub fn operations(&self) -> Vec<Operation> {
        self.operations.all()
    }

    /// One operation.
    #[must_use]
    pub fn operation(&self, id: &str) -> Option<Operation> {
        self.operations.get(id)
    }

    /// All routes in the configuration's order.
    pub async fn routes(&self) -> Vec<RouteView> {
        let names = self.deps.routes.load().table.names().to_vec();
        let mut views = Vec::with_capacity(names.len());
        for name in names {
            views.extend(self.route(&name).await);
        }
        views
    }

    /// The groups of a route, with what was last said of each.
    pub(super) async fn groups(&self, route: RouteId) -> Vec<GroupView> {
        let survey = self.surveys.get(&self.deps).await;
        let mut groups = survey.groups(&self.deps.routes.load_full(), route);
        if let Some(memory) = self.memory(route) {
            for view in &mut groups {
                view.reason = memory.refused.get(&view.group).map(|(_, why)| why.clone());
            }
        }
        groups
    }

    /// One route.
    pub async fn route(&self, name: &str) -> Option<RouteView> {
        let route = self.by_name(name).ok()?;
        let groups = self.groups(route).await;
        let snapshot = self.deps.routes.load_full();
        let state = snapshot.routes.get(route.0)?;
        let refused = if state.committed {
            vec!["the route is committed".to_owned()]
        } else {
            self.refused(route, state.home.other()).await
        };
        let lag = self
            .deps
            .replicator
            .lag(&|topic| snapshot.table.topic(topic) == Some(route));
        let (operation, last) = {
            let memory = self.memory(route)?;
            let operation = memory.running.as_ref().map(|running| running.id.clone());
            (operation, memory.last.clone())
        };
        let info = self.deps.policies.get(route.0).map_or_else(
            || Cutover::default().info(),
            |known| known.cutover.load().info(),
        );
        let topics = facts::topics(&self.deps, &snapshot, route);
        Some(RouteView {
            name: name.to_owned(),
            home: state.home,
            generation: state.generation.0,
            phase: match state.phase {
                Phase::Open => PhaseView::Open,
                Phase::Fenced => PhaseView::Fenced,
            },
            committed: state.committed,
            topics: topics.iter().map(ToString::to_string).collect(),
            groups,
            rollback: RollbackView::of(state.home, state.committed, &refused, lag.records),
            lag,
            policy: PolicyViews {
                cutover: CutoverView {
                    name: info.name,
                    digest: info.digest,
                    last,
                    faults: info.faults,
                    last_fault: info.last_fault,
                },
            },
            operation,
            refused,
        })
    }
}
