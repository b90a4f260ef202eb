//! The loop of one group's desk: brings requests and outcomes to the machine and performs what it says. It outlives
//! the move for as long as the data path holds its desk.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};

use super::handoff;
use super::machine::{CallId, Command, Event, Machine, Phase, Setup};
use super::offsets::{self, Committer};
use super::placeholder::{self, Placeholder};
use super::prepare;
use crate::error::{Error, Kind};
use crate::flip::desk::{DeskCall, GroupDesk, GroupRequest, Ticket, Verdict};
use crate::flip::journal::{GroupRecord, Record, put_group};
use crate::flip::operation::Progress;
use crate::flip::service::Deps;
use crate::flip::survey;
use crate::route::{GroupPlace, RouteId};
use crate::upstream::Target;
use crate::words::Side;

const TICK: Duration = Duration::from_millis(50);
const DESCRIBE_INTERVAL: Duration = Duration::from_secs(1);
/// Copying offsets may take this long; members' sessions at the former home are kept alive meanwhile.
const COPY_MAX: Duration = Duration::from_secs(15);
/// How long the journal is tried for before the move is undone.
const JOURNAL_MAX: Duration = Duration::from_secs(5);
const JOURNAL_RETRY: Duration = Duration::from_millis(500);
/// A late commit is answered in order with everything else on its connection, so it may not wait long.
const LATE_COMMIT_MAX: Duration = Duration::from_secs(2);

/// How a move of a group failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::flip) enum MoveFailure {
    /// It did not begin.
    Refused(String),
    /// It began and was undone; the group is where it was.
    Undone(String),
}

struct Desk {
    deps: Arc<Deps>,
    route: RouteId,
    group: Arc<str>,
    from: Side,
    machine: Machine,
    door: Weak<GroupDesk>,
    began: Instant,
    next_call: CallId,
    /// Calls whose verdict is still due.
    pending: HashMap<CallId, oneshot::Sender<Verdict>>,
    events: mpsc::UnboundedSender<Event>,
    placeholder: Option<Placeholder>,
    committer: Committer,
    outcome: Option<oneshot::Sender<Result<(), String>>>,
    progress: Option<Progress>,
    described_at: Option<Instant>,
}

/// Moves one group and returns when it has moved, or is where it was.
pub(in crate::flip) async fn move_group(
    deps: &Arc<Deps>,
    route: RouteId,
    group: &str,
    to: Side,
    progress: &Progress,
) -> Result<(), MoveFailure> {
    let from = to.other();
    let refused = |error: Error| MoveFailure::Refused(error.to_string());
    progress.step(&format!("{group}: prepare"));
    let prepared = prepare::prepare(deps, group, to).await.map_err(refused)?;
    let record = GroupRecord::prepared(from);
    if let Err(error) = put_group(&deps.store, Record::GroupPrepare, group, &record).await {
        if let Some(placeholder) = prepared.placeholder {
            placeholder.leave().await;
        }
        // One copy may hold it.
        strike(deps, group, from).await;
        return Err(refused(error));
    }
    progress.step(&format!("{group}: barrier"));
    let (outcome, ended) = oneshot::channel();
    let setup = Setup {
        from,
        protocol: prepared.movable.protocol,
        members: prepared.movable.members,
        deadline: deps.config.timing.group_move,
    };
    let (calls, door) = open_door();
    let (events, inbox) = mpsc::unbounded_channel();
    let (member_id, generation) = match &prepared.placeholder {
        Some(placeholder) => (placeholder.member_id.clone(), placeholder.generation),
        None => placeholder::nobody(),
    };
    let desk = Desk {
        machine: Machine::new(Duration::ZERO, setup),
        outcome: Some(outcome),
        progress: Some(progress.clone()),
        placeholder: prepared.placeholder,
        committer: Committer {
            member_id,
            generation,
        },
        ..Desk::new(deps, route, group, from, &door, events.clone())
    };
    let group = desk.group.clone();
    tokio::spawn(desk.run(calls, inbox));
    raise_barrier(deps, group.clone(), from, door, events);
    match ended.await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(why)) => {
            strike(deps, &group, from).await;
            Err(MoveFailure::Undone(why))
        }
        Err(_) => Err(MoveFailure::Undone(
            "the loop that moved the group ended early".to_owned(),
        )),
    }
}

/// Strikes a move that came to nothing from the journal. Until that is written a start needs both copies.
async fn strike(deps: &Deps, group: &str, home: Side) {
    let began = Instant::now();
    let back = GroupRecord::back(home);
    while let Err(error) = put_group(&deps.store, Record::GroupBack, group, &back).await {
        if began.elapsed() >= JOURNAL_MAX {
            tracing::warn!(group, %error, "a move that was undone stays in the journal; the next start strikes it");
            return;
        }
        tokio::time::sleep(JOURNAL_RETRY).await;
    }
}

