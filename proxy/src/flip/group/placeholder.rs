//! The placeholder member: Lockgate's own member in the group's new home, so that the group there is not empty and
//! its initial rebalance delay (3 s by default) is over before any client waits for it.

use std::sync::Arc;
use std::time::Duration;

use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::{
    GroupId, HeartbeatRequest, JoinGroupRequest, LeaveGroupRequest, SyncGroupRequest,
};
use kafka_protocol::protocol::StrBytes;
use tokio::task::JoinHandle;

use super::answers::{CONSUMER, MEMBER_ID_REQUIRED};
use super::call_as::{call_as, version};
use super::eligible::Movable;
use crate::error::{Error, Result};
use crate::flip::survey;
use crate::upstream::{Cluster, Connection, Target};

/// The client id by which placeholders are told from everybody else's members.
pub(super) const CLIENT_ID: &str = "lockgate-placeholder";
const SESSION_TIMEOUT_MS: i32 = 10_000;
const REBALANCE_TIMEOUT_MS: i32 = 60_000;
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(2);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// The initial rebalance delay is 3 s by default and grows with late joiners up to the rebalance timeout.
const JOIN_TIMEOUT: Duration = Duration::from_secs(65);

/// A placeholder that is in its group.
#[derive(Debug)]
pub(super) struct Placeholder {
    pub(super) member_id: StrBytes,
    pub(super) generation: i32,
    group: GroupId,
    connection: Connection,
    heartbeats: JoinHandle<()>,
}

impl Drop for Placeholder {
    fn drop(&mut self) {
        self.heartbeats.abort();
    }
}

pub(super) fn group_id(group: &str) -> GroupId {
    GroupId(StrBytes::from_string(group.to_owned()))
}

impl Placeholder {
    /// Joins the group as its only member, with what a real member says of itself.
    pub(super) async fn join(cluster: &Cluster, group: &str, movable: &Movable) -> Result<Self> {
        let node = cluster.coordinator(0, group).await?;
        let connection = cluster.dedicated(node).await?;
        let protocol = JoinGroupRequestProtocol::default()
            .with_name(StrBytes::from_string(movable.protocol.clone()))
            .with_metadata(movable.metadata.clone());
        let mut join = JoinGroupRequest::default()
            .with_group_id(group_id(group))
            .with_session_timeout_ms(SESSION_TIMEOUT_MS)
            .with_rebalance_timeout_ms(REBALANCE_TIMEOUT_MS)
            .with_protocol_type(StrBytes::from_static_str(CONSUMER))
            .with_protocols(vec![protocol]);
        let client_id = || Some(Arc::from(CLIENT_ID));
        let join_version = version::<JoinGroupRequest>(&connection, i16::MAX)?;
        let mut joined =
            call_as(&connection, client_id(), &join, join_version, JOIN_TIMEOUT).await?;
        if joined.error_code == MEMBER_ID_REQUIRED {
            join.member_id = joined.member_id.clone();
            joined = call_as(&connection, client_id(), &join, join_version, JOIN_TIMEOUT).await?;
        }
        let failed = |code: i16, what: &str| {
            Error::kafka(
                cluster.side(),
                code,
                format!("{what} group {group:?} as a placeholder"),
            )
        };
        if joined.error_code != 0 {
            return Err(failed(joined.error_code, "joining"));
        }
        let member_id = joined.member_id.clone();
        let generation = joined.generation_id;
        // The only member is the leader; an assignment without anything in it is enough to make the group stable.
        let mut sync = SyncGroupRequest::default()
            .with_group_id(group_id(group))
            .with_generation_id(generation)
            .with_member_id(member_id.clone());
        let sync_version = version::<SyncGroupRequest>(&connection, i16::MAX)?;
        if sync_version >= 5 {
            sync.protocol_type = joined.protocol_type.clone();
            sync.protocol_name = joined.protocol_name.clone();
        }
        let synced = call_as(
            &connection,
            client_id(),
            &sync,
            sync_version,
            REQUEST_TIMEOUT,
        )
        .await?;
        if synced.error_code != 0 {
            return Err(failed(synced.error_code, "syncing"));
        }
        let beat = HeartbeatRequest::default()
            .with_group_id(group_id(group))
            .with_generation_id(generation)
            .with_member_id(member_id.clone());
        let heartbeats = tokio::spawn(heartbeats(connection.clone(), beat));
        Ok(Self {
            member_id,
            generation,
            group: group_id(group),
            connection,
            heartbeats,
        })
    }

