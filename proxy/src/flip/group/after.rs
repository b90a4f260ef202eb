//! Pure: the handoff, and what the desk does with requests of a group that has moved. Members may go on using the ids
//! of the former home for a while; none of those ids may reach the new one.

use kafka_protocol::messages::{
    JoinGroupResponse, LeaveGroupRequest, OffsetCommitRequest, OffsetCommitResponse,
};
use kafka_protocol::protocol::StrBytes;

use super::answers::{self, REBALANCE_IN_PROGRESS};
use super::machine::{CallId, Command, Former, Machine, Phase};
use crate::flip::desk::{GroupCall, GroupRequest};

impl Machine {
    pub(super) fn hand_off(&mut self, out: &mut Vec<Command>) {
        self.phase = Phase::Handoff;
        self.former = self
            .members
            .keys()
            .map(|id| (id.clone(), Former::default()))
            .collect();
        out.push(Command::Publish);
        for (id, (member, mut call)) in std::mem::take(&mut self.parked) {
            if let GroupRequest::Join(join) = &mut call.request {
                join.member_id = StrBytes::default();
            }
            self.joining.insert(id, member);
            out.push(Command::Join(id, call));
        }
        for (id, call) in std::mem::take(&mut self.waiting) {
            self.after_move(id, call, out);
        }
        out.push(Command::AwaitRegistration(self.joining.len()));
    }

    pub(super) fn all_registered(&mut self, out: &mut Vec<Command>) {
        if self.phase == Phase::Handoff && !std::mem::replace(&mut self.registered, true) {
            out.push(Command::PlaceholderLeaves);
        }
    }

    /// A join made for a parked request was answered.
    pub(super) fn joined(
        &mut self,
        id: CallId,
        response: Option<JoinGroupResponse>,
        out: &mut Vec<Command>,
    ) {
        let Some(member) = self.joining.remove(&id) else {
            return;
        };
        let orphaned = self.orphaned.remove(&id);
        let Some(response) = response.filter(|response| {
            response.error_code == 0 || !answers::is_fatal_to_members(response.error_code)
        }) else {
            if !orphaned {
                out.push(Command::Close(id));
            }
            return;
        };
        let succeeded = response.error_code == 0;
        if orphaned {
            // Nobody would ever sync or heartbeat for it, and the others would wait for its session to end.
            if succeeded {
                out.push(Command::LeaveNew(response.member_id.to_string()));
            }
            return;
        }
        if succeeded && let Some(former) = member.and_then(|member| self.former.get_mut(&member)) {
            former.now = Some((response.member_id.to_string(), response.generation_id));
        }
        out.push(Command::Answer(
            id,
            crate::flip::desk::GroupResponse::Join(response),
        ));
    }

    pub(super) fn after_move(&mut self, id: CallId, call: GroupCall, out: &mut Vec<Command>) {
        let mut request = call.request;
        match &mut request {
            GroupRequest::Heartbeat(beat) => {
                if let Some(former) = self.former.get(beat.member_id.as_str()) {
                    // One that was sent before the join's answer arrived must not begin another rebalance.
                    let code = if former.now.is_some() {
                        0
                    } else {
                        REBALANCE_IN_PROGRESS
                    };
                    out.push(Command::Answer(id, answers::heartbeat(code)));
                    return;
                }
            }
            GroupRequest::Sync(sync) => {
                if self.former.contains_key(sync.member_id.as_str()) {
                    out.push(Command::Answer(id, answers::sync(REBALANCE_IN_PROGRESS)));
                    return;
                }
            }
            GroupRequest::Join(join) => {
                let former = join.member_id.to_string();
                if self.former.contains_key(&former) {
                    join.member_id = StrBytes::default();
                    self.watched_joins.insert(id, former);
                    self.to_new_home(id, request, true, out);
                    return;
                }
            }
            GroupRequest::Commit(commit) => {
                if self.former.contains_key(commit.member_id.as_str()) {
                    self.late_commit(id, commit.clone(), out);
                    return;
                }
            }
            GroupRequest::Leave(leave) => {
                let asked = leave.clone();
                if !self.translate_leave(leave) {
                    out.push(Command::Answer(id, answers::left(&asked)));
                    return;
                }
            }
            GroupRequest::Fetch(_) => {}
        }
        self.to_new_home(id, request, false, out);
    }

    fn to_new_home(&self, id: CallId, request: GroupRequest, watch: bool, out: &mut Vec<Command>) {
        out.push(Command::Forward {
            id,
            side: self.to,
            request,
            watch,
        });
    }

    /// A commit with a former id: translated once to the member's new id, else the member is told to rejoin.
    fn late_commit(&mut self, id: CallId, mut commit: OffsetCommitRequest, out: &mut Vec<Command>) {
        let former = self.former.get_mut(commit.member_id.as_str());
        if let Some(former) = former
            && let Some((member, generation)) = &former.now
            && !std::mem::replace(&mut former.translated, true)
        {
            commit.member_id = StrBytes::from_string(member.clone());
            commit.generation_id_or_member_epoch = *generation;
            self.translating.insert(id, commit.clone());
            out.push(Command::Commit(id, commit));
            return;
        }
        out.push(Command::Answer(
            id,
            answers::commit(&commit, REBALANCE_IN_PROGRESS),
        ));
    }

    pub(super) fn commit_answered(
        &mut self,
        id: CallId,
        response: Option<OffsetCommitResponse>,
        out: &mut Vec<Command>,
    ) {
        let Some(request) = self.translating.remove(&id) else {
            return;
        };
        let answer = match response {
            Some(response) => answers::softened(response),
            None => answers::commit(&request, REBALANCE_IN_PROGRESS),
        };
        out.push(Command::Answer(id, answer));
    }

    /// Puts new ids in the place of former ones. False where nothing is left to ask the new home for: those members
    /// never joined it.
    fn translate_leave(&self, leave: &mut LeaveGroupRequest) -> bool {
        let translated = |id: &StrBytes| match self.former.get(id.as_str()) {
            None => Some(id.clone()),
            Some(former) => former
                .now
                .as_ref()
                .map(|(member, _)| StrBytes::from_string(member.clone())),
        };
        if leave.members.is_empty() {
            return match translated(&leave.member_id) {
                Some(member) => {
                    leave.member_id = member;
                    true
                }
                None => false,
            };
        }
        leave.members.retain_mut(|member| {
            // Static members are known by their instance, whatever id they had.
            match translated(&member.member_id) {
                Some(id) => {
                    member.member_id = id;
                    true
                }
                None => false,
            }
        });
        !leave.members.is_empty()
    }
}
