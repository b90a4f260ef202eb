//! The work of operations, step by step, and what stands against a commit.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::facts;
use super::group::{self, MoveFailure};
use super::journal::{Record, RouteRecord, put_route};
use super::operation::{OperationState, Progress};
use super::producers::{self, machine::Outcome};
use super::request::Move;
use super::service::Service;
use crate::route::{RouteId, Snapshot};
use crate::state::CopyOrder;
use crate::words::Side;

/// How often one operation tries a group that is refused or put back.
const GROUP_ATTEMPTS_MAX: usize = 3;
const GROUP_RETRY: Duration = Duration::from_secs(2);
/// Groups that are remembered with a reason, per route.
const REASONS_MAX: usize = 1_000;
/// Who fetched from the source within this time still reads there.
const READS_WITHIN: Duration = Duration::from_secs(10);
/// Right after the groups, lag and replicas may need a moment; the gate is asked again for so long.
const GATE_MAX: Duration = Duration::from_secs(15);
const GATE_POLL: Duration = Duration::from_millis(500);

/// Moves groups, then producers, as asked.
pub(super) async fn flip(
    service: Arc<Service>,
    route: RouteId,
    what: Move,
    to: Side,
    groups: Vec<String>,
    progress: Progress,
) {
    let failed = move_groups(&service, route, &groups, &progress).await;
    if !failed.is_empty() {
        progress.end(OperationState::Failed, Some(failed.join("; ")));
        return;
    }
    if what == Move::Groups {
        progress.end(OperationState::Done, None);
        return;
    }
    service.surveys.forget().await;
    progress.step("gate");
    let against = wait_for_gate(&service, route, what, to).await;
    if !against.is_empty() {
        progress.end(OperationState::Failed, Some(against.join("; ")));
        return;
    }
    let snapshot = service.deps.routes.load_full();
    let topics = facts::topics(&service.deps, &snapshot, route);
    let moved = producers::move_producers(&service.deps, route, to, topics, &progress);
    match moved.await {
        Outcome::Moved => progress.end(OperationState::Done, None),
        Outcome::Lifted(why) => progress.end(OperationState::Lifted, Some(why)),
    }
}

async fn wait_for_gate(service: &Service, route: RouteId, what: Move, to: Side) -> Vec<String> {
    let began = Instant::now();
    loop {
        // Topics and leaders as they are now, not as of the last refresh.
        for side in Side::BOTH {
            if let Err(error) = service.deps.clusters.on(side).refresh().await {
                return vec![error.to_string()];
            }
        }
        let against = service.refused(route, to).await;
        if against.is_empty() || what == Move::Producers || began.elapsed() >= GATE_MAX {
            return against;
        }
        tokio::time::sleep(GATE_POLL).await;
    }
}

/// Moves groups one after the other; the reasons of those that did not move.
async fn move_groups(
    service: &Service,
    route: RouteId,
    groups: &[String],
    progress: &Progress,
) -> Vec<String> {
    let mut failed = Vec::new();
    for group in groups {
        if is_moved(&service.deps.routes.load(), group) {
            continue;
        }
        let result = move_group(service, route, group, progress).await;
        let outcome = if result.is_ok() { "done" } else { "failed" };
        metrics::counter!("lockgate_flips_total", "kind" => "group", "outcome" => outcome)
            .increment(1);
        if let Some(mut memory) = service.memory(route) {
            memory.refused.remove(group);
            if let Err(why) = &result
                && memory.refused.len() < REASONS_MAX
            {
                let refused = (Instant::now(), why.clone());
                memory.refused.insert(group.clone(), refused);
            }
        }
        if let Err(why) = result {
            tracing::warn!(group, %why, "the group did not move");
            failed.push(format!("group {group:?}: {why}"));
        }
    }
    failed
}

/// Another operation may have moved a group between the plan and the beginning of this one. Moved again it would get
/// the offsets that it left behind, and lose what it has committed since.
fn is_moved(snapshot: &Snapshot, group: &str) -> bool {
    snapshot.group(group).home == Side::Destination
}