    /// Leaves the group. Where that fails, the member's session ends by itself.
    pub(super) async fn leave(self) {
        self.heartbeats.abort();
        let group = self.group.clone();
        let members = vec![(self.member_id.to_string(), None)];
        if let Err(error) = leave(&self.connection, group, &members).await {
            tracing::warn!(group = %self.group.as_str(), %error, "the placeholder could not leave its group");
        }
    }
}

async fn heartbeats(connection: Connection, beat: HeartbeatRequest) {
    loop {
        tokio::time::sleep(HEARTBEAT_INTERVAL).await;
        // An error shows where it matters: when the placeholder's id is used to commit.
        if connection
            .call_within(&beat, REQUEST_TIMEOUT)
            .await
            .is_err()
            && connection.is_closed()
        {
            return;
        }
    }
}

/// Lets members leave, in the form that the broker speaks.
pub(super) async fn leave(
    connection: &Connection,
    group: GroupId,
    members: &[(String, Option<String>)],
) -> Result<()> {
    const BATCH_SINCE: i16 = 3;
    let leave_version = version::<LeaveGroupRequest>(connection, i16::MAX)?;
    let base = LeaveGroupRequest::default().with_group_id(group);
    let mut requests = Vec::new();
    if leave_version >= BATCH_SINCE {
        let members = members.iter().map(|(id, instance)| {
            MemberIdentity::default()
                .with_member_id(StrBytes::from_string(id.clone()))
                .with_group_instance_id(instance.clone().map(StrBytes::from_string))
        });
        requests.push(base.with_members(members.collect()));
    } else {
        requests.extend(members.iter().map(|(id, _)| {
            base.clone()
                .with_member_id(StrBytes::from_string(id.clone()))
        }));
    }
    for request in requests {
        let answer = call_as(connection, None, &request, leave_version, REQUEST_TIMEOUT).await?;
        if answer.error_code != 0 {
            return Err(Error::kafka(
                connection.side(),
                answer.error_code,
                "leaving a group",
            ));
        }
    }
    Ok(())
}

/// Lets members leave through the group's coordinator.
pub(super) async fn leave_at(
    cluster: &Cluster,
    group: &str,
    members: &[(String, Option<String>)],
) -> Result<()> {
    let node = cluster.coordinator(0, group).await?;
    leave(&cluster.connection(node).await?, group_id(group), members).await
}

/// Removes placeholders that an earlier process left behind.
pub(super) async fn evict(cluster: &Cluster, group: &str) -> Result<()> {
    let described = survey::describe(cluster, group).await?;
    let stale: Vec<_> = described
        .members
        .iter()
        .filter(|member| member.client_id.as_str() == CLIENT_ID)
        .map(|member| (member.member_id.to_string(), None))
        .collect();
    if stale.is_empty() {
        return Ok(());
    }
    leave_at(cluster, group, &stale).await
}

/// Sends one heartbeat for a member; its answer's code.
pub(super) async fn beat(
    cluster: &Cluster,
    group: &str,
    member_id: &str,
    instance: Option<&str>,
    generation: i32,
) -> Result<i16> {
    let request = HeartbeatRequest::default()
        .with_group_id(group_id(group))
        .with_generation_id(generation)
        .with_member_id(StrBytes::from_string(member_id.to_owned()))
        .with_group_instance_id(instance.map(|id| StrBytes::from_string(id.to_owned())));
    let answer = cluster
        .call_within(Target::Group(group), &request, REQUEST_TIMEOUT)
        .await?;
    Ok(answer.error_code)
}

/// What a placeholder of an empty group would be: nobody, outside any generation.
pub(super) fn nobody() -> (StrBytes, i32) {
    (StrBytes::default(), -1)
}
