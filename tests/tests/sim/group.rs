//! The move of a group under every interleaving that a seed can think of: heartbeats, commits, joins, leaves, new
//! members, laggards, lost connections, failing copies and journals.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kafka_protocol::messages::OffsetCommitRequest;
use lockgate::flip::group::machine::{Command, Event, Expected, Machine, Phase, Setup};
use lockgate::flip::{GroupRequest, GroupResponse};
use lockgate::words::Side;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::client::{Client, Mode};
use super::coordinator::{Coordinator, Waiter, commit_answer};

const SEEDS: u64 = 2_000;
const STEP: Duration = Duration::from_millis(20);
const END: Duration = Duration::from_secs(60);
/// After this nothing fails or stalls any more, so that the run can come to rest.
const CALM: Duration = Duration::from_secs(25);
const DEADLINE: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(super) enum Due {
    /// A forwarded request arrives at a coordinator.
    Arrive(u64, Side, GroupRequest, bool),
    /// An answer arrives at a client, having been shown to the ticket.
    Return(u64, GroupResponse, bool),
    /// A connection was lost.
    Lost(u64, bool),
    Event(Event),
    Handoff(u64, GroupRequest),
    DestinationCommit(u64, OffsetCommitRequest),
    Leave(Side, String),
    Registered(usize, Duration),
}

