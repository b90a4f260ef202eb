//! Asks the cutover policies once a second. A policy proposes, Lockgate disposes: what it proposes goes through the
//! same gates as an operator's request.

use std::collections::HashSet;
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::facts;
use super::operation::{OperationKind, now_ms};
use super::request::{FlipRequest, Move};
use super::service::Service;
use super::view::{GroupView, LastProposal};
use crate::policy::Cutover;
use crate::policy::question::{
    self, GroupState, GroupStatus, LagSample, LagSummary, OpenOperation, Proposal, RouteStatus,
    StoppedLink,
};
use crate::replicator::{LinkState, LinkStatus};
use crate::route::{Phase, RouteId, RouteState};
use crate::words::Side;

const TICK: Duration = Duration::from_secs(1);
/// A group that was refused is not tried again by a policy before this.
const GROUP_REST: Duration = Duration::from_secs(10);

/// Begins the ticks of all routes; they end with the service.
pub(super) fn start(service: &Arc<Service>) {
    let routes = service.deps.routes.load().routes.len();
    for route in (0..routes).map(RouteId) {
        tokio::spawn(ticks(Arc::downgrade(service), route));
    }
}

async fn ticks(service: Weak<Service>, route: RouteId) {
    loop {
        tokio::time::sleep(TICK).await;
        let Some(service) = service.upgrade() else {
            return;
        };
        tick(&service, route).await;
    }
}

async fn tick(service: &Arc<Service>, route: RouteId) {
    let Some(policies) = service.deps.policies.get(route.0) else {
        return;
    };
    let cutover = policies.cutover.load_full();
    let status = match cutover.as_ref() {
        // Nobody looks at the status, and coordinators need not be asked for it.
        Cutover::BuiltIn(_) => RouteStatus::at_source("", 0, 0),
        Cutover::Wasm(_) => match status(service, route).await {
            Some(status) => status,
            None => return,
        },
    };
    match cutover.next_step(&status).await {
        Ok(proposal) => consider(service, route, &status, proposal).await,
        Err(fault) => remember(service, route, "fault", Some(fault.to_string())),
    }
}

/// Notes what a policy said; the log hears of it when it changes.
fn remember(service: &Service, route: RouteId, proposal: &str, reason: Option<String>) {
    let name = service.deps.routes.load().table.name(route).to_owned();
    let Some(mut memory) = service.memory(route) else {
        return;
    };
    let same = memory
        .last
        .as_ref()
        .is_some_and(|last| last.proposal == proposal && last.reason == reason);
    if same {
        return;
    }
    let news = memory
        .last
        .as_ref()
        .is_none_or(|last| last.proposal != proposal);
    if news {
        tracing::info!(route = name, proposal, reason, "the cutover policy's word");
    }
    memory.last = Some(LastProposal {
        proposal: proposal.to_owned(),
        reason,
        at_ms: now_ms(),
    });
}

async fn consider(
    service: &Arc<Service>,
    route: RouteId,
    status: &RouteStatus,
    proposal: Proposal,
) {
    let (word, request) = match proposal {
        Proposal::Wait(why) => return remember(service, route, "wait", Some(why)),
        Proposal::Hold(why) => return remember(service, route, "hold", Some(why)),
        Proposal::RollBack => {
            let why = "refused: rollback is not built yet".to_owned();
            return remember(service, route, "roll-back", Some(why));
        }
        Proposal::MoveGroups(groups) => {
            let groups = groups_to_try(service, route, status, &groups);
            if groups.is_empty() {
                return;
            }
            ("move-groups", request(Move::Groups, groups))
        }
        Proposal::MoveProducers => ("move-producers", request(Move::Producers, Vec::new())),
    };
    if status.operation.is_some() {
        return;
    }
    // The answer belongs to the generation that was asked about.
    let current = service
        .deps
        .routes
        .load()
        .routes
        .get(route.0)
        .map(|state| state.generation.0);
    if current != Some(status.generation) {
        return;
    }
    let reason = match service.flip(&status.name, request).await {
        Ok(_) => None,
        Err(refusal) => Some(format!("refused: {refusal}")),
    };
    remember(service, route, word, reason);
}

fn request(what: Move, groups: Vec<String>) -> FlipRequest {
    FlipRequest {
        what,
        groups,
        to: Side::Destination,
        dry_run: false,
    }
}

/// The proposed groups that are at the source and were not refused a moment ago; none proposed means all.
fn groups_to_try(
    service: &Service,
    route: RouteId,
    status: &RouteStatus,
    proposed: &[String],
) -> Vec<String> {
    let Some(memory) = service.memory(route) else {
        return Vec::new();
    };
    let proposed: HashSet<&String> = proposed.iter().collect();
    status
        .groups
        .iter()
        .filter(|group| group.home == question::Side::Source)
        .filter(|group| proposed.is_empty() || proposed.contains(&group.name))
        .filter(|group| {
            memory
                .refused
                .get(&group.name)
                .is_none_or(|(at, _)| at.elapsed() >= GROUP_REST)
        })
        .map(|group| group.name.clone())
        .collect()
}