/// Strikes a move that an earlier process did not end. Called with what both copies say: neither holds the move.
pub(in crate::flip) async fn strike_unfinished(deps: &Deps, group: &str, record: &GroupRecord) {
    if record.moving && Side::BOTH.into_iter().all(|side| deps.store.holds(side)) {
        strike(deps, group, record.home).await;
    }
}

/// Brings every request of the group to the desk, and tells it once no commit decided before is on its way.
fn raise_barrier(
    deps: &Deps,
    group: Arc<str>,
    home: Side,
    door: Arc<GroupDesk>,
    events: mpsc::UnboundedSender<Event>,
) {
    let drain = deps.routes.fence_commits(|snapshot| {
        let place = GroupPlace {
            home,
            desk: Some(door),
        };
        Arc::make_mut(&mut snapshot.groups).insert(group, place);
    });
    let within = deps.config.timing.group_move;
    tokio::spawn(async move {
        if drain.drained(within).await.is_some() {
            // The loop may be over; then nobody waits for this.
            let _ = events.send(Event::CommitsDrained);
        }
    });
}

/// Sets up the desk of a group that moved before this process started.
pub(in crate::flip) fn resume(deps: &Arc<Deps>, route: RouteId, group: &str, record: &GroupRecord) {
    let to = record.home;
    let (calls, door) = open_door();
    let (events, inbox) = mpsc::unbounded_channel();
    let desk = Desk {
        machine: Machine::moved(to, &record.former_members),
        ..Desk::new(deps, route, group, to.other(), &door, events)
    };
    let name = desk.group.clone();
    let place = GroupPlace {
        home: to,
        desk: Some(door),
    };
    deps.routes.update(|snapshot| {
        Arc::make_mut(&mut snapshot.groups).insert(name.clone(), place);
    });
    tokio::spawn(desk.run(calls, inbox));
    // A process that was killed in the handoff left its placeholder behind, and the former members at the former home.
    let (deps, former) = (deps.clone(), record.former_members.clone());
    let group: Arc<str> = Arc::from(group);
    tokio::spawn(async move {
        if let Err(error) = placeholder::evict(deps.clusters.on(to), &group).await {
            tracing::warn!(%group, %error, "a placeholder that was left behind could not be removed");
        }
        let former: Vec<_> = former.into_iter().map(|id| (id, None)).collect();
        leave_former(&deps, to.other(), &group, &former).await;
    });
}

fn open_door() -> (mpsc::UnboundedReceiver<DeskCall>, Arc<GroupDesk>) {
    let (calls, inbox) = mpsc::unbounded_channel();
    (inbox, Arc::new(GroupDesk { calls }))
}

async fn leave_former(deps: &Deps, from: Side, group: &str, members: &[(String, Option<String>)]) {
    // Best effort: sessions that are left behind end by themselves.
    if let Err(error) = placeholder::leave_at(deps.clusters.on(from), group, members).await {
        tracing::info!(group, %error, "former members could not leave their former home");
    }
}

impl Desk {
    fn new(
        deps: &Arc<Deps>,
        route: RouteId,
        group: &str,
        from: Side,
        door: &Arc<GroupDesk>,
        events: mpsc::UnboundedSender<Event>,
    ) -> Self {
        let (member_id, generation) = placeholder::nobody();
        Self {
            deps: deps.clone(),
            route,
            group: Arc::from(group),
            from,
            machine: Machine::moved(from.other(), &[]),
            door: Arc::downgrade(door),
            began: Instant::now(),
            next_call: 0,
            pending: HashMap::new(),
            events,
            placeholder: None,
            committer: Committer {
                member_id,
                generation,
            },
            outcome: None,
            progress: None,
            described_at: None,
        }
    }

