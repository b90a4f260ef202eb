//! Cutover: the next step of a route.

use wasmtime::Store;
use wasmtime::component::InstancePre;

use super::bindings::cutover as world;
use super::fault::{PolicyFault, printable};
use super::guest::Guest;
use super::instance::Loaded;
use super::limits::REASON_CHARS_MAX;
use super::question::{GroupState, OperationKind, Phase, Proposal, RouteStatus, Side};
use super::world::{Checked, Problem, World, trial_attributes};
use super::{PolicyInfo, bindings};
use world::exports::lockgate::policy::steps as wit;

/// Who decides the next step of a route.
pub enum Cutover {
    /// The operator, through the admin API.
    BuiltIn(Manual),
    /// A component.
    Wasm(Box<WasmCutover>),
}

/// The built-in cutover policy: every step is the operator's.
#[derive(Clone, Copy, Debug, Default)]
pub struct Manual;

/// A cutover policy in WASM.
pub struct WasmCutover(pub(super) Loaded<world::Cutover>);

impl Default for Cutover {
    fn default() -> Self {
        Self::BuiltIn(Manual)
    }
}

impl Cutover {
    /// What is to happen next on a route.
    pub async fn next_step(&self, status: &RouteStatus) -> Result<Proposal, PolicyFault> {
        match self {
            Self::BuiltIn(manual) => Ok(manual.next_step()),
            Self::Wasm(policy) => policy.0.ask(status).await,
        }
    }

    /// Who decides, and how it fares.
    pub fn info(&self) -> PolicyInfo {
        match self {
            Self::BuiltIn(_) => PolicyInfo::built_in("manual"),
            Self::Wasm(policy) => policy.0.info(),
        }
    }
}

impl Manual {
    /// Always to wait.
    pub fn next_step(self) -> Proposal {
        Proposal::Wait("every step is the operator's".to_owned())
    }
}

impl World for world::Cutover {
    const NAME: &'static str = "cutover";
    const INTERFACE: &'static str = "steps";
    const QUESTION: &'static str = "next_step";
    type Pre = world::CutoverPre<Guest>;
    type Question = RouteStatus;
    type Answer = Proposal;

    fn pre(linked: InstancePre<Guest>) -> wasmtime::Result<Self::Pre> {
        world::CutoverPre::new(linked)
    }

    async fn instantiate(pre: &Self::Pre, store: &mut Store<Guest>) -> wasmtime::Result<Self> {
        pre.instantiate_async(store).await
    }

    async fn configure(
        &self,
        store: &mut Store<Guest>,
        config: &str,
    ) -> wasmtime::Result<Vec<Problem>> {
        let problems = self
            .lockgate_policy_steps()
            .call_configure(store, config)
            .await?;
        Ok(problems
            .into_iter()
            .map(|problem| Problem {
                path: problem.path,
                message: problem.message,
            })
            .collect())
    }

    async fn ask(
        &self,
        store: &mut Store<Guest>,
        status: &RouteStatus,
    ) -> wasmtime::Result<Checked<Proposal>> {
        let proposal = self
            .lockgate_policy_steps()
            .call_next_step(store, &lower(status))
            .await?;
        Ok(lift(proposal, status))
    }

    fn trial(status: &RouteStatus) -> RouteStatus {
        RouteStatus {
            attributes: trial_attributes(&status.attributes),
            ..status.clone()
        }
    }
}

/// Groups that are not of this route make the whole proposal unusable: it was meant for another state of things.
fn lift(proposal: wit::Proposal, status: &RouteStatus) -> Checked<Proposal> {
    Ok(match proposal {
        wit::Proposal::Wait(reason) => Proposal::Wait(printable(&reason, REASON_CHARS_MAX)),
        wit::Proposal::Hold(reason) => Proposal::Hold(printable(&reason, REASON_CHARS_MAX)),
        wit::Proposal::MoveProducers => Proposal::MoveProducers,
        wit::Proposal::RollBack => Proposal::RollBack,
        wit::Proposal::MoveGroups(groups) => {
            let is_of_route =
                |group: &&String| status.groups.iter().any(|known| known.name == **group);
            if let Some(stranger) = groups.iter().find(|group| !is_of_route(group)) {
                return Err(format!(
                    "group `{stranger}` is not a group of route `{}`",
                    status.name
                ));
            }
            Proposal::MoveGroups(groups)
        }
    })
}

