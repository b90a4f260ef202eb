//! Joins the new home for members whose JoinGroup is parked.

use std::time::Duration;

use kafka_protocol::messages::{JoinGroupRequest, JoinGroupResponse};
use kafka_protocol::protocol::StrBytes;

use super::answers::MEMBER_ID_REQUIRED;
use super::call_as::call_as;
use crate::error::Result;
use crate::flip::desk::{GroupCall, GroupRequest};
use crate::flip::survey;
use crate::upstream::Cluster;

const ATTEMPTS_MAX: usize = 5;
const RETRY_PAUSE: Duration = Duration::from_millis(100);
/// A join is answered when the rebalance ends; beyond this the client is sent away to try by itself.
const JOIN_MAX: Duration = Duration::from_secs(90);
const REGISTERED_MAX: Duration = Duration::from_secs(3);
const REGISTERED_POLL: Duration = Duration::from_millis(20);

/// NOT_COORDINATOR, COORDINATOR_NOT_AVAILABLE, COORDINATOR_LOAD_IN_PROGRESS.
const MOVED_OR_LOADING: [i16; 3] = [16, 15, 14];

/// Joins for one parked request, on a connection of its own (a JoinGroup blocks everything behind it). None where
/// that failed for good.
pub(super) async fn join(
    cluster: &Cluster,
    group: &str,
    call: GroupCall,
) -> Option<JoinGroupResponse> {
    let GroupRequest::Join(request) = &call.request else {
        return None;
    };
    for _ in 0..ATTEMPTS_MAX {
        match join_once(cluster, group, &call, request.clone()).await {
            Ok(response) if MOVED_OR_LOADING.contains(&response.error_code) => {}
            Ok(response) => return Some(response),
            Err(error) => {
                tracing::warn!(group, %error, "a join at the new home failed");
                if !error.is_retriable() {
                    return None;
                }
            }
        }
        tokio::time::sleep(RETRY_PAUSE).await;
    }
    None
}

async fn join_once(
    cluster: &Cluster,
    group: &str,
    call: &GroupCall,
    mut request: JoinGroupRequest,
) -> Result<JoinGroupResponse> {
    request.member_id = StrBytes::default();
    let node = cluster.coordinator(0, group).await?;
    let connection = cluster.dedicated(node).await?;
    let client_id = || call.client_id.clone();
    let response = call_as(&connection, client_id(), &request, call.version, JOIN_MAX).await?;
    if response.error_code != MEMBER_ID_REQUIRED {
        return Ok(response);
    }
    request.member_id = response.member_id;
    call_as(&connection, client_id(), &request, call.version, JOIN_MAX).await
}

/// Waits until the new home counts so many members, or long enough: then the placeholder holds up the rebalance more
/// than a member that joins a little late would.
pub(super) async fn registered(cluster: &Cluster, group: &str, members: usize) {
    let poll = async {
        loop {
            if let Ok(described) = survey::describe(cluster, group).await
                && described.members.len() >= members
            {
                return;
            }
            tokio::time::sleep(REGISTERED_POLL).await;
        }
    };
    if tokio::time::timeout(REGISTERED_MAX, poll).await.is_err() {
        tracing::warn!(
            group,
            members,
            "not all members have joined the new home yet"
        );
    }
}