    async fn run(
        mut self,
        mut calls: mpsc::UnboundedReceiver<DeskCall>,
        mut inbox: mpsc::UnboundedReceiver<Event>,
    ) {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let event = tokio::select! {
                call = calls.recv() => match call {
                    Some(call) => self.accept(call),
                    // Nobody holds the desk any more, and every verdict has been given.
                    None if self.pending.is_empty() && self.outcome.is_none() => return,
                    None => {
                        tokio::time::sleep(TICK).await;
                        Event::Tick
                    }
                },
                // The loop holds a sender itself: this never ends.
                Some(event) = inbox.recv() => event,
                _ = ticks.tick(), if self.needs_time() => Event::Tick,
            };
            self.sweep();
            self.look();
            self.take(event);
        }
    }

    /// A desk whose group has moved waits for requests alone.
    fn needs_time(&self) -> bool {
        !(self.machine.phase() == Phase::Moved && self.pending.is_empty())
    }

    fn accept(&mut self, call: DeskCall) -> Event {
        self.next_call += 1;
        let id = self.next_call;
        if matches!(call.call.request, GroupRequest::Heartbeat(_)) {
            let (events, nudged) = (self.events.clone(), call.nudged);
            tokio::spawn(async move {
                if nudged.await.is_ok() {
                    let _ = events.send(Event::Nudged(id));
                }
            });
        }
        self.pending.insert(id, call.verdict);
        Event::Call(id, call.call)
    }

    /// Tells the machine of clients that went away, before it hears anything else.
    fn sweep(&mut self) {
        let gone: Vec<CallId> = self
            .pending
            .iter()
            .filter(|(_, verdict)| verdict.is_closed())
            .map(|(id, _)| *id)
            .collect();
        for id in gone {
            self.pending.remove(&id);
            self.take(Event::Gone(id));
        }
    }

    /// Asks the former home who is there, once a second while members are waited for.
    fn look(&mut self) {
        let due = self
            .described_at
            .is_none_or(|last| last.elapsed() >= DESCRIBE_INTERVAL);
        if self.machine.phase() != Phase::Barrier || !due {
            return;
        }
        self.described_at = Some(Instant::now());
        let (deps, group, from) = (self.deps.clone(), self.group.clone(), self.from);
        self.later(async move {
            let (state, members) = who_is_there(&deps, from, &group).await?;
            Some(Event::Described(state, members))
        });
    }

    fn confirm(&self) {
        let (deps, group, from) = (self.deps.clone(), self.group.clone(), self.from);
        self.later(async move {
            let described = who_is_there(&deps, from, &group).await;
            if described.is_none() {
                // The machine asks again at once; the deadline of the barrier ends it.
                tokio::time::sleep(TICK).await;
            }
            Some(Event::Confirmed(described))
        });
    }

    /// Runs something beside the loop; what comes of it is an event.
    fn later(&self, work: impl Future<Output = Option<Event>> + Send + 'static) {
        let events = self.events.clone();
        tokio::spawn(async move {
            if let Some(event) = work.await {
                let _ = events.send(event);
            }
        });
    }

    fn take(&mut self, event: Event) {
        let now = self.began.elapsed();
        for command in self.machine.handle(now, event) {
            self.perform(command);
        }
    }

    fn give(&mut self, id: CallId, verdict: Verdict) {
        if let Some(sender) = self.pending.remove(&id) {
            // A client that went away in this moment needs no verdict; a ticket in it tells so when it is dropped.
            let _ = sender.send(verdict);
        }
    }

    fn perform(&mut self, command: Command) {
        match command {
            Command::Forward {
                id,
                side,
                request,
                watch,
            } => self.forward(id, side, request, watch),
            Command::Answer(id, response) => self.give(id, Verdict::Answer(response)),
            Command::Close(id) => self.give(id, Verdict::Close),
            Command::Beat {
                member_id,
                instance,
                generation,
            } => self.beat(member_id, instance, generation),
            Command::Confirm => self.confirm(),
            Command::CopyOffsets => self.copy_offsets(),
            Command::Journal(former) => self.journal(former),
            Command::Publish => self.publish(true, self.from.other()),
            Command::Join(id, call) => {
                let (deps, group, to) = (self.deps.clone(), self.group.clone(), self.from.other());
                self.later(async move {
                    let joined = handoff::join(deps.clusters.on(to), &group, call).await;
                    Some(Event::Joined(id, joined))
                });
            }
            Command::AwaitRegistration(joins) => self.await_registration(joins),
            Command::PlaceholderLeaves => self.placeholder_leaves(),
            Command::LeaveNew(member) => {
                let (deps, group, to) = (self.deps.clone(), self.group.clone(), self.from.other());
                self.later(async move {
                    leave_former(&deps, to, &group, &[(member, None)]).await;
                    None
                });
            }
            Command::LeaveFormer(members) => {
                let (deps, group, from) = (self.deps.clone(), self.group.clone(), self.from);
                self.later(async move {
                    leave_former(&deps, from, &group, &members).await;
                    None
                });
            }
            Command::Commit(id, request) => {
                let (deps, group, to) = (self.deps.clone(), self.group.clone(), self.from.other());
                self.later(async move {
                    let answer = deps.clusters.on(to).call_within(
                        Target::Group(&group),
                        &request,
                        LATE_COMMIT_MAX,
                    );
                    let answer = tokio::time::timeout(LATE_COMMIT_MAX, answer).await;
                    Some(Event::CommitAnswered(id, answer.ok().and_then(Result::ok)))
                });
            }
            Command::Moved => self.end(Ok(())),
            Command::Aborted(why) => {
                self.placeholder_leaves();
                self.end(Err(why));
            }
            Command::Detach => {
                let home = match self.machine.phase() {
                    Phase::Moved => self.from.other(),
                    _ => self.from,
                };
                self.publish(false, home);
            }
        }
    }

    fn forward(&mut self, id: CallId, side: Side, request: GroupRequest, watch: bool) {
        let ticket = watch.then(|| {
            let (shown, answer) = oneshot::channel();
            self.later(async move { Some(Event::Answered(id, answer.await.ok())) });
            Ticket(shown)
        });
        self.give(
            id,
            Verdict::Forward {
                side,
                request,
                ticket,
            },
        );
    }

    fn beat(&self, member_id: String, instance: Option<String>, generation: i32) {
        let (deps, group, from) = (self.deps.clone(), self.group.clone(), self.from);
        self.later(async move {
            let cluster = deps.clusters.on(from);
            let instance = instance.as_deref();
            let code = placeholder::beat(cluster, &group, &member_id, instance, generation).await;
            Some(Event::Beaten(member_id, code.ok()?))
        });
    }

    fn copy_offsets(&self) {
        self.step("offsets");
        let (deps, group) = (self.deps.clone(), self.group.clone());
        let (route, from, committer) = (self.route, self.from, self.committer.clone());
        self.later(async move {
            let copy = offsets::copy(&deps, route, &group, from, committer);
            let copied = match tokio::time::timeout(COPY_MAX, copy).await {
                Ok(result) => result.map_err(|error| error.to_string()),
                Err(_) => Err(format!("offsets were not copied within {COPY_MAX:?}")),
            };
            Some(Event::OffsetsCopied(copied))
        });
    }

    fn journal(&self, former: Vec<String>) {
        self.step("journal");
        let (deps, group, from) = (self.deps.clone(), self.group.clone(), self.from);
        self.later(
            async move { Some(Event::Journaled(journal(&deps, &group, from, former).await)) },
        );
    }

    fn await_registration(&self, joins: usize) {
        self.step("handoff");
        let (deps, group, to) = (self.deps.clone(), self.group.clone(), self.from.other());
        let has_placeholder = self.placeholder.is_some();
        self.later(async move {
            if joins > 0 && has_placeholder {
                handoff::registered(deps.clusters.on(to), &group, joins + 1).await;
            }
            Some(Event::Registered)
        });
    }

    fn placeholder_leaves(&mut self) {
        if let Some(placeholder) = self.placeholder.take() {
            tokio::spawn(placeholder.leave());
        }
    }

    /// Shows the data path where the group is; `desk` keeps the desk in its way.
    fn publish(&self, desk: bool, home: Side) {
        let Some(door) = self.door.upgrade() else {
            return;
        };
        self.deps.routes.update(|snapshot| {
            let places = Arc::make_mut(&mut snapshot.groups);
            // A later move of the same group has a desk of its own, which is left alone.
            let mine = places
                .get(&self.group)
                .and_then(|place| place.desk.as_ref())
                .is_some_and(|known| Arc::ptr_eq(known, &door));
            if mine {
                let desk = desk.then(|| door.clone());
                places.insert(self.group.clone(), GroupPlace { home, desk });
            }
        });
    }

    fn step(&self, name: &str) {
        if let Some(progress) = &self.progress {
            progress.step(&format!("{}: {name}", self.group));
        }
    }

    fn end(&mut self, outcome: Result<(), String>) {
        self.progress = None;
        if let Some(waiting) = self.outcome.take() {
            let _ = waiting.send(outcome);
        }
    }
}

