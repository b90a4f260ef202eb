//! Eager consumers of a simulated group: what they send, and what they make of answers.

use std::time::Duration;

use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::{
    HeartbeatRequest, JoinGroupRequest, LeaveGroupRequest, OffsetCommitRequest, SyncGroupRequest,
};
use kafka_protocol::protocol::StrBytes;
use lockgate::flip::group::answers::{REBALANCE_IN_PROGRESS, is_fatal_to_members};
use lockgate::flip::group::machine::Event;
use lockgate::flip::{GroupCall, GroupRequest, GroupResponse};
use lockgate::words::Side;
use rand::Rng;

use super::group::{Due, World};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Stable,
    MustJoin,
    MustSync,
    Gone,
}

/// An eager consumer: one request at a time on its connection.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) key: i32,
    pub(super) id: String,
    pub(super) generation: i32,
    pub(super) mode: Mode,
    pub(super) call: Option<(u64, GroupRequest)>,
    pub(super) next_beat: Duration,
    pub(super) stalled_until: Duration,
    pub(super) offset: i64,
    pub(super) acked: i64,
}

fn text(value: &str) -> StrBytes {
    StrBytes::from_string(value.to_owned())
}

fn commit_of(client: &Client) -> GroupRequest {
    let partition = OffsetCommitRequestPartition::default()
        .with_partition_index(client.key)
        .with_committed_offset(client.offset);
    let topic = OffsetCommitRequestTopic::default().with_partitions(vec![partition]);
    GroupRequest::Commit(
        OffsetCommitRequest::default()
            .with_member_id(text(&client.id))
            .with_generation_id_or_member_epoch(client.generation)
            .with_topics(vec![topic]),
    )
}

impl World {
    /// A client reads an answer.
    pub(super) fn returned(&mut self, id: u64, response: GroupResponse) {
        let seed = self.seed;
        if let (Some((index, offset)), GroupResponse::Commit(answer)) =
            (self.late.remove(&id), &response)
        {
            let code = answer.topics[0].partitions[0].error_code;
            assert!(
                !is_fatal_to_members(code),
                "seed {seed}: a late commit: {code}"
            );
            if code == 0 {
                let acked = &mut self.clients[index].acked;
                *acked = offset.max(*acked);
            }
            return;
        }
        let Some(client) = self
            .clients
            .iter_mut()
            .find(|client| client.call.as_ref().is_some_and(|(call, _)| *call == id))
        else {
            // The client is gone. Whoever joined without a client is expelled when its session ends.
            if let GroupResponse::Join(joined) = response
                && self
                    .clients
                    .iter()
                    .all(|client| client.id != joined.member_id.as_str())
            {
                self.source.leave(&joined.member_id);
                self.destination.leave(&joined.member_id);
            }
            return;
        };
        let Some((_, request)) = client.call.take() else {
            return;
        };
        let code = match &response {
            GroupResponse::Join(response) => response.error_code,
            GroupResponse::Sync(response) => response.error_code,
            GroupResponse::Heartbeat(response) => response.error_code,
            GroupResponse::Leave(response) => response.error_code,
            GroupResponse::Commit(response) => response.topics[0].partitions[0].error_code,
            GroupResponse::Fetch(response) => response.error_code,
        };
        assert!(
            !is_fatal_to_members(code),
            "seed {seed}: member {} was answered {code} to {request:?}",
            client.id
        );
        match response {
            GroupResponse::Join(joined) if code == 0 => {
                client.id = joined.member_id.to_string();
                client.generation = joined.generation_id;
                client.mode = Mode::MustSync;
            }
            GroupResponse::Sync(_) if code == 0 => client.mode = Mode::Stable,
            GroupResponse::Commit(_) if code == 0 => client.acked = client.offset,
            GroupResponse::Leave(_) => client.mode = Mode::Gone,
            _ if code == REBALANCE_IN_PROGRESS => client.mode = Mode::MustJoin,
            _ => {}
        }
    }

