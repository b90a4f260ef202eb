//! Pure: the abort. Nothing has moved, so members that were told to rejoin are given back what they had: their own id,
//! the generation they know, and their assignment from the cache. The former home never notices.
//!
//! That holds only while the former home is at rest. As soon as it has to rebalance for real (a new member wants in,
//! one has left, a generation is not known), joins go there as they are, and everybody gets a real rebalance.

use std::time::Duration;

use kafka_protocol::protocol::StrBytes;

use super::answers;
use super::machine::{ABORT_LINGER_MAX, CallId, Command, Machine, Phase};
use crate::flip::desk::{GroupCall, GroupRequest};

impl Machine {
    pub(super) fn abort(&mut self, now: Duration, why: String, out: &mut Vec<Command>) {
        self.phase = Phase::Aborted;
        self.aborted_at = now;
        let strangers = self.parked.values().any(|(member, _)| member.is_none());
        let unsure = self.members.values().any(|member| {
            !member.left
                && member.parked.is_some()
                && (member.generation.is_none() || member.expired)
        });
        self.real = strangers || unsure || self.somebody_left;
        for (id, (_, call)) in std::mem::take(&mut self.held) {
            self.forward(id, call, false, out);
        }
        for (id, call) in std::mem::take(&mut self.waiting) {
            self.forward(id, call, false, out);
        }
        for (id, (member, call)) in std::mem::take(&mut self.parked) {
            if let Some(member) = member.as_ref().and_then(|id| self.members.get_mut(id)) {
                member.parked = None;
            }
            self.rejoin(id, member, call, out);
        }
        out.push(Command::Aborted(why));
        self.linger(now, out);
    }

    /// Answers a JoinGroup after the abort: from the cache where nothing has changed, else for real.
    fn rejoin(
        &mut self,
        id: CallId,
        member: Option<String>,
        mut call: GroupCall,
        out: &mut Vec<Command>,
    ) {
        let known = member.and_then(|id| Some((self.members.get_mut(&id)?, id)));
        if let Some((member, member_id)) = known {
            member.told = false;
            let GroupRequest::Join(join) = &mut call.request else {
                return;
            };
            let came_back = join.member_id.as_str() == member_id;
            if let Some(generation) = member.generation
                && came_back
                && !self.real
            {
                member.replayed = true;
                let answer =
                    answers::unchanged_join(&member_id, generation, &self.protocol, call.version);
                out.push(Command::Answer(id, answer));
                return;
            }
            member.replayed = false;
            if member.expired && came_back {
                // The former home would answer UNKNOWN_MEMBER_ID, which costs the client its partitions.
                join.member_id = StrBytes::default();
            }
        }
        self.real = true;
        self.forward(id, call, false, out);
    }

    pub(super) fn after_abort(&mut self, id: CallId, call: GroupCall, out: &mut Vec<Command>) {
        match &call.request {
            GroupRequest::Join(join) => {
                let member = join.member_id.to_string();
                // One that was not told to rejoin has a reason of its own, which only a real rebalance serves.
                if self.members.get(&member).is_some_and(|member| !member.told) {
                    self.real = true;
                }
                self.rejoin(id, Some(member), call, out);
            }
            GroupRequest::Sync(sync) => {
                let member = self
                    .members
                    .get_mut(sync.member_id.as_str())
                    .filter(|member| member.replayed)
                    .filter(|member| member.generation == Some(sync.generation_id));
                match member {
                    Some(member) => {
                        member.replayed = false;
                        let answer = answers::unchanged_sync(
                            member.assignment.clone(),
                            &self.protocol,
                            call.version,
                        );
                        out.push(Command::Answer(id, answer));
                    }
                    None => self.forward(id, call, false, out),
                }
            }
            GroupRequest::Leave(leave) => {
                for member in leave
                    .members
                    .iter()
                    .map(|member| &member.member_id)
                    .chain([&leave.member_id])
                {
                    if let Some(member) = self.members.get_mut(member.as_str()) {
                        member.told = false;
                        member.replayed = false;
                        self.real = true;
                    }
                }
                self.forward(id, call, false, out);
            }
            GroupRequest::Heartbeat(_) | GroupRequest::Commit(_) | GroupRequest::Fetch(_) => {
                self.forward(id, call, false, out);
            }
        }
    }

    /// The desk is needed until every member that was told to rejoin has done so and has synced.
    pub(super) fn linger(&mut self, now: Duration, out: &mut Vec<Command>) {
        let waits = self
            .members
            .values()
            .any(|member| !member.left && (member.told || member.replayed));
        if !waits || now >= self.aborted_at + ABORT_LINGER_MAX {
            self.detach(out);
        }
    }
}