/// The group's state and its members' ids, as its coordinator says.
async fn who_is_there(deps: &Deps, side: Side, group: &str) -> Option<(String, Vec<String>)> {
    let described = survey::describe(deps.clusters.on(side), group).await.ok()?;
    let members = described
        .members
        .iter()
        .map(|member| member.member_id.to_string());
    Some((described.group_state.to_string(), members.collect()))
}

/// Writes the move. When this returns an error, the journal certainly says that the group is where it was.
async fn journal(
    deps: &Deps,
    group: &str,
    from: Side,
    former_members: Vec<String>,
) -> Result<(), String> {
    let moved = GroupRecord::moved(from.other(), former_members);
    let began = Instant::now();
    let why = loop {
        match put_group(&deps.store, Record::GroupMove, group, &moved).await {
            Ok(()) => return Ok(()),
            Err(error) if error.kind == Kind::Refused || began.elapsed() >= JOURNAL_MAX => {
                break error;
            }
            Err(_) => tokio::time::sleep(JOURNAL_RETRY).await,
        }
    };
    // One copy may hold the move by now. Members may go on at the former home only once the journal says so; until
    // then they stay parked.
    let back = GroupRecord::back(from);
    while let Err(error) = put_group(&deps.store, Record::GroupBack, group, &back).await {
        tracing::error!(group, %error, "a move that failed cannot be struck from the journal yet");
        tokio::time::sleep(JOURNAL_RETRY).await;
    }
    Err(format!("the move could not be journaled: {why}"))
}