    pub(super) fn disconnected(&mut self, id: u64) {
        let lost = |client: &&mut Client| client.call.as_ref().is_some_and(|(call, _)| *call == id);
        let Some(client) = self.clients.iter_mut().find(lost) else {
            return;
        };
        match client.call.take() {
            Some((_, GroupRequest::Sync(_))) => client.mode = Mode::MustJoin,
            Some((_, GroupRequest::Leave(_))) => {
                // It does not come back; the coordinator may not have heard, then its session ends.
                client.mode = Mode::Gone;
                let member = client.id.clone();
                self.soon(Due::Leave(Side::Source, member.clone()));
                self.soon(Due::Leave(Side::Destination, member));
            }
            _ => {}
        }
    }

    pub(super) fn send(&mut self, index: usize, request: GroupRequest) {
        self.next_call += 1;
        let id = self.next_call;
        self.clients[index].call = Some((id, request.clone()));
        if self.detached {
            let side = if self.published {
                Side::Destination
            } else {
                Side::Source
            };
            self.soon(Due::Arrive(id, side, request, false));
            return;
        }
        self.pending.insert(id);
        let call = GroupCall {
            connection: u64::try_from(index).unwrap(),
            client_id: None,
            client_host: std::net::Ipv4Addr::LOCALHOST.into(),
            version: 5,
            request,
        };
        self.take(Event::Call(id, call));
    }

    pub(super) fn client_acts(&mut self, index: usize) {
        if let Some((id, request)) = self.clients[index].call.clone() {
            let waits = self.pending.contains(&id);
            if waits && matches!(request, GroupRequest::Join(_)) && self.chance(30) {
                self.commit_behind_a_join(index);
            }
            if waits && matches!(request, GroupRequest::Heartbeat(_)) && self.chance(8) {
                self.take(Event::Nudged(id));
            } else if waits && self.chance(2) {
                self.pending.remove(&id);
                self.disconnected(id);
                self.take(Event::Gone(id));
            }
            return;
        }
        let (stalls, commits, leaves, own_join) = (
            self.chance(3),
            self.chance(100),
            self.chance(1),
            self.chance(1),
        );
        let stall = Duration::from_millis(self.rng.random_range(0..14_000));
        let now = self.now;
        let client = &mut self.clients[index];
        if stalls {
            client.stalled_until = now + stall;
        }
        let stalled = now < client.stalled_until;
        let member = text(&client.id);
        let request = match client.mode {
            Mode::Gone => return,
            Mode::MustJoin if !stalled => {
                GroupRequest::Join(JoinGroupRequest::default().with_member_id(member))
            }
            Mode::MustSync => GroupRequest::Sync(
                SyncGroupRequest::default()
                    .with_member_id(member)
                    .with_generation_id(client.generation),
            ),
            Mode::Stable if own_join && !client.id.is_empty() => {
                client.mode = Mode::MustJoin;
                return;
            }
            // A client that has not joined yet has nothing else to say.
            _ if client.id.is_empty() => return,
            _ if leaves => GroupRequest::Leave(LeaveGroupRequest::default().with_member_id(member)),
            _ if now >= client.next_beat => {
                client.next_beat = now + Duration::from_secs(3);
                GroupRequest::Heartbeat(
                    HeartbeatRequest::default()
                        .with_member_id(member)
                        .with_generation_id(client.generation),
                )
            }
            _ if commits && !stalled => {
                client.offset += 1;
                commit_of(client)
            }
            _ => return,
        };
        self.send(index, request);
    }

    /// Some clients commit while their JoinGroup waits, with the ids they still have.
    fn commit_behind_a_join(&mut self, index: usize) {
        let client = &mut self.clients[index];
        if self.detached || client.id.is_empty() || matches!(self.outcome, Some(Err(_))) {
            return;
        }
        client.offset += 1;
        let request = commit_of(client);
        self.next_call += 1;
        let id = self.next_call;
        self.late.insert(id, (index, client.offset));
        self.pending.insert(id);
        let call = GroupCall {
            connection: u64::MAX,
            client_id: None,
            client_host: std::net::Ipv4Addr::LOCALHOST.into(),
            version: 5,
            request,
        };
        self.take(Event::Call(id, call));
    }

    pub(super) fn newcomer(&mut self) {
        let key = i32::try_from(self.clients.len()).unwrap();
        self.clients.push(Client {
            key,
            id: String::new(),
            generation: -1,
            mode: Mode::MustJoin,
            call: None,
            next_beat: self.now,
            stalled_until: Duration::ZERO,
            offset: 0,
            acked: 0,
        });
    }
}
