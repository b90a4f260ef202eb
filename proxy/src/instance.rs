//! One instance at a time: every running Lockgate is a member of the group `lockgate-instances` at the destination, and
//! only the group's leader goes on.
//!
//! A start that finds a member waits for as long as a dead one takes to expire. One that is still there then is alive:
//! it is named, and the start ends. Two that start together join together; the broker makes one of them the leader.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{
    DescribeGroupsRequest, DescribeGroupsResponse, GroupId, HeartbeatRequest, JoinGroupRequest,
    JoinGroupResponse, LeaveGroupRequest, SyncGroupRequest,
};
use kafka_protocol::protocol::StrBytes;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::error::{Error, Kind, Result};
use crate::upstream::{Cluster, Connection};

const GROUP: &str = "lockgate-instances";
const PROTOCOL_TYPE: &str = "lockgate";
/// A member that is not heard of for so long is dead.
const SESSION_TIMEOUT: Duration = Duration::from_secs(10);
/// What brokers may add to it before the member is gone.
const EXPIRY_SLACK: Duration = Duration::from_secs(4);
const HEARTBEAT_EVERY: Duration = Duration::from_secs(3);
const POLL: Duration = Duration::from_millis(500);
/// How long joining may take: the broker's initial rebalance delay, or the others' way to their next heartbeat.
const JOIN_TIMEOUT: Duration = Duration::from_secs(30);
const CALL_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a fresh cluster may take to have a coordinator.
const COORDINATOR_WITHIN: Duration = Duration::from_secs(30);

/// Membership in the group of instances. Dropping it lets the membership expire; [`Guard::leave`] ends it at once.
#[derive(Debug)]
pub struct Guard {
    lost: watch::Receiver<bool>,
    leave: watch::Sender<bool>,
    beating: JoinHandle<()>,
}

/// One member as the group's coordinator knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Other {
    /// For people: client id, host and what the member says of itself.
    name: String,
}

struct Membership {
    cluster: Arc<Cluster>,
    coordinator: Option<Connection>,
    me: String,
    member_id: StrBytes,
    generation: i32,
}

impl Guard {
    /// Becomes the one instance, or says who is. `me` is what the other instance's operator will read.
    pub async fn enter(cluster: Arc<Cluster>, me: String) -> Result<Self> {
        let mut membership = Membership {
            cluster,
            coordinator: None,
            me,
            member_id: StrBytes::default(),
            generation: -1,
        };
        membership.wait_for_others().await?;
        if !membership.join().await? {
            let others = membership.others().await.unwrap_or_default();
            membership.leave().await;
            return Err(another(&others));
        }
        let (leave, leaving) = watch::channel(false);
        let (losing, lost) = watch::channel(false);
        let beating = tokio::spawn(beat(membership, leaving, losing));
        Ok(Self {
            lost,
            leave,
            beating,
        })
    }

    /// Turns true when another instance has taken over: this one was silent for too long.
    pub fn lost(&self) -> watch::Receiver<bool> {
        self.lost.clone()
    }

    /// Leaves the group, so that the next start need not wait.
    pub async fn leave(self) {
        self.leave.send_replace(true);
        // A membership that could not be ended expires by itself.
        let _ = tokio::time::timeout(CALL_TIMEOUT * 2, self.beating).await;
    }
}

fn another(others: &[Other]) -> Error {
    let name = others
        .first()
        .map_or("another instance", |other| other.name.as_str());
    Error::refused(format!(
        "Lockgate already runs: {name} is a live member of group {GROUP} at the destination"
    ))
}

async fn beat(
    mut membership: Membership,
    mut leaving: watch::Receiver<bool>,
    losing: watch::Sender<bool>,
) {
    loop {
        let leave = tokio::select! {
            _ = leaving.wait_for(|leave| *leave) => true,
            () = tokio::time::sleep(HEARTBEAT_EVERY) => false,
        };
        if leave {
            return membership.leave().await;
        }
        match membership.heartbeat().await {
            Ok(true) => {}
            Ok(false) => {
                let others = membership.others().await.unwrap_or_default();
                tracing::error!(error = %another(&others), "this instance is not the one any more");
                losing.send_replace(true);
                return membership.leave().await;
            }
            // The destination may be away for long; the state's own fence holds meanwhile.
            Err(error) => tracing::warn!(%error, "no heartbeat to group {GROUP}"),
        }
    }
}