async fn move_group(
    service: &Service,
    route: RouteId,
    group: &str,
    progress: &Progress,
) -> Result<(), String> {
    let mut why = String::new();
    for attempt in 0..GROUP_ATTEMPTS_MAX {
        if attempt > 0 {
            tokio::time::sleep(GROUP_RETRY).await;
        }
        match group::move_group(&service.deps, route, group, Side::Destination, progress).await {
            Ok(()) => return Ok(()),
            Err(MoveFailure::Refused(reason)) => {
                // What does not pass by itself is not tried again.
                let judged = group::judge(&service.deps, group, Side::Source).await;
                if judged.is_err_and(|unmovable| !unmovable.passing) {
                    return Err(reason);
                }
                why = reason;
            }
            // The members have just been through a rebalance for nothing; once is enough.
            Err(MoveFailure::Undone(reason)) => return Err(reason),
        }
    }
    Err(why)
}

/// Every reason against committing a route.
pub(super) async fn against_commit(service: &Service, route: RouteId) -> Vec<String> {
    let snapshot = service.deps.routes.load_full();
    let mut against = Vec::new();
    let Some(state) = snapshot.routes.get(route.0) else {
        return vec!["there is no such route".to_owned()];
    };
    if state.home == Side::Source {
        against.push("the route's producers are at the source".to_owned());
    }
    let at_source: Vec<String> = service
        .groups(route)
        .await
        .into_iter()
        // A group that is gone has nothing to lose there.
        .filter(|group| group.home == Side::Source && group.state != "Dead")
        .map(|group| group.group)
        .collect();
    if !at_source.is_empty() {
        against.push(format!(
            "groups are at the source: {}",
            at_source.join(", ")
        ));
    }
    let readers = service
        .deps
        .clients
        .readers(route, Side::Source, READS_WITHIN);
    if !readers.is_empty() {
        let names: Vec<String> = readers.into_iter().map(|reader| reader.client).collect();
        against.push(format!("clients read at the source: {}", names.join(", ")));
    }
    against
}

/// Closes the way back. A route that is committed already gets its final settings again.
pub(super) async fn commit(service: Arc<Service>, route: RouteId, progress: Progress) {
    let deps = &service.deps;
    let snapshot = deps.routes.load_full();
    let Some(state) = snapshot.routes.get(route.0) else {
        progress.end(
            OperationState::Failed,
            Some("there is no such route".to_owned()),
        );
        return;
    };
    let mut record = RouteRecord::of(state);
    if !record.committed {
        progress.step("journal");
        record.committed = true;
        record.generation = record.generation.next();
        let name = snapshot.table.name(route);
        // The state of a committed route counts at the destination alone.
        let order = CopyOrder::Enough(Side::Destination);
        let written = put_route(&deps.store, Record::Commit, name, record, None, order).await;
        if let Err(error) = written {
            progress.end(OperationState::Failed, Some(error.to_string()));
            return;
        }
    }
    progress.step("settings");
    let topics = facts::topics(deps, &snapshot, route);
    let settled = deps.replicator.apply_final_settings(&topics).await;
    progress.step("publish");
    deps.routes.update(|snapshot| {
        if let Some(state) = snapshot.routes.get_mut(route.0) {
            *state = record.state();
        }
    });
    deps.replicator.retire(&topics, Side::Destination);
    if deps.routes.load().source_leaving() {
        deps.store.destination_counts_alone();
    }
    match settled {
        Ok(()) => progress.end(OperationState::Done, None),
        Err(error) => {
            let why = format!(
                "the route is committed, but its topics' final settings were not applied ({error}); commit again"
            );
            progress.end(OperationState::Failed, Some(why));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flip::testing::snapshot;
    use crate::route::GroupPlace;

    #[test]
    fn a_group_that_another_operation_moved_is_left_alone() {
        let mut snapshot = snapshot();
        assert!(!is_moved(&snapshot, "g"));
        let place = |home| GroupPlace { home, desk: None };
        let groups = Arc::make_mut(&mut snapshot.groups);
        groups.insert("g".into(), place(Side::Destination));
        groups.insert("h".into(), place(Side::Source));
        assert!(is_moved(&snapshot, "g"));
        assert!(!is_moved(&snapshot, "h"));
    }
}
