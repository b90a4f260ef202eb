//! Performs the commands of a producer move, one after the other.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::machine::{Command, Drained, Event, Machine, Outcome};
use crate::error;
use crate::flip::facts;
use crate::flip::journal::{
    FlipRecord, FlipStep, Record, RouteRecord, put_retired, put_route, put_staying,
};
use crate::flip::operation::Progress;
use crate::flip::service::Deps;
use crate::flip::survey::{self, Surveyed};
use crate::route::{self, GroupPlace, RouteId, Snapshot};
use crate::state::CopyOrder;
use crate::words::Side;

const TICK: Duration = Duration::from_millis(100);
/// How often a start looks whether the copy that may hold Open has come back.
const COPY_POLL: Duration = Duration::from_millis(500);

struct Run<'a> {
    deps: &'a Deps,
    route: RouteId,
    name: String,
    to: Side,
    topics: Vec<Arc<str>>,
    /// What the route was before the fence; generations count from here.
    before: RouteRecord,
    progress: Option<&'a Progress>,
}

/// Moves the producers of a route whose gate is open.
pub(in crate::flip) async fn move_producers(
    deps: &Deps,
    route: RouteId,
    to: Side,
    topics: Vec<Arc<str>>,
    progress: &Progress,
) -> Outcome {
    let snapshot = deps.routes.load_full();
    let Some(state) = snapshot.routes.get(route.0) else {
        return Outcome::Lifted("there is no such route".to_owned());
    };
    let run = Run {
        deps,
        route,
        name: snapshot.table.name(route).to_owned(),
        to,
        topics,
        before: RouteRecord::of(state),
        progress: Some(progress),
    };
    progress.step("prepare");
    if let Err(error) = run.prepare().await {
        deps.replicator.lifted(&run.topics);
        return Outcome::Lifted(error.to_string());
    }
    let (machine, commands) = Machine::begin(deps.config.timing.flip);
    run.drive(machine, commands).await
}

/// Ends a move that an earlier process left unfinished, before clients are served.
pub(in crate::flip) async fn resume(deps: &Deps, route: RouteId, mut flip: FlipRecord) {
    let key = crate::state::Key::new(
        crate::state::Kind::Flip,
        deps.routes.load().table.name(route),
    );
    // Open is written to the new home's copy first. While that copy cannot be read, it may be there: the fence stays.
    while flip.step == FlipStep::Fenced && !deps.store.holds(flip.to) {
        tokio::time::sleep(COPY_POLL).await;
        match deps.store.get::<FlipRecord>(&key) {
            Ok(Some(newer)) => flip = newer,
            Ok(None) => return,
            Err(error) => tracing::error!(%error, "the journal of a flip cannot be read"),
        }
    }
    let snapshot = deps.routes.load_full();
    let Some(state) = snapshot.routes.get(route.0) else {
        return;
    };
    // The move's own generations are behind it; counting goes on from what the journal has.
    let mut before = RouteRecord::of(state);
    before.home = flip.to.other();
    let run = Run {
        deps,
        route,
        name: snapshot.table.name(route).to_owned(),
        to: flip.to,
        topics: flip
            .topics
            .iter()
            .map(|topic| topic.as_str().into())
            .collect(),
        before,
        progress: None,
    };
    let (machine, commands) = Machine::resume(flip.step);
    let outcome = run.drive(machine, commands).await;
    tracing::warn!(route = %run.name, ?outcome, "a flip that was under way at the last end is over");
}

