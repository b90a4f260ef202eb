//! Pure: what the desk does with requests until everybody has parked, and while offsets are copied and the move is
//! written.

use kafka_protocol::messages::LeaveGroupRequest;

use super::answers::{self, REBALANCE_IN_PROGRESS};
use super::machine::{CallId, Command, Machine, Phase};
use crate::flip::desk::{GroupCall, GroupRequest};

impl Machine {
    pub(super) fn at_barrier(&mut self, id: CallId, call: GroupCall, out: &mut Vec<Command>) {
        match &call.request {
            GroupRequest::Heartbeat(beat) => {
                let (member, generation) = (beat.member_id.to_string(), beat.generation_id);
                if self.seen(&member, generation) {
                    self.hold(id, member, call, out);
                } else {
                    self.forward(id, call, false, out);
                }
            }
            GroupRequest::Join(_) => self.park(id, call, out),
            GroupRequest::Commit(commit) => {
                self.seen(
                    &commit.member_id.to_string(),
                    commit.generation_id_or_member_epoch,
                );
                self.commits.insert(id);
                self.forward(id, call, true, out);
            }
            GroupRequest::Leave(leave) => {
                self.leave(&leave.clone(), out);
                self.forward(id, call, false, out);
            }
            GroupRequest::Sync(_) | GroupRequest::Fetch(_) => self.forward(id, call, false, out),
        }
    }

    /// Between "everybody has parked" and the handoff. Nothing may change the offsets at the former home any more.
    pub(super) fn while_frozen(&mut self, id: CallId, call: GroupCall, out: &mut Vec<Command>) {
        match &call.request {
            GroupRequest::Heartbeat(_) => {
                out.push(Command::Answer(
                    id,
                    answers::heartbeat(REBALANCE_IN_PROGRESS),
                ));
            }
            GroupRequest::Sync(_) => {
                out.push(Command::Answer(id, answers::sync(REBALANCE_IN_PROGRESS)));
            }
            GroupRequest::Join(_) => self.park(id, call, out),
            GroupRequest::Commit(commit) if commit.member_id.is_empty() => {
                // Not a member's commit; no answer of others waits behind it.
                self.waiting.insert(id, call);
            }
            GroupRequest::Commit(commit) => {
                // Never held: answers are ordered per connection, and one held answer stalled a whole group.
                out.push(Command::Answer(
                    id,
                    answers::commit(commit, REBALANCE_IN_PROGRESS),
                ));
            }
            GroupRequest::Leave(leave) => {
                let leave = leave.clone();
                self.leave(&leave, out);
                out.push(Command::Answer(id, answers::left(&leave)));
            }
            GroupRequest::Fetch(_) => self.forward(id, call, false, out),
        }
    }

    /// Remembers a member's generation. False for one that is not expected.
    fn seen(&mut self, member: &str, generation: i32) -> bool {
        match self.members.get_mut(member) {
            Some(member) if !member.left => {
                member.generation = member.generation.max(Some(generation));
                true
            }
            _ => false,
        }
    }

    pub(super) fn forward(
        &mut self,
        id: CallId,
        call: GroupCall,
        watch: bool,
        out: &mut Vec<Command>,
    ) {
        out.push(Command::Forward {
            id,
            side: self.from,
            request: call.request,
            watch,
        });
    }

    fn hold(&mut self, id: CallId, member: String, call: GroupCall, out: &mut Vec<Command>) {
        let parked = self
            .members
            .get(&member)
            .is_some_and(|known| known.parked.is_some());
        self.held.insert(id, (member.clone(), call));
        if parked || self.telling {
            self.tell_one(&member, out);
            return;
        }
        let waits = |id: &String| self.held.values().any(|(held, _)| held == id);
        let all = self
            .members
            .iter()
            .all(|(id, member)| member.left || member.parked.is_some() || waits(id));
        if all {
            self.tell(out);
        }
    }

    /// Answers every held Heartbeat; later ones are answered as they come.
    pub(super) fn tell(&mut self, out: &mut Vec<Command>) {
        self.telling = true;
        let members: Vec<String> = self
            .held
            .values()
            .map(|(member, _)| member.clone())
            .collect();
        for member in members {
            self.tell_one(&member, out);
        }
    }

