//! The move of a group under every interleaving that a seed can think of: heartbeats, commits, joins, leaves, new
//! members, laggards, lost connections, failing copies and journals.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_commit_response::{
    OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use kafka_protocol::messages::{
    HeartbeatRequest, JoinGroupRequest, LeaveGroupRequest, OffsetCommitRequest,
    OffsetCommitResponse, SyncGroupRequest,
};
use kafka_protocol::protocol::StrBytes;
use lockgate::flip::group::answers::{REBALANCE_IN_PROGRESS, is_fatal_to_members};
use lockgate::flip::group::machine::{Command, Event, Expected, Machine, Phase, Setup};
use lockgate::flip::{GroupCall, GroupRequest, GroupResponse};
use lockgate::words::Side;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::coordinator::{Coordinator, Waiter};

const SEEDS: u64 = 2_000;
const STEP: Duration = Duration::from_millis(20);
const END: Duration = Duration::from_secs(60);
/// After this nothing fails or stalls any more, so that the run can come to rest.
const CALM: Duration = Duration::from_secs(25);
const DEADLINE: Duration = Duration::from_secs(10);

pub fn commit_answer(request: &OffsetCommitRequest, code: i16) -> OffsetCommitResponse {
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

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Stable,
    MustJoin,
    MustSync,
    Gone,
}

/// An eager consumer: one request at a time on its connection.
#[derive(Debug)]
struct Client {
    key: i32,
    id: String,
    generation: i32,
    mode: Mode,
    call: Option<(u64, GroupRequest)>,
    next_beat: Duration,
    stalled_until: Duration,
    offset: i64,
    acked: i64,
}

#[derive(Debug)]
enum Due {
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

struct World {
    seed: u64,
    rng: StdRng,
    now: Duration,
    machine: Machine,
    source: Coordinator,
    destination: Coordinator,
    clients: Vec<Client>,
    due: BTreeMap<(Duration, u64), Due>,
    sequence: u64,
    next_call: u64,
    /// Calls whose verdict is due.
    pending: BTreeSet<u64>,
    /// Forwarded joins are watched or not.
    watched: BTreeSet<u64>,
    published: bool,
    detached: bool,
    outcome: Option<Result<(), String>>,
    former: BTreeSet<String>,
    copied: bool,
    described: Duration,
}

fn text(value: &str) -> StrBytes {
    StrBytes::from_string(value.to_owned())
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

    fn chance(&mut self, per_mille: u32) -> bool {
        self.now < CALM && self.rng.random_range(0..1_000) < per_mille
    }

    fn at(&mut self, delay: Duration, due: Due) {
        self.sequence += 1;
        self.due.insert((self.now + delay, self.sequence), due);
    }

    fn soon(&mut self, due: Due) {
        let delay = Duration::from_millis(self.rng.random_range(0..40));
        self.at(delay, due);
    }

    fn take(&mut self, event: Event) {
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

    fn perform(&mut self, command: Command) {
        match command {
            Command::Forward {
                id,
                side,
                request,
                watch,
            } => {
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
            Command::Detach => self.detached = true,
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

    /// A client reads an answer.
    fn returned(&mut self, id: u64, response: GroupResponse) {
        let seed = self.seed;
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

    fn disconnected(&mut self, id: u64) {
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

    fn send(&mut self, index: usize, request: GroupRequest) {
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

    fn client_acts(&mut self, index: usize) {
        if let Some((id, request)) = self.clients[index].call.clone() {
            let waits = self.pending.contains(&id);
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
                let partition = OffsetCommitRequestPartition::default()
                    .with_partition_index(client.key)
                    .with_committed_offset(client.offset);
                let topic = OffsetCommitRequestTopic::default().with_partitions(vec![partition]);
                GroupRequest::Commit(
                    OffsetCommitRequest::default()
                        .with_member_id(member)
                        .with_generation_id_or_member_epoch(client.generation)
                        .with_topics(vec![topic]),
                )
            }
            _ => return,
        };
        self.send(index, request);
    }

    fn newcomer(&mut self) {
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