impl Run<'_> {
    async fn drive(&self, mut machine: Machine, commands: Vec<Command>) -> Outcome {
        let began = Instant::now();
        let mut commands = std::collections::VecDeque::from(commands);
        loop {
            let Some(command) = commands.pop_front() else {
                // A journal write failed; the machine says when it is tried again.
                tokio::time::sleep(TICK).await;
                commands.extend(machine.handle(began.elapsed(), Event::Tick));
                continue;
            };
            let event = match command {
                Command::Finish(outcome) => return outcome,
                command => self.perform(command).await,
            };
            if let Some(event) = event {
                if let Event::OpenJournaled(Err(why))
                | Event::LiftJournaled(Err(why))
                | Event::RetireJournaled(Err(why)) = &event
                {
                    tracing::error!(route = %self.name, %why, "the journal of a flip cannot be written");
                }
                commands.extend(machine.handle(began.elapsed(), event));
            }
        }
    }

    async fn perform(&self, command: Command) -> Option<Event> {
        match command {
            Command::JournalFence => {
                self.step("fence");
                let written = self.write(Record::Fence, self.fenced(), CopyOrder::Both);
                Some(Event::FenceJournaled(written.await))
            }
            Command::FenceAndDrain => Some(Event::Drained(self.fence_and_drain().await)),
            Command::Level { settle, within } => {
                self.step("level");
                Some(Event::Leveled(self.level(settle, within).await))
            }
            Command::JournalOpen => {
                self.step("open");
                let written = self.write(Record::Open, self.open(), CopyOrder::First(self.to));
                Some(Event::OpenJournaled(written.await))
            }
            Command::PublishOpen => {
                self.publish(self.open());
                None
            }
            Command::RetireLinks => {
                self.step("retire");
                self.deps.replicator.retire(&self.topics, self.to.other());
                None
            }
            Command::JournalRetired => {
                let order = CopyOrder::Enough(self.to);
                let written = put_retired(&self.deps.store, &self.name, order).await;
                Some(Event::RetireJournaled(
                    written.map_err(|error| error.to_string()),
                ))
            }
            Command::JournalLift => {
                self.step("lift");
                let order = CopyOrder::Enough(self.to.other());
                let written = self.write(Record::Lift, self.lifted(), order).await;
                Some(Event::LiftJournaled(written))
            }
            Command::PublishLift => {
                self.publish(self.lifted());
                self.deps.replicator.lifted(&self.topics);
                None
            }
            Command::Finish(_) => None,
        }
    }

    fn step(&self, name: &str) {
        if let Some(progress) = self.progress {
            progress.step(name);
        }
    }

    fn fenced(&self) -> RouteRecord {
        RouteRecord {
            generation: self.before.generation.next(),
            fenced: true,
            ..self.before
        }
    }

    fn open(&self) -> RouteRecord {
        RouteRecord {
            home: self.to,
            generation: self.before.generation.next().next(),
            fenced: false,
            ..self.before
        }
    }

    fn lifted(&self) -> RouteRecord {
        RouteRecord {
            generation: self.before.generation.next().next(),
            fenced: false,
            ..self.before
        }
    }

    async fn write(
        &self,
        record: Record,
        state: RouteRecord,
        order: CopyOrder,
    ) -> Result<(), String> {
        let step = match record {
            Record::Fence => Some(FlipStep::Fenced),
            Record::Open => Some(FlipStep::Opened),
            _ => None,
        };
        let flip = step.map(|step| FlipRecord {
            step,
            to: self.to,
            topics: self.topics.iter().map(ToString::to_string).collect(),
        });
        let store = &self.deps.store;
        put_route(store, record, &self.name, state, flip.as_ref(), order)
            .await
            .map_err(|error| error.to_string())
    }

    fn publish(&self, state: RouteRecord) {
        self.deps.routes.update(|snapshot| {
            if let Some(route) = snapshot.routes.get_mut(self.route.0) {
                *route = state.state();
            }
        });
    }

    /// What can be done before anybody has to wait: settings, and where groups are that have not moved.
    async fn prepare(&self) -> error::Result<()> {
        self.deps
            .replicator
            .before_open(&self.topics, self.to)
            .await?;
        let here = self.to.other();
        let snapshot = self.deps.routes.load_full();
        let mut staying = Vec::new();
        for surveyed in survey::groups(self.deps.clusters.on(here)).await? {
            let group = surveyed.group;
            let follows = !snapshot.groups.contains_key(group.as_str());
            if follows && snapshot.table.group(&group) == Some(self.route) {
                staying.push(group);
            }
        }
        if staying.is_empty() {
            return Ok(());
        }
        // A group without a record is where its route's producers are: from Open on that would be elsewhere.
        put_staying(&self.deps.store, &staying, here).await?;
        self.deps.routes.update(|snapshot| {
            let groups = Arc::make_mut(&mut snapshot.groups);
            for group in &staying {
                let place = GroupPlace {
                    home: here,
                    desk: None,
                };
                // A move of the group that began meanwhile knows better.
                groups.entry(group.as_str().into()).or_insert(place);
            }
        });
        Ok(())
    }

    async fn fence_and_drain(&self) -> Drained {
        let fenced = self.fenced();
        let drain = self.deps.routes.fence(|snapshot| {
            if let Some(route) = snapshot.routes.get_mut(self.route.0) {
                *route = fenced.state();
            }
        });
        self.step("drain");
        let (clients, within) = (&self.deps.clients, self.deps.config.timing.drain);
        match clients.drained(&drain, within).await {
            Some(route::Drained::Answered) => Drained::Answered,
            Some(route::Drained::WithLosses { .. }) => Drained::WithLosses,
            None => Drained::TimedOut,
        }
    }

    /// The groups that the former home knows now.
    async fn groups_left(&self) -> error::Result<Vec<Surveyed>> {
        loop {
            match survey::groups(self.deps.clusters.on(self.to.other())).await {
                // The level's own deadline bounds this.
                Err(error) if error.is_retriable() => tokio::time::sleep(TICK).await,
                asked => return asked,
            }
        }
    }

    async fn level(&self, settle: bool, within: Duration) -> Result<(), String> {
        let still_for = if settle {
            self.deps.config.timing.settle
        } else {
            Duration::ZERO
        };
        let home = self.to.other();
        let replicator = &self.deps.replicator;
        let level = replicator.level(home, &self.topics, still_for, within);
        let (level, groups) = (Box::pin(level), Box::pin(self.groups_left()));
        let both = async { tokio::try_join!(level, groups) };
        let groups = match tokio::time::timeout(within, both).await {
            Ok(Ok((_, groups))) => groups,
            Ok(Err(error)) => return Err(error.to_string()),
            Err(_) => return Err("not within the deadline".to_owned()),
        };
        let snapshot = self.deps.routes.load_full();
        // As of the look at the source with which the proof began, so behind the fence.
        let topics = facts::topics(self.deps, &snapshot, self.route);
        let groups = groups.iter().map(|surveyed| surveyed.group.as_str());
        // Also of requests that are parked: they are looked at before they park.
        let foreign = self.deps.clients.foreign_producer_ids(self.route);
        match newcomer(
            &snapshot,
            self.route,
            self.to,
            &self.topics,
            &topics,
            &foreign,
            groups,
        ) {
            Some(why) => Err(why),
            None => self.take_time(within).await,
        }
    }

    async fn take_time(&self, within: Duration) -> Result<(), String> {
        let taken = self.deps.replicator.take_time(&self.topics, self.to);
        match tokio::time::timeout(within, taken).await {
            Ok(taken) => taken.map_err(|error| error.to_string()),
            Err(_) => Err(format!(
                "the {} did not take over the time in time",
                self.to
            )),
        }
    }
}