    fn tell_one(&mut self, member: &str, out: &mut Vec<Command>) {
        self.held.retain(|id, (held, _)| {
            if held == member {
                out.push(Command::Answer(
                    *id,
                    answers::heartbeat(REBALANCE_IN_PROGRESS),
                ));
                return false;
            }
            true
        });
        if let Some(member) = self.members.get_mut(member)
            && member.parked.is_none()
        {
            member.told = true;
        }
    }

    /// Another request waits behind a held Heartbeat: it goes to the coordinator after all. The member learns of the
    /// rebalance with its next one.
    pub(super) fn nudged(&mut self, id: CallId, out: &mut Vec<Command>) {
        if let Some((_, call)) = self.held.remove(&id) {
            self.forward(id, call, false, out);
        }
    }

    fn park(&mut self, id: CallId, call: GroupCall, out: &mut Vec<Command>) {
        let GroupRequest::Join(join) = &call.request else {
            return;
        };
        let by_id = Some(join.member_id.to_string()).filter(|id| self.members.contains_key(id));
        let by_instance = || {
            // A static member whose client was restarted comes back without its id.
            let instance = join.group_instance_id.as_deref()?;
            self.members
                .iter()
                .find(|(_, member)| member.instance.as_deref() == Some(instance))
                .map(|(id, _)| id.clone())
        };
        let member = by_id.or_else(by_instance);
        self.parked.insert(id, (member.clone(), call));
        let Some(member) = member else {
            return;
        };
        if let Some(known) = self.members.get_mut(&member) {
            known.left = false;
            known.told = false;
            if let Some(earlier) = known.parked.replace(id) {
                // The client came back on another connection; the earlier one is dead or about to be.
                self.parked.remove(&earlier);
                out.push(Command::Close(earlier));
            }
        }
        self.tell_one(&member, out);
    }

    fn leave(&mut self, leave: &LeaveGroupRequest, out: &mut Vec<Command>) {
        let named = leave
            .members
            .iter()
            .map(|member| (member.member_id.to_string(), &member.group_instance_id));
        let mut leaving: Vec<String> = vec![leave.member_id.to_string()];
        for (id, instance) in named {
            let by_instance = self.members.iter().find(|(_, member)| {
                instance.is_some() && member.instance.as_deref() == instance.as_deref()
            });
            leaving.push(by_instance.map_or(id, |(known, _)| known.clone()));
        }
        for id in leaving {
            self.tell_one(&id, out);
            let Some(member) = self.members.get_mut(&id) else {
                continue;
            };
            member.left = true;
            member.told = false;
            self.somebody_left = true;
            if let Some(parked) = member.parked.take() {
                self.parked.remove(&parked);
                out.push(Command::Close(parked));
            }
        }
    }

    /// The former home's word on who is there. Members whose session ended no longer count; anything else that is
    /// unexpected ends the move, since it cannot be told from here what the others were told.
    pub(super) fn described(
        &mut self,
        now: std::time::Duration,
        state: &str,
        members: &[String],
        out: &mut Vec<Command>,
    ) {
        if self.phase != Phase::Barrier {
            return;
        }
        let expired: Vec<String> = self
            .members
            .iter()
            .filter(|(id, member)| !member.left && !members.contains(id))
            .map(|(id, _)| id.clone())
            .collect();
        for id in &expired {
            self.somebody_left = true;
            if let Some(member) = self.members.get_mut(id) {
                member.expired = true;
                // One that has parked goes along all the same: it needs no session at the former home.
                member.left = member.parked.is_none();
            }
        }
        let stranger = members.iter().find(|id| !self.members.contains_key(*id));
        if let Some(stranger) = stranger {
            let why = format!("member {stranger} joined while the group was being moved");
            self.abort(now, why, out);
        } else if !matches!(state, "Stable" | "Empty" | "Dead") && !self.somebody_left {
            self.abort(
                now,
                format!("the group began to rebalance by itself ({state})"),
                out,
            );
        }
    }

    pub(super) fn who_is_missing(&self) -> String {
        let missing: Vec<&str> = self
            .members
            .iter()
            .filter(|(_, member)| !member.left && member.parked.is_none())
            .map(|(id, _)| id.as_str())
            .collect();
        if missing.is_empty() {
            return "commits on their way were not answered in time".to_owned();
        }
        format!("members did not rejoin in time: {}", missing.join(", "))
    }
}