impl Membership {
    /// Waits until nobody is there, for as long as a dead member needs to expire.
    async fn wait_for_others(&mut self) -> Result<()> {
        let first = self.others().await?;
        let Some(other) = first.first() else {
            return Ok(());
        };
        tracing::info!(
            member = other.name,
            "a member of group {GROUP} is there; waiting up to {:?} for it to expire",
            SESSION_TIMEOUT + EXPIRY_SLACK
        );
        let deadline = Instant::now() + SESSION_TIMEOUT + EXPIRY_SLACK;
        loop {
            tokio::time::sleep(POLL).await;
            let now = self.others().await?;
            if now.is_empty() {
                tracing::info!("the former instance's membership has expired");
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(another(&now));
            }
        }
    }

    /// The members that are not this one.
    async fn others(&mut self) -> Result<Vec<Other>> {
        let request = DescribeGroupsRequest::default().with_groups(vec![group_id()]);
        let code = |answer: &DescribeGroupsResponse| match answer.groups.first() {
            // From version 6 on a group that is not there is an error.
            Some(group) if group.error_code == ResponseError::GroupIdNotFound.code() => 0,
            Some(group) => group.error_code,
            None => 0,
        };
        let deadline = Instant::now() + COORDINATOR_WITHIN;
        let answer = loop {
            match self.call(&request, CALL_TIMEOUT, code).await {
                Ok(answer) => break answer,
                Err(error) if error.is_retriable() && Instant::now() < deadline => {
                    self.coordinator = None;
                    tokio::time::sleep(POLL).await;
                }
                Err(error) => return Err(error),
            }
        };
        let members = answer.groups.into_iter().flat_map(|group| group.members);
        Ok(members
            .filter(|member| member.member_id != self.member_id)
            .map(|member| Other {
                name: format!(
                    "{} at {} {}",
                    member.client_id.as_str(),
                    member.client_host.trim_start_matches('/'),
                    String::from_utf8_lossy(&member.member_metadata)
                )
                .trim_end()
                .to_owned(),
            })
            .collect())
    }

