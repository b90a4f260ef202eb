//! A request of a classic group on its way: to the desk where the group has one, else to the coordinator at the
//! group's home. NOT_COORDINATOR makes some clients repeat records, so a group that moved is forwarded to instead.

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use kafka_protocol::ResponseError;

use super::ask::{self, CoordinatorKey, Errand};
use super::exchange::Exchange;
use super::handle::Call;
use super::{cluster, heartbeat, join_group, leave_group, offset_commit, offset_fetch, sync_group};
use crate::error::{Error, Result};
use crate::flip::{GroupCall, GroupDesk, GroupRequest, GroupResponse, PendingVerdict, Verdict};
use crate::route::{Permit, Snapshot};
use crate::words::Side;

/// Answers one request of a group.
pub(super) async fn serve(
    exchange: &Exchange<'_>,
    call: Call<'_>,
    group: &str,
    request: GroupRequest,
) -> Result<GroupResponse> {
    let (snapshot, permit) = decide_under(exchange, &request);
    if cluster::is_own_group(&snapshot, group) {
        give_back(permit);
        let code = ResponseError::GroupAuthorizationFailed.code();
        return Ok(refused(&request, code));
    }
    let begins = matches!(request, GroupRequest::Join(_) | GroupRequest::Commit(_));
    if begins && snapshot.is_born_behind_fence(group) {
        give_back(permit);
        // Every client tries again after this one; by then the route has a home.
        let code = ResponseError::CoordinatorLoadInProgress.code();
        return Ok(refused(&request, code));
    }
    let place = snapshot.group(group);
    let unavailable = refused(&request, ResponseError::CoordinatorNotAvailable.code());
    let served = match &place.desk {
        Some(desk) => at_desk(exchange, call, desk, group, request).await,
        None => send(exchange, call, place.home, group, &request, false).await,
    };
    match served {
        Ok(answer) => {
            give_back(permit);
            Ok(answer)
        }
        // The permit is dropped unanswered: the commit may still be executed, and the drain is told so.
        Err(error) if ask::found_none(&error) => {
            tracing::debug!(group, %error, "a group's request could not be delivered");
            Ok(unavailable)
        }
        Err(error) => Err(error),
    }
}

/// The snapshot of this moment; requests that commit offsets hold a permit of it.
fn decide_under(
    exchange: &Exchange<'_>,
    request: &GroupRequest,
) -> (Arc<Snapshot>, Option<Permit>) {
    match request {
        GroupRequest::Commit(_) => {
            let (snapshot, permit) = exchange.routes.load_with_commit_permit();
            (Arc::clone(&snapshot), Some(permit))
        }
        _ => (exchange.routes.load_full(), None),
    }
}

fn give_back(permit: Option<Permit>) {
    if let Some(permit) = permit {
        permit.answered();
    }
}

async fn at_desk(
    exchange: &Exchange<'_>,
    call: Call<'_>,
    desk: &GroupDesk,
    group: &str,
    request: GroupRequest,
) -> Result<GroupResponse> {
    let pending = desk.submit(GroupCall {
        connection: exchange.connection,
        client_id: call.client_id.map(Arc::from),
        client_host: exchange.client.host,
        version: call.version,
        request,
    });
    match verdict(exchange, pending).await? {
        Verdict::Forward {
            side,
            request,
            ticket,
        } => {
            let answer = send(exchange, call, side, group, &request, true).await?;
            if let Some(ticket) = ticket {
                // A desk that stopped waiting has gone on without this answer.
                let _ = ticket.0.send(answer.clone());
            }
            Ok(answer)
        }
        Verdict::Answer(answer) => Ok(answer),
        Verdict::Close => Err(Error::refused(format!(
            "a request of group {group:?} came that cannot be answered while the group moves"
        ))),
    }
}

/// Waits for the verdict, and tells the desk when another frame of the client waits behind this request.
async fn verdict(exchange: &Exchange<'_>, pending: PendingVerdict) -> Result<Verdict> {
    let PendingVerdict { mut verdict, nudge } = pending;
    let mut queued = exchange.queued.clone();
    let mut nudge = nudge;
    let decided = tokio::select! {
        biased;
        decided = &mut verdict => decided,
        waits = async { queued.wait_for(|waits| *waits).await.is_ok() } => {
            if waits && let Some(nudge) = nudge.take() {
                let _ = nudge.send(());
            }
            // Without a sender nothing more is read from this client; the verdict is still awaited.
            verdict.await
        }
    };
    drop(nudge);
    decided.map_err(|_| Error::internal("the group's desk went away"))
}

/// Sends a request to the group's coordinator on a side.
async fn send(
    exchange: &Exchange<'_>,
    call: Call<'_>,
    side: Side,
    group: &str,
    request: &GroupRequest,
    insist: bool,
) -> Result<GroupResponse> {
    let errand = Errand {
        side,
        key: CoordinatorKey::Group(group),
        version: call.version,
        answer_max: answer_max(request),
        insist,
    };
    match request {
        GroupRequest::Join(join) => ask::coordinator(exchange, errand, join, join_group::error)
            .await
            .map(GroupResponse::Join),
        GroupRequest::Sync(sync) => ask::coordinator(exchange, errand, sync, sync_group::error)
            .await
            .map(GroupResponse::Sync),
        GroupRequest::Heartbeat(beat) => ask::coordinator(exchange, errand, beat, heartbeat::error)
            .await
            .map(GroupResponse::Heartbeat),
        GroupRequest::Leave(leave) => ask::coordinator(exchange, errand, leave, leave_group::error)
            .await
            .map(GroupResponse::Leave),
        GroupRequest::Commit(commit) => {
            ask::coordinator(exchange, errand, commit, offset_commit::error)
                .await
                .map(GroupResponse::Commit)
        }
        GroupRequest::Fetch(fetch) => {
            ask::coordinator(exchange, errand, fetch, offset_fetch::error)
                .await
                .map(GroupResponse::Fetch)
        }
    }
}

/// A coordinator holds JoinGroup for the rebalance timeout and SyncGroup until the leader's came.
fn answer_max(request: &GroupRequest) -> Duration {
    /// A rebalance longer than an hour is not waited for.
    const REBALANCE_MAX: Duration = Duration::from_secs(3600);
    let held = match request {
        GroupRequest::Join(join) => {
            let longest = join.rebalance_timeout_ms.max(join.session_timeout_ms);
            Duration::from_millis(u64::try_from(longest).unwrap_or(0))
        }
        GroupRequest::Sync(_) => Duration::from_secs(300),
        _ => Duration::ZERO,
    };
    held.min(REBALANCE_MAX) + ask::ANSWER_MAX
}

/// An answer that carries nothing but an error.
pub(super) fn refused(request: &GroupRequest, code: i16) -> GroupResponse {
    match request {
        GroupRequest::Join(join) => GroupResponse::Join(join_group::refused(join, code)),
        GroupRequest::Sync(_) => GroupResponse::Sync(sync_group::refused(code)),
        GroupRequest::Heartbeat(_) => GroupResponse::Heartbeat(heartbeat::refused(code)),
        GroupRequest::Leave(_) => GroupResponse::Leave(leave_group::refused(code)),
        GroupRequest::Commit(commit) => GroupResponse::Commit(offset_commit::refused(commit, code)),
        GroupRequest::Fetch(fetch) => GroupResponse::Fetch(offset_fetch::refused(fetch, code)),
    }
}

/// The desk answered one kind of request with the answer of another.
pub(super) fn mismatched() -> Error {
    Error::internal("a group's desk gave an answer of another API")
}
