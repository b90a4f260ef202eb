//! A consumer group as its coordinator sees it, as far as a move can tell.

use std::collections::BTreeMap;

use kafka_protocol::messages::offset_commit_response::{
    OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use kafka_protocol::messages::{
    HeartbeatResponse, JoinGroupResponse, OffsetCommitRequest, OffsetCommitResponse,
    SyncGroupResponse,
};
use kafka_protocol::protocol::StrBytes;
use lockgate::flip::group::answers;
use lockgate::flip::{GroupRequest, GroupResponse};

/// Who waits for a join's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Waiter {
    /// A client's own request, forwarded.
    Client(u64),
    /// A join made for a parked request.
    Handoff(u64),
}

/// One group at one cluster.
#[derive(Debug, Default)]
pub(super) struct Coordinator {
    pub(super) name: &'static str,
    pub(super) generation: i32,
    pub(super) rebalancing: bool,
    /// Members, with the join that waits for the rebalance to end.
    pub(super) members: BTreeMap<String, Option<Waiter>>,
    pub(super) offsets: BTreeMap<i32, i64>,
    next_member: u32,
}

fn text(value: &str) -> StrBytes {
    StrBytes::from_string(value.to_owned())
}

impl Coordinator {
    pub(super) fn new(name: &'static str, members: &[String]) -> Self {
        Self {
            name,
            generation: 1,
            members: members.iter().map(|id| (id.clone(), None)).collect(),
            ..Self::default()
        }
    }

    pub(super) fn state(&self) -> &'static str {
        match (self.members.is_empty(), self.rebalancing) {
            (true, _) => "Empty",
            (_, true) => "PreparingRebalance",
            (_, false) => "Stable",
        }
    }

    fn check(&self, member: &str, generation: i32) -> i16 {
        if !self.members.contains_key(member) {
            answers::UNKNOWN_MEMBER_ID
        } else if generation != self.generation {
            answers::ILLEGAL_GENERATION
        } else {
            0
        }
    }

    pub(super) fn heartbeat(&self, member: &str, generation: i32) -> i16 {
        match self.check(member, generation) {
            0 if self.rebalancing => answers::REBALANCE_IN_PROGRESS,
            code => code,
        }
    }

    /// Answers at once, except for joins: those are answered by [`Self::settle`].
    pub(super) fn handle(
        &mut self,
        waiter: Waiter,
        request: &GroupRequest,
    ) -> Option<GroupResponse> {
        match request {
            GroupRequest::Heartbeat(beat) => {
                let code = self.heartbeat(&beat.member_id, beat.generation_id);
                Some(GroupResponse::Heartbeat(
                    HeartbeatResponse::default().with_error_code(code),
                ))
            }
            GroupRequest::Sync(sync) => {
                let code = self.heartbeat(&sync.member_id, sync.generation_id);
                Some(GroupResponse::Sync(
                    SyncGroupResponse::default().with_error_code(code),
                ))
            }
            GroupRequest::Commit(commit) => Some(GroupResponse::Commit(commit_answer(
                commit,
                self.commit(commit),
            ))),
            GroupRequest::Leave(leave) => {
                self.leave(&leave.member_id);
                Some(GroupResponse::Leave(Default::default()))
            }
            GroupRequest::Join(join) => self.join(waiter, &join.member_id),
            GroupRequest::Fetch(_) => Some(GroupResponse::Fetch(Default::default())),
        }
    }

    pub(super) fn commit(&mut self, commit: &OffsetCommitRequest) -> i16 {
        let code = self.check(&commit.member_id, commit.generation_id_or_member_epoch);
        if code == 0 {
            for partition in commit.topics.iter().flat_map(|topic| &topic.partitions) {
                let known = self.offsets.entry(partition.partition_index).or_default();
                *known = partition.committed_offset.max(*known);
            }
        }
        code
    }

    fn join(&mut self, waiter: Waiter, member: &str) -> Option<GroupResponse> {
        let id = if member.is_empty() {
            self.next_member += 1;
            format!("{}-new-{}", self.name, self.next_member)
        } else if self.members.contains_key(member) {
            member.to_owned()
        } else {
            let refused = JoinGroupResponse::default().with_error_code(answers::UNKNOWN_MEMBER_ID);
            return Some(GroupResponse::Join(refused));
        };
        self.members.insert(id, Some(waiter));
        self.rebalancing = true;
        None
    }

    pub(super) fn leave(&mut self, member: &str) {
        if self.members.remove(member).is_some() && !self.members.is_empty() {
            self.rebalancing = true;
        }
    }

    /// Ends a rebalance once everybody has joined.
    pub(super) fn settle(&mut self) -> Vec<(Waiter, GroupResponse)> {
        if !self.rebalancing || self.members.values().any(Option::is_none) {
            return Vec::new();
        }
        self.rebalancing = false;
        self.generation += 1;
        let generation = self.generation;
        self.members
            .iter_mut()
            .filter_map(|(id, waiter)| {
                let joined = JoinGroupResponse::default()
                    .with_generation_id(generation)
                    .with_member_id(text(id));
                Some((waiter.take()?, GroupResponse::Join(joined)))
            })
            .collect()
    }
}

/// The answer to a commit with this code for every partition.
pub(super) fn commit_answer(request: &OffsetCommitRequest, code: i16) -> OffsetCommitResponse {
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| {
            OffsetCommitResponsePartition::default()
                .with_partition_index(partition.partition_index)
                .with_error_code(code)
        });
        OffsetCommitResponseTopic::default().with_partitions(partitions.collect())
    });
    OffsetCommitResponse::default().with_topics(topics.collect())
}