    /// Joins; whether as the leader.
    async fn join(&mut self) -> Result<bool> {
        let deadline = Instant::now() + JOIN_TIMEOUT;
        loop {
            let answer = self.join_once().await?;
            match ResponseError::try_from_code(answer.error_code) {
                None => {
                    self.generation = answer.generation_id;
                    self.member_id = answer.member_id.clone();
                    if self.sync(&answer).await? {
                        return Ok(answer.leader == answer.member_id);
                    }
                }
                Some(ResponseError::MemberIdRequired) => self.member_id = answer.member_id,
                Some(ResponseError::UnknownMemberId) => self.member_id = StrBytes::default(),
                Some(error) if error.is_retriable() => self.coordinator = None,
                Some(_) => return Err(self.refusal(answer.error_code, "joining")),
            }
            if Instant::now() >= deadline {
                return Err(self.refusal(answer.error_code, "joining"));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    async fn join_once(&mut self) -> Result<JoinGroupResponse> {
        let protocol = JoinGroupRequestProtocol::default()
            .with_name(StrBytes::from_static_str("one"))
            .with_metadata(Bytes::from(self.me.clone()));
        let request = JoinGroupRequest::default()
            .with_group_id(group_id())
            .with_session_timeout_ms(milliseconds(SESSION_TIMEOUT))
            .with_rebalance_timeout_ms(milliseconds(SESSION_TIMEOUT))
            .with_member_id(self.member_id.clone())
            .with_protocol_type(StrBytes::from_static_str(PROTOCOL_TYPE))
            .with_protocols(vec![protocol]);
        self.call(&request, JOIN_TIMEOUT, |_| 0).await
    }

    /// Ends the rebalance; false where the next one has begun.
    async fn sync(&mut self, joined: &JoinGroupResponse) -> Result<bool> {
        // The assignment says nothing: who leads is all that counts.
        let assignments = joined.members.iter().map(|member| {
            SyncGroupRequestAssignment::default().with_member_id(member.member_id.clone())
        });
        let request = SyncGroupRequest::default()
            .with_group_id(group_id())
            .with_generation_id(self.generation)
            .with_member_id(self.member_id.clone())
            .with_protocol_type(Some(StrBytes::from_static_str(PROTOCOL_TYPE)))
            .with_protocol_name(joined.protocol_name.clone())
            .with_assignments(assignments.collect());
        let answer = self.call(&request, JOIN_TIMEOUT, |_| 0).await?;
        match ResponseError::try_from_code(answer.error_code) {
            None => Ok(true),
            Some(
                ResponseError::RebalanceInProgress
                | ResponseError::IllegalGeneration
                | ResponseError::UnknownMemberId,
            ) => Ok(false),
            Some(_) => Err(self.refusal(answer.error_code, "joining")),
        }
    }

    /// One heartbeat, and joining again where the group asks for it. False: another instance leads now.
    async fn heartbeat(&mut self) -> Result<bool> {
        let request = HeartbeatRequest::default()
            .with_group_id(group_id())
            .with_generation_id(self.generation)
            .with_member_id(self.member_id.clone());
        let answer = self
            .call(&request, CALL_TIMEOUT, |answer| answer.error_code)
            .await;
        match answer {
            Ok(_) => Ok(true),
            Err(Error {
                kind:
                    Kind::Kafka(
                        ResponseError::RebalanceInProgress
                        | ResponseError::IllegalGeneration
                        | ResponseError::UnknownMemberId,
                    ),
                ..
            }) => self.join().await,
            Err(error) => {
                self.coordinator = None;
                Err(error)
            }
        }
    }

    async fn leave(&mut self) {
        let identity = MemberIdentity::default().with_member_id(self.member_id.clone());
        let request = LeaveGroupRequest::default()
            .with_group_id(group_id())
            .with_members(vec![identity]);
        if let Err(error) = self
            .call(&request, CALL_TIMEOUT, |answer| answer.error_code)
            .await
        {
            tracing::debug!(%error, "group {GROUP} could not be left; the membership expires");
        }
    }

    /// One request to the coordinator over a connection of its own: a JoinGroup holds up what comes behind it.
    async fn call<R: crate::upstream::OwnRequest>(
        &mut self,
        request: &R,
        timeout: Duration,
        code: impl Fn(&R::Response) -> i16,
    ) -> Result<R::Response> {
        let coordinator = match self.coordinator.take().filter(|open| !open.is_closed()) {
            Some(open) => open,
            None => self.find_coordinator().await?,
        };
        let answer = coordinator.call_within(request, timeout).await?;
        match code(&answer) {
            0 => {
                self.coordinator = Some(coordinator);
                Ok(answer)
            }
            code => {
                self.coordinator = Some(coordinator);
                Err(self.refusal(code, "asking"))
            }
        }
    }

    async fn find_coordinator(&self) -> Result<Connection> {
        let deadline = Instant::now() + COORDINATOR_WITHIN;
        loop {
            match self.cluster.coordinator(0, GROUP).await {
                Ok(node) => return self.cluster.dedicated(node).await,
                Err(error)
                    if matches!(error.kind, Kind::Kafka(code) if code.is_retriable())
                        && Instant::now() < deadline =>
                {
                    tokio::time::sleep(POLL).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn refusal(&self, code: i16, doing: &str) -> Error {
        Error::kafka(self.cluster.side(), code, format!("{doing} group {GROUP}"))
    }
}

fn group_id() -> GroupId {
    GroupId(StrBytes::from_static_str(GROUP))
}

fn milliseconds(duration: Duration) -> i32 {
    i32::try_from(duration.as_millis()).unwrap_or(i32::MAX)
}