pub(super) struct World {
    pub(super) seed: u64,
    pub(super) rng: StdRng,
    pub(super) now: Duration,
    pub(super) machine: Machine,
    pub(super) source: Coordinator,
    pub(super) destination: Coordinator,
    pub(super) clients: Vec<Client>,
    pub(super) due: BTreeMap<(Duration, u64), Due>,
    pub(super) sequence: u64,
    pub(super) next_call: u64,
    /// Calls whose verdict is due.
    pub(super) pending: BTreeSet<u64>,
    /// Forwarded joins are watched or not.
    pub(super) watched: BTreeSet<u64>,
    /// Commits sent behind a join, with their client and offset.
    pub(super) late: BTreeMap<u64, (usize, i64)>,
    pub(super) published: bool,
    pub(super) detached: bool,
    pub(super) outcome: Option<Result<(), String>>,
    pub(super) former: BTreeSet<String>,
    pub(super) copied: bool,
    pub(super) described: Duration,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let ids: Vec<String> = (0..rng.random_range(1..5))
            .map(|n| format!("old-{n}"))
            .collect();
        let expected = ids.iter().map(|id| Expected {
            member_id: id.clone(),
            instance: None,
            assignment: bytes::Bytes::from_static(b"assigned"),
        });
        let setup = Setup {
            from: Side::Source,
            protocol: "range".to_owned(),
            members: expected.collect(),
            deadline: DEADLINE,
        };
        let clients = (0_i32..).zip(&ids).map(|(key, id)| Client {
            key,
            id: id.clone(),
            generation: 1,
            mode: Mode::Stable,
            call: None,
            next_beat: Duration::from_millis(u64::try_from(key).unwrap() * 700),
            stalled_until: Duration::ZERO,
            offset: 0,
            acked: 0,
        });
        let clients = clients.collect();
        let mut world = Self {
            seed,
            now: Duration::ZERO,
            machine: Machine::new(Duration::ZERO, setup),
            source: Coordinator::new("source", &ids),
            destination: Coordinator::new("destination", &["placeholder".to_owned()]),
            clients,
            due: BTreeMap::new(),
            sequence: 0,
            next_call: 0,
            pending: BTreeSet::new(),
            watched: BTreeSet::new(),
            late: BTreeMap::new(),
            published: false,
            detached: false,
            outcome: None,
            former: ids.into_iter().collect(),
            copied: false,
            described: Duration::ZERO,
            rng,
        };
        let drained = Duration::from_millis(world.rng.random_range(0..3_000));
        world.at(drained, Due::Event(Event::CommitsDrained));
        world
    }

    pub(super) fn chance(&mut self, per_mille: u32) -> bool {
        self.now < CALM && self.rng.random_range(0..1_000) < per_mille
    }

    pub(super) fn at(&mut self, delay: Duration, due: Due) {
        self.sequence += 1;
        self.due.insert((self.now + delay, self.sequence), due);
    }

    pub(super) fn soon(&mut self, due: Due) {
        let delay = Duration::from_millis(self.rng.random_range(0..40));
        self.at(delay, due);
    }

    pub(super) fn take(&mut self, event: Event) {
        for command in self.machine.handle(self.now, event) {
            self.perform(command);
        }
    }

    fn verdict(&mut self, id: u64) {
        assert!(
            self.pending.remove(&id),
            "seed {}: call {id} got a second verdict, or one after its client had gone",
            self.seed
        );
    }

    fn forward(&mut self, id: u64, side: Side, request: GroupRequest, watch: bool) {
        self.verdict(id);
        if side == Side::Destination {
            assert!(self.published, "seed {}: before the journal", self.seed);
            self.no_former_ids(&request);
        } else {
            assert!(
                !self.copied
                    || !matches!(request, GroupRequest::Commit(_))
                    || self.outcome.as_ref().is_some_and(Result::is_err),
                "seed {}: a commit at the source after its offsets were copied",
                self.seed
            );
        }
        if watch {
            self.watched.insert(id);
        }
        self.soon(Due::Arrive(id, side, request, watch));
    }

    fn perform(&mut self, command: Command) {
        match command {
            Command::Forward {
                id,
                side,
                request,
                watch,
            } => self.forward(id, side, request, watch),
            Command::Answer(id, response) => {
                self.verdict(id);
                self.soon(Due::Return(id, response, false));
            }
            Command::Close(id) => {
                self.verdict(id);
                self.soon(Due::Lost(id, false));
            }
            Command::Beat {
                member_id,
                generation,
                ..
            } => {
                let code = self.source.heartbeat(&member_id, generation);
                self.soon(Due::Event(Event::Beaten(member_id, code)));
            }
            Command::Confirm => {
                let members = self.source.members.keys().cloned().collect();
                let described = (self.source.state().to_owned(), members);
                let described = (!self.chance(50)).then_some(described);
                self.soon(Due::Event(Event::Confirmed(described)));
            }
            Command::CopyOffsets => {
                self.copied = true;
                self.destination.offsets = self.source.offsets.clone();
                let result = if self.chance(150) {
                    Err("the destination is behind".to_owned())
                } else {
                    Ok(())
                };
                self.soon(Due::Event(Event::OffsetsCopied(result)));
            }
            Command::Journal(former) => {
                assert!(self.outcome.is_none());
                assert!(former.iter().all(|id| self.former.contains(id)));
                let result = if self.chance(150) {
                    Err("the journal is away".to_owned())
                } else {
                    Ok(())
                };
                self.soon(Due::Event(Event::Journaled(result)));
            }
            Command::Publish => self.published = true,
            Command::Join(id, call) => {
                self.no_former_ids(&call.request);
                self.soon(Due::Handoff(id, call.request));
            }
            Command::AwaitRegistration(joins) => {
                self.soon(Due::Registered(joins, self.now + Duration::from_secs(3)));
            }
            Command::Detach => self.detached = true,
            other => self.perform_late(other),
        }
    }

    /// What happens at the new home, and the outcome.
    fn perform_late(&mut self, command: Command) {
        match command {
            Command::PlaceholderLeaves => {
                self.soon(Due::Leave(Side::Destination, "placeholder".to_owned()));
            }
            Command::LeaveNew(member) => self.soon(Due::Leave(Side::Destination, member)),
            Command::LeaveFormer(members) => {
                for (member, _) in members {
                    self.soon(Due::Leave(Side::Source, member));
                }
            }
            Command::Commit(id, request) => {
                self.no_former_ids(&GroupRequest::Commit(request.clone()));
                self.soon(Due::DestinationCommit(id, request));
            }
            Command::Moved => {
                assert!(self.outcome.replace(Ok(())).is_none(), "seed {}", self.seed);
            }
            Command::Aborted(why) => {
                assert!(
                    !self.published,
                    "seed {}: lifted after the journal",
                    self.seed
                );
                // The loop takes the placeholder out with the abort.
                self.soon(Due::Leave(Side::Destination, "placeholder".to_owned()));
                assert!(
                    self.outcome.replace(Err(why)).is_none(),
                    "seed {}",
                    self.seed
                );
            }
            other => panic!("seed {}: {other:?}", self.seed),
        }
    }

    fn no_former_ids(&self, request: &GroupRequest) {
        let id = match request {
            GroupRequest::Join(join) => &join.member_id,
            GroupRequest::Sync(sync) => &sync.member_id,
            GroupRequest::Heartbeat(beat) => &beat.member_id,
            GroupRequest::Leave(leave) => &leave.member_id,
            GroupRequest::Commit(commit) => &commit.member_id,
            GroupRequest::Fetch(_) => return,
        };
        assert!(
            !self.former.contains(id.as_str()),
            "seed {}: the destination was shown the former id {id:?}",
            self.seed
        );
    }

    fn coordinator(&mut self, side: Side) -> &mut Coordinator {
        match side {
            Side::Source => &mut self.source,
            Side::Destination => &mut self.destination,
        }
    }

    fn deliver(&mut self, due: Due) {
        match due {
            Due::Arrive(id, side, request, watch) => {
                if self.chance(10) {
                    return self.soon(Due::Lost(id, watch));
                }
                let answer = self.coordinator(side).handle(Waiter::Client(id), &request);
                if let Some(answer) = answer {
                    if self.chance(10) {
                        self.soon(Due::Lost(id, watch));
                    } else {
                        self.soon(Due::Return(id, answer, watch));
                    }
                }
            }
            Due::Return(id, response, watch) => {
                if watch {
                    self.watched.remove(&id);
                    self.take(Event::Answered(id, Some(response.clone())));
                }
                self.returned(id, response);
            }
            Due::Lost(id, watch) => {
                if watch {
                    self.watched.remove(&id);
                    self.take(Event::Answered(id, None));
                }
                self.disconnected(id);
            }
            Due::Event(event) => self.take(event),
            Due::Handoff(id, request) => {
                if self.chance(30) {
                    return self.take(Event::Joined(id, None));
                }
                assert_eq!(self.destination.handle(Waiter::Handoff(id), &request), None);
            }
            Due::DestinationCommit(id, request) => {
                let answer = (!self.chance(100)).then(|| {
                    let code = self.destination.commit(&request);
                    commit_answer(&request, code)
                });
                self.take(Event::CommitAnswered(id, answer));
            }
            Due::Leave(side, member) => self.coordinator(side).leave(&member),
            Due::Registered(joins, until) => {
                if self.destination.members.len() > joins || self.now >= until {
                    self.take(Event::Registered);
                } else {
                    self.at(STEP, Due::Registered(joins, until));
                }
            }
        }
    }

    fn settle(&mut self) {
        for (waiter, response) in [self.source.settle(), self.destination.settle()].concat() {
            match (waiter, response) {
                (Waiter::Client(id), response) => {
                    let watch = self.watched.contains(&id);
                    self.soon(Due::Return(id, response, watch));
                }
                (Waiter::Handoff(id), GroupResponse::Join(joined)) => {
                    self.soon(Due::Event(Event::Joined(id, Some(joined))));
                }
                (Waiter::Handoff(_), other) => panic!("{other:?}"),
            }
        }
    }

    fn step(&mut self) {
        while let Some(entry) = self.due.first_entry() {
            if entry.key().0 > self.now {
                break;
            }
            let due = entry.remove();
            self.deliver(due);
            self.settle();
        }
        if self.machine.phase() == Phase::Barrier && self.now >= self.described {
            self.described = self.now + Duration::from_secs(1);
            let members = self.source.members.keys().cloned().collect();
            self.take(Event::Described(self.source.state().to_owned(), members));
        }
        for index in 0..self.clients.len() {
            self.client_acts(index);
        }
        if self.clients.len() < 7 && self.chance(1) {
            self.newcomer();
        }
        self.take(Event::Tick);
        self.now += STEP;
    }

    fn check_the_end(&self) {
        let seed = self.seed;
        let outcome = self.outcome.as_ref();
        let moved = outcome
            .unwrap_or_else(|| panic!("seed {seed}: no outcome"))
            .is_ok();
        assert_eq!(moved, self.published, "seed {seed}");
        let (home, other) = if moved {
            (&self.destination, &self.source)
        } else {
            (&self.source, &self.destination)
        };
        assert!(
            other.members.is_empty(),
            "seed {seed}: left behind: {other:?}"
        );
        for client in &self.clients {
            let committed = home.offsets.get(&client.key).copied().unwrap_or(0);
            assert!(
                committed >= client.acked,
                "seed {seed}: commit {} of {} was acknowledged, the group is at {committed}",
                client.acked,
                client.id
            );
            if client.mode != Mode::Gone {
                assert_eq!(client.mode, Mode::Stable, "seed {seed}: {client:?}");
                assert!(
                    home.members.contains_key(&client.id),
                    "seed {seed}: {client:?}"
                );
            }
        }
    }
}

fn run(seed: u64) -> World {
    let mut world = World::new(seed);
    while world.now < END {
        world.step();
    }
    // Requests under way come home; no new ones begin.
    world.check_the_end();
    world
}

#[test]
fn members_never_notice_more_than_a_rebalance() {
    let (mut moved, mut aborted) = (0, 0);
    for seed in 0..SEEDS {
        match run(seed).outcome {
            Some(Ok(())) => moved += 1,
            _ => aborted += 1,
        }
    }
    // Both ways must really have been taken.
    assert!(
        moved > 50 && aborted > 50,
        "moved {moved}, aborted {aborted}"
    );
}
