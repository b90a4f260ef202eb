//! Pure: the state machine of one group's move. Requests, answers, outcomes of commands and the time go in; verdicts
//! and commands come out.
//!
//! Barrier (everybody parks) -> Copying (offsets) -> Journaling -> Handoff (joins at the new home) -> Moved. Until the
//! journal holds the move, any failure ends in Aborted, where a rebalance that changes nothing is played to those who
//! parked. What each phase does with requests is in `barrier`, `after` and `abort`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::messages::JoinGroupResponse;
use kafka_protocol::messages::OffsetCommitRequest;
use kafka_protocol::messages::OffsetCommitResponse;
use kafka_protocol::protocol::StrBytes;

use super::answers;
use crate::flip::desk::{GroupCall, GroupRequest, GroupResponse};
use crate::words::Side;

/// How long Heartbeats are held so that all members learn of the rebalance at once; a little more than the interval
/// at which clients send them.
pub const HOLD_MAX: Duration = Duration::from_millis(3_500);
/// How often a parked member's session at the former home is kept alive.
pub const BEAT_INTERVAL: Duration = Duration::from_secs(1);
/// How long after an abort laggards are still served from the cache; then their rebalance becomes a real one.
pub const ABORT_LINGER_MAX: Duration = Duration::from_secs(300);

/// One request at the desk, numbered by the loop.
pub type CallId = u64;

/// A member that the former home's coordinator named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    /// Its id.
    pub member_id: String,
    /// Its `group.instance.id`.
    pub instance: Option<String>,
    /// What it is assigned, as opaque bytes.
    pub assignment: Bytes,
}

/// What goes in.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A request came.
    Call(CallId, GroupCall),
    /// Another request waits behind this one on its connection.
    Nudged(CallId),
    /// The client of this waiting request went away.
    Gone(CallId),
    /// No commit that was decided before the barrier is on its way any more.
    CommitsDrained,
    /// What the former home says of the group: its state and its members' ids.
    Described(String, Vec<String>),
    /// The answer to [`Command::Confirm`]; none where the former home did not answer.
    Confirmed(Option<(String, Vec<String>)>),
    /// The answer of a forwarded request that was watched; none where its connection was lost.
    Answered(CallId, Option<GroupResponse>),
    /// The answer to a heartbeat sent for this member.
    Beaten(String, i16),
    /// The offsets are at the destination, or why not.
    OffsetsCopied(Result<(), String>),
    /// The move is in the journal, or it certainly is not and why.
    Journaled(Result<(), String>),
    /// The answer to a join made for this parked request.
    Joined(CallId, Option<JoinGroupResponse>),
    /// The new home knows all the joins.
    Registered,
    /// The answer to a commit made with the new member id.
    CommitAnswered(CallId, Option<OffsetCommitResponse>),
    /// Time passed.
    Tick,
}

/// What comes out.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// Send this to the group's coordinator on that side and hand its answer to the client; `watch` wants to see it.
    Forward {
        /// The request that came.
        id: CallId,
        /// Whose coordinator.
        side: Side,
        /// What to send.
        request: GroupRequest,
        /// Whether [`Event::Answered`] is wanted.
        watch: bool,
    },
    /// Answer the client.
    Answer(CallId, GroupResponse),
    /// Close the client's connection.
    Close(CallId),
    /// Keep a parked member's session alive at the former home.
    Beat {
        /// The member.
        member_id: String,
        /// Its instance id.
        instance: Option<String>,
        /// The generation it was last seen with.
        generation: i32,
    },
    /// Ask the former home once more who is there, now that everybody has parked: a member that joined past the
    /// barrier would be left behind.
    Confirm,
    /// Copy the committed offsets to the destination.
    CopyOffsets,
    /// Write the move, with these former member ids.
    Journal(Vec<String>),
    /// Show the data path the new home.
    Publish,
    /// Join the group at the new home for this parked request.
    Join(CallId, GroupCall),
    /// Say when the new home knows so many joins.
    AwaitRegistration(usize),
    /// The placeholder member leaves.
    PlaceholderLeaves,
    /// A member that joined for a client which is gone leaves the new home.
    LeaveNew(String),
    /// These members leave the former home.
    LeaveFormer(Vec<(String, Option<String>)>),
    /// Commit at the new home; the request already bears the new ids.
    Commit(CallId, OffsetCommitRequest),
    /// The move is done.
    Moved,
    /// The move was undone.
    Aborted(String),
    /// Nobody needs the desk any more.
    Detach,
}