fn lower(status: &RouteStatus) -> wit::RouteStatus {
    wit::RouteStatus {
        name: status.name.clone(),
        generation: status.generation,
        home: side(status.home),
        phase: phase(status.phase),
        now_ms: status.now_ms,
        groups: status.groups.iter().map(group).collect(),
        lag: lag(&status.lag),
        groups_moved: status.groups_moved,
        producers_moved: status.producers_moved,
        operation: status.operation.as_ref().map(operation),
        attributes: status.attributes.clone(),
    }
}

/// A cluster, in the words of the shared types.
pub(super) fn side(side: Side) -> bindings::cutover::lockgate::policy::types::Cluster {
    use bindings::cutover::lockgate::policy::types::Cluster;
    match side {
        Side::Source => Cluster::Source,
        Side::Destination => Cluster::Destination,
    }
}

fn phase(phase: Phase) -> wit::Phase {
    match phase {
        Phase::AtSource => wit::Phase::AtSource,
        Phase::MovingGroups => wit::Phase::MovingGroups,
        Phase::GroupsMoved => wit::Phase::GroupsMoved,
        Phase::MovingProducers => wit::Phase::MovingProducers,
        Phase::AtDestination => wit::Phase::AtDestination,
        Phase::RollingBack => wit::Phase::RollingBack,
        Phase::Committed => wit::Phase::Committed,
    }
}

fn group(group: &super::question::GroupStatus) -> wit::GroupStatus {
    let state = match group.state {
        GroupState::Unknown => wit::GroupState::Unknown,
        GroupState::Empty => wit::GroupState::Empty,
        GroupState::PreparingRebalance => wit::GroupState::PreparingRebalance,
        GroupState::CompletingRebalance => wit::GroupState::CompletingRebalance,
        GroupState::Stable => wit::GroupState::Stable,
        GroupState::Dead => wit::GroupState::Dead,
    };
    wit::GroupStatus {
        name: group.name.clone(),
        home: side(group.home),
        state,
        members: group.members,
    }
}

fn lag(lag: &super::question::LagSummary) -> wit::LagSummary {
    let stopped = lag.stopped.iter().map(|link| wit::StoppedLink {
        topic: link.topic.clone(),
        partition: link.partition,
        reason: link.reason.clone(),
    });
    let recent = lag.recent.iter().map(|sample| wit::LagSample {
        at_ms: sample.at_ms,
        max_records: sample.max_records,
        max_ms: sample.max_ms,
    });
    wit::LagSummary {
        links: lag.links,
        measured: lag.measured,
        max_records: lag.max_records,
        max_ms: lag.max_ms,
        worst: lag.worst.clone(),
        total_records: lag.total_records,
        stopped: stopped.collect(),
        recent: recent.collect(),
    }
}

fn operation(operation: &super::question::OpenOperation) -> wit::Operation {
    let kind = match operation.kind {
        OperationKind::MoveGroups => wit::OperationKind::MoveGroups,
        OperationKind::MoveProducers => wit::OperationKind::MoveProducers,
        OperationKind::MoveAll => wit::OperationKind::MoveAll,
        OperationKind::RollBack => wit::OperationKind::RollBack,
        OperationKind::Commit => wit::OperationKind::Commit,
    };
    wit::Operation {
        id: operation.id.clone(),
        kind,
        step: operation.step.clone(),
        started_ms: operation.started_ms,
    }
}