async fn status(service: &Service, route: RouteId) -> Option<RouteStatus> {
    let groups = service.groups(route).await;
    let snapshot = service.deps.routes.load_full();
    let state = snapshot.routes.get(route.0)?;
    let links = facts::links(&service.deps, &snapshot, route);
    let now_ms = now_ms();
    let mut memory = service.memory(route)?;
    let running = memory
        .running
        .as_ref()
        .and_then(|progress| service.operation(&progress.id.0))
        .map(|operation| (operation.kind, open_operation(&operation)));
    let mut lag = lag(&links);
    lag.recent = memory.lags.samples();
    memory.lags.push(LagSample {
        at_ms: now_ms,
        max_records: lag.max_records,
        max_ms: lag.max_ms,
    });
    let groups_moved = groups.iter().all(|group| group.home == Side::Destination);
    Some(RouteStatus {
        name: snapshot.table.name(route).to_owned(),
        generation: state.generation.0,
        home: side(state.home),
        phase: phase(state, groups_moved, running.as_ref().map(|(kind, _)| *kind)),
        now_ms,
        groups: groups.iter().map(group_status).collect(),
        lag,
        groups_moved,
        producers_moved: state.home == Side::Destination,
        operation: running.map(|(_, operation)| operation),
        attributes: Vec::new(),
    })
}

fn side(side: Side) -> question::Side {
    match side {
        Side::Source => question::Side::Source,
        Side::Destination => question::Side::Destination,
    }
}

fn phase(
    state: &RouteState,
    groups_moved: bool,
    running: Option<OperationKind>,
) -> question::Phase {
    match (state.home, running) {
        _ if state.committed => question::Phase::Committed,
        (Side::Destination, _) => question::Phase::AtDestination,
        _ if state.phase == Phase::Fenced => question::Phase::MovingProducers,
        (_, Some(OperationKind::FlipProducers)) => question::Phase::MovingProducers,
        (_, Some(OperationKind::FlipGroups | OperationKind::FlipAll)) => {
            question::Phase::MovingGroups
        }
        _ if groups_moved => question::Phase::GroupsMoved,
        _ => question::Phase::AtSource,
    }
}

fn open_operation(operation: &super::Operation) -> OpenOperation {
    OpenOperation {
        id: operation.id.0.clone(),
        kind: match operation.kind {
            OperationKind::FlipGroups => question::OperationKind::MoveGroups,
            OperationKind::FlipProducers => question::OperationKind::MoveProducers,
            OperationKind::FlipAll => question::OperationKind::MoveAll,
            OperationKind::Commit => question::OperationKind::Commit,
        },
        step: operation
            .steps
            .last()
            .map(|step| step.name.clone())
            .unwrap_or_default(),
        started_ms: operation.started_ms,
    }
}

fn group_status(view: &GroupView) -> GroupStatus {
    GroupStatus {
        name: view.group.clone(),
        home: side(view.home),
        state: match view.state.as_str() {
            "Empty" => GroupState::Empty,
            "PreparingRebalance" => GroupState::PreparingRebalance,
            "CompletingRebalance" => GroupState::CompletingRebalance,
            "Stable" => GroupState::Stable,
            "Dead" => GroupState::Dead,
            _ => GroupState::Unknown,
        },
        members: u32::try_from(view.members).unwrap_or(u32::MAX),
    }
}

fn lag(links: &[LinkStatus]) -> LagSummary {
    let records = |link: &LinkStatus| u64::try_from(link.lag_records).unwrap_or(0);
    let worst = links.iter().max_by_key(|link| records(link));
    let measured = |link: &&LinkStatus| {
        matches!(
            link.state,
            LinkState::Copying | LinkState::Sealed | LinkState::Retired
        )
    };
    let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    LagSummary {
        links: count(links.len()),
        measured: count(links.iter().filter(measured).count()),
        max_records: worst.map_or(0, records),
        max_ms: links
            .iter()
            .map(|link| u64::try_from(link.lag_ms).unwrap_or(0))
            .max()
            .unwrap_or(0),
        worst: worst
            .filter(|link| link.lag_records > 0)
            .map(|link| link.at().to_string()),
        total_records: links.iter().map(records).sum(),
        stopped: links
            .iter()
            .filter_map(|link| match &link.state {
                LinkState::Stopped(reason) => Some(StoppedLink {
                    topic: link.topic.clone(),
                    partition: u32::try_from(link.partition).ok()?,
                    reason: reason.clone(),
                }),
                _ => None,
            })
            .collect(),
        recent: Vec::new(),
    }
}