/// Where the move is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Members are told to rejoin, and park.
    Barrier,
    /// Offsets are copied.
    Copying,
    /// The move is being written.
    Journaling,
    /// Members join at the new home.
    Handoff,
    /// Done; former ids are still understood.
    Moved,
    /// Undone; laggards are still understood.
    Aborted,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Member {
    pub(super) instance: Option<String>,
    pub(super) assignment: Bytes,
    pub(super) generation: Option<i32>,
    /// It was told to rejoin and has not yet done so.
    pub(super) told: bool,
    pub(super) parked: Option<CallId>,
    pub(super) left: bool,
    /// The former home has forgotten it.
    pub(super) expired: bool,
    /// Its rejoin was answered with what it had; its SyncGroup will be, too.
    pub(super) replayed: bool,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Former {
    /// Its id and generation at the new home, once it has joined there.
    pub(super) now: Option<(String, i32)>,
    /// A late commit was translated already.
    pub(super) translated: bool,
}

/// What a move begins with.
#[derive(Debug, Clone)]
pub struct Setup {
    /// The cluster that coordinates the group.
    pub from: Side,
    /// The protocol (assignor) that the members agreed on.
    pub protocol: String,
    /// The members.
    pub members: Vec<Expected>,
    /// When the barrier ends in an abort.
    pub deadline: Duration,
}

/// The machine.
#[derive(Debug)]
pub struct Machine {
    pub(super) from: Side,
    pub(super) to: Side,
    pub(super) protocol: StrBytes,
    pub(super) phase: Phase,
    pub(super) began: Duration,
    pub(super) deadline: Duration,
    pub(super) last_beat: Duration,
    pub(super) members: BTreeMap<String, Member>,
    /// Heartbeats that wait, by call, with their member.
    pub(super) held: BTreeMap<CallId, (String, GroupCall)>,
    /// Held heartbeats have been answered; from now on each is answered as it comes.
    pub(super) telling: bool,
    /// JoinGroups that wait, by call, with their member where it is an expected one.
    pub(super) parked: BTreeMap<CallId, (Option<String>, GroupCall)>,
    /// Commits of clients that are no members, which wait for the outcome.
    pub(super) waiting: BTreeMap<CallId, GroupCall>,
    pub(super) commits: BTreeSet<CallId>,
    pub(super) drained: bool,
    /// The former home is being asked once more.
    pub(super) confirming: bool,
    /// A member has left through the desk, so the former home rebalances by itself.
    pub(super) somebody_left: bool,
    pub(super) former: BTreeMap<String, Former>,
    /// Joins made at the new home that are not answered yet, with their former id.
    pub(super) joining: BTreeMap<CallId, Option<String>>,
    /// Those of them whose client is gone.
    pub(super) orphaned: BTreeSet<CallId>,
    pub(super) registered: bool,
    /// Late commits being made with new ids.
    pub(super) translating: BTreeMap<CallId, OffsetCommitRequest>,
    /// Forwarded joins of former members, with the former id.
    pub(super) watched_joins: BTreeMap<CallId, String>,
    /// After an abort: a real rebalance is under way at the former home, nothing is played any more.
    pub(super) real: bool,
    pub(super) aborted_at: Duration,
    pub(super) detached: bool,
}

impl Machine {
    /// A move that begins now.
    #[must_use]
    pub fn new(now: Duration, setup: Setup) -> Self {
        let members = setup.members.into_iter().map(|expected| {
            let member = Member {
                instance: expected.instance,
                assignment: expected.assignment,
                ..Member::default()
            };
            (expected.member_id, member)
        });
        Self {
            from: setup.from,
            to: setup.from.other(),
            protocol: StrBytes::from_string(setup.protocol),
            phase: Phase::Barrier,
            began: now,
            deadline: setup.deadline,
            last_beat: now,
            members: members.collect(),
            held: BTreeMap::new(),
            telling: false,
            parked: BTreeMap::new(),
            waiting: BTreeMap::new(),
            commits: BTreeSet::new(),
            drained: false,
            confirming: false,
            somebody_left: false,
            former: BTreeMap::new(),
            joining: BTreeMap::new(),
            orphaned: BTreeSet::new(),
            registered: false,
            translating: BTreeMap::new(),
            watched_joins: BTreeMap::new(),
            real: false,
            aborted_at: Duration::ZERO,
            detached: false,
        }
    }

    /// A group that moved to `to` before this process started, with the ids its members had.
    #[must_use]
    pub fn moved(to: Side, former: &[String]) -> Self {
        let setup = Setup {
            from: to.other(),
            protocol: String::new(),
            members: Vec::new(),
            deadline: Duration::ZERO,
        };
        let mut machine = Self::new(Duration::ZERO, setup);
        machine.phase = Phase::Moved;
        machine.former = former
            .iter()
            .map(|id| (id.clone(), Former::default()))
            .collect();
        machine
    }

    /// Where the move is.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Takes one event.
    pub fn handle(&mut self, now: Duration, event: Event) -> Vec<Command> {
        let mut out = Vec::new();
        match event {
            Event::Call(id, call) => self.call(id, call, &mut out),
            Event::Nudged(id) => self.nudged(id, &mut out),
            Event::Gone(id) => self.gone(id),
            Event::CommitsDrained => self.drained = true,
            Event::Described(state, members) => self.described(now, &state, &members, &mut out),
            Event::Confirmed(described) => self.confirmed(now, described, &mut out),
            Event::Answered(id, response) => self.answered(id, response),
            Event::Beaten(member, code) => self.beaten(&member, code),
            Event::OffsetsCopied(result) if self.phase == Phase::Copying => match result {
                Ok(()) => {
                    self.phase = Phase::Journaling;
                    out.push(Command::Journal(self.members.keys().cloned().collect()));
                }
                Err(why) => self.abort(now, why, &mut out),
            },
            Event::Journaled(result) if self.phase == Phase::Journaling => match result {
                Ok(()) => self.hand_off(&mut out),
                Err(why) => self.abort(now, why, &mut out),
            },
            Event::OffsetsCopied(_) | Event::Journaled(_) => {}
            Event::Joined(id, response) => self.joined(id, response, &mut out),
            Event::Registered => self.all_registered(&mut out),
            Event::CommitAnswered(id, response) => self.commit_answered(id, response, &mut out),
            Event::Tick => self.tick(now, &mut out),
        }
        self.advance(&mut out);
        out
    }

    fn call(&mut self, id: CallId, call: GroupCall, out: &mut Vec<Command>) {
        match self.phase {
            Phase::Barrier => self.at_barrier(id, call, out),
            Phase::Copying | Phase::Journaling => self.while_frozen(id, call, out),
            Phase::Handoff | Phase::Moved => self.after_move(id, call, out),
            Phase::Aborted => self.after_abort(id, call, out),
        }
    }

    /// A waiting request's client is gone. Nothing is answered to it, and it no longer counts.
    fn gone(&mut self, id: CallId) {
        self.held.remove(&id);
        self.waiting.remove(&id);
        if let Some((Some(member), _)) = self.parked.remove(&id)
            && let Some(member) = self.members.get_mut(&member)
        {
            member.parked = None;
            member.told = true;
        }
        if self.joining.contains_key(&id) {
            self.orphaned.insert(id);
        }
    }

    fn answered(&mut self, id: CallId, response: Option<GroupResponse>) {
        self.commits.remove(&id);
        let Some(former) = self.watched_joins.remove(&id) else {
            return;
        };
        if let Some(GroupResponse::Join(joined)) = response
            && joined.error_code == 0
            && let Some(former) = self.former.get_mut(&former)
        {
            former.now = Some((joined.member_id.to_string(), joined.generation_id));
        }
    }

    fn beaten(&mut self, member: &str, code: i16) {
        if answers::is_fatal_to_members(code)
            && let Some(member) = self.members.get_mut(member)
        {
            member.expired = true;
        }
    }

    fn tick(&mut self, now: Duration, out: &mut Vec<Command>) {
        match self.phase {
            Phase::Barrier => {
                if now >= self.began + HOLD_MAX {
                    self.tell(out);
                }
                if now >= self.deadline {
                    let why = self.who_is_missing();
                    self.abort(now, why, out);
                    return;
                }
                self.beat(now, out);
            }
            Phase::Copying | Phase::Journaling => self.beat(now, out),
            Phase::Aborted => self.linger(now, out),
            Phase::Handoff | Phase::Moved => {}
        }
    }

    fn beat(&mut self, now: Duration, out: &mut Vec<Command>) {
        if now < self.last_beat + BEAT_INTERVAL {
            return;
        }
        self.last_beat = now;
        let held: BTreeSet<&str> = self
            .held
            .values()
            .map(|(member, _)| member.as_str())
            .collect();
        for (id, member) in &self.members {
            let waits = member.parked.is_some() || held.contains(id.as_str());
            if let Some(generation) = member.generation
                && waits
                && !member.expired
            {
                out.push(Command::Beat {
                    member_id: id.clone(),
                    instance: member.instance.clone(),
                    generation,
                });
            }
        }
    }

    /// Nobody commits at the former home any more.
    fn may_copy(&self) -> bool {
        let mut members = self.members.values();
        let everybody = members.all(|member| member.left || member.parked.is_some());
        everybody && self.drained && self.commits.is_empty()
    }

    fn confirmed(
        &mut self,
        now: Duration,
        described: Option<(String, Vec<String>)>,
        out: &mut Vec<Command>,
    ) {
        self.confirming = false;
        let Some((state, members)) = described else {
            return;
        };
        self.described(now, &state, &members, out);
        if self.phase == Phase::Barrier && self.may_copy() {
            self.phase = Phase::Copying;
            out.push(Command::CopyOffsets);
        }
    }

    /// The steps that follow from what is known, whichever event made it known.
    fn advance(&mut self, out: &mut Vec<Command>) {
        match self.phase {
            Phase::Barrier => {
                if self.may_copy() && !std::mem::replace(&mut self.confirming, true) {
                    out.push(Command::Confirm);
                }
            }
            Phase::Handoff if self.registered && self.joining.is_empty() => {
                self.phase = Phase::Moved;
                let former = self
                    .members
                    .iter()
                    .filter(|(_, member)| !member.left)
                    .map(|(id, member)| (id.clone(), member.instance.clone()))
                    .collect::<Vec<_>>();
                if !former.is_empty() {
                    out.push(Command::LeaveFormer(former));
                }
                out.push(Command::Moved);
                if self.former.is_empty() {
                    self.detach(out);
                }
            }
            Phase::Copying | Phase::Journaling | Phase::Handoff | Phase::Moved | Phase::Aborted => {
            }
        }
    }

    pub(super) fn detach(&mut self, out: &mut Vec<Command>) {
        if !std::mem::replace(&mut self.detached, true) {
            out.push(Command::Detach);
        }
    }
}