/// What has appeared at the former home since the move was prepared. The proof is about the topics that were named then:
/// records of another would stay behind, as would what another group has committed. A producer id that the former home
/// gave out may be somebody else's at the new one.
fn newcomer<'a>(
    snapshot: &Snapshot,
    route: RouteId,
    to: Side,
    proven: &[Arc<str>],
    topics: &[Arc<str>],
    foreign: &[String],
    mut groups: impl Iterator<Item = &'a str>,
) -> Option<String> {
    if let Some(topic) = topics.iter().find(|topic| !proven.contains(topic)) {
        return Some(format!("topic {topic:?} appeared after the gate was asked"));
    }
    if let Some(producer) = foreign.first() {
        return Some(format!(
            "producer {producer} appeared after the gate was asked; a cluster gave its id out"
        ));
    }
    // What has a record stays where that says.
    let left_behind = |group: &str| {
        snapshot.table.group(group) == Some(route)
            && snapshot.group(group).home != to
            && !snapshot.groups.contains_key(group)
    };
    let group = groups.find(|group| left_behind(group))?;
    Some(format!("group {group:?} appeared after the gate was asked"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flip::testing::snapshot;

    #[test]
    fn what_appeared_behind_the_gate_is_found() {
        let mut snapshot = snapshot();
        let route = RouteId(0);
        let names = |names: &[&str]| {
            names
                .iter()
                .map(|name| Arc::from(*name))
                .collect::<Vec<_>>()
        };
        let (proven, more) = (names(&["a"]), names(&["a", "b"]));
        let mut found =
            |topics: &[Arc<str>], foreign: &[String], groups: &[&str], moved: Option<&str>| {
                if let Some(group) = moved {
                    let place = GroupPlace {
                        home: Side::Destination,
                        desk: None,
                    };
                    Arc::make_mut(&mut snapshot.groups).insert(group.into(), place);
                }
                let groups = groups.iter().copied();
                newcomer(
                    &snapshot,
                    route,
                    Side::Destination,
                    &proven,
                    topics,
                    foreign,
                    groups,
                )
            };
        assert_eq!(found(&proven, &[], &["lockgate-instances"], None), None);
        assert!(found(&more, &[], &[], None).unwrap().contains("\"b\""));
        assert!(found(&proven, &[], &["g"], None).unwrap().contains("\"g\""));
        assert_eq!(found(&proven, &[], &["g"], Some("g")), None);
        let foreign = ["10.0.0.1/app, id 4001".to_owned()];
        assert!(
            found(&proven, &foreign, &[], None)
                .unwrap()
                .contains("app, id 4001")
        );
    }
}
