//! Gathers what the gate and the admin API look at, from views, links, coordinators and the journal.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::gate::{Facts, LinkFacts, TopicFacts};
use super::service::Deps;
use super::survey::{self, Surveyed};
use super::view::GroupView;
use crate::replicator::LinkStatus;
use crate::route::{RouteId, Snapshot};
use crate::state::Kind;
use crate::words::Side;

/// How long a survey of both clusters' groups is good for.
const SURVEY_MAX_AGE: Duration = Duration::from_secs(1);
/// How long coordinators may take to answer a survey.
const SURVEY_TIMEOUT: Duration = Duration::from_secs(5);

/// Both clusters' groups at one moment; an error where a cluster could not be asked.
#[derive(Debug, Clone)]
pub(super) struct Survey {
    at: Instant,
    sides: [Result<Vec<Surveyed>, String>; 2],
}

/// The last survey, shared by everybody who asks within a second.
#[derive(Debug, Default)]
pub(super) struct Surveys(tokio::sync::Mutex<Option<Arc<Survey>>>);

impl Surveys {
    pub(super) async fn get(&self, deps: &Deps) -> Arc<Survey> {
        // Whoever waits here profits from the survey that is being made.
        let mut last = self.0.lock().await;
        if let Some(survey) = last
            .as_ref()
            .filter(|known| known.at.elapsed() < SURVEY_MAX_AGE)
        {
            return survey.clone();
        }
        let (source, destination) =
            tokio::join!(ask(deps, Side::Source), ask(deps, Side::Destination));
        let survey = Arc::new(Survey {
            at: Instant::now(),
            sides: [source, destination],
        });
        *last = Some(survey.clone());
        survey
    }

    pub(super) async fn forget(&self) {
        *self.0.lock().await = None;
    }
}

async fn ask(deps: &Deps, side: Side) -> Result<Vec<Surveyed>, String> {
    let groups = survey::groups(deps.clusters.on(side));
    match tokio::time::timeout(SURVEY_TIMEOUT, groups).await {
        Ok(result) => result.map_err(|error| error.to_string()),
        Err(_) => Err(format!("the {side}'s coordinators did not answer")),
    }
}

impl Survey {
    fn on(&self, side: Side) -> &[Surveyed] {
        self.sides[side.index()].as_deref().unwrap_or_default()
    }

    /// What could not be asked.
    fn unknown(&self) -> Vec<String> {
        Side::BOTH
            .into_iter()
            .filter_map(|side| {
                let why = self.sides[side.index()].as_ref().err()?;
                Some(format!("the {side}'s groups are not known: {why}"))
            })
            .collect()
    }

    /// The groups of a route, wherever they are.
    pub(super) fn groups(&self, snapshot: &Snapshot, route: RouteId) -> Vec<GroupView> {
        let mut names: Vec<&str> = self
            .on(Side::Source)
            .iter()
            .map(|surveyed| surveyed.group.as_str())
            .chain(snapshot.groups.keys().map(AsRef::as_ref))
            .chain(
                self.on(Side::Destination)
                    .iter()
                    .map(|surveyed| surveyed.group.as_str())
                    // What is at the destination alone, of a route that is at the source, belongs to somebody else.
                    .filter(|group| snapshot.group(group).home == Side::Destination),
            )
            .filter(|group| snapshot.table.group(group) == Some(route))
            .collect();
        names.sort_unstable();
        names.dedup();
        let view = |group: &str| {
            let home = snapshot.group(group).home;
            let seen = self.on(home).iter().find(|known| known.group == group);
            GroupView {
                group: group.to_owned(),
                home,
                state: match (seen, &self.sides[home.index()]) {
                    (Some(seen), _) => seen.state.clone(),
                    (None, Ok(_)) => "Dead".to_owned(),
                    (None, Err(_)) => "Unknown".to_owned(),
                },
                members: seen.map_or(0, |seen| seen.members),
                reason: None,
            }
        };
        names.into_iter().map(view).collect()
    }
}

/// The topics of a route that its home has.
pub(super) fn topics(deps: &Deps, snapshot: &Snapshot, route: RouteId) -> Vec<Arc<str>> {
    let view = deps.clusters.source.view().clone();
    let there = deps.clusters.destination.view().clone();
    let home = snapshot
        .routes
        .get(route.0)
        .map_or(Side::Source, |state| state.home);
    let known = match home {
        Side::Source => &view.topics,
        Side::Destination => &there.topics,
    };
    let mut topics: Vec<Arc<str>> = known
        .keys()
        .filter(|topic| snapshot.table.topic(topic) == Some(route))
        .cloned()
        .collect();
    topics.sort_unstable();
    topics
}

/// The links of a route.
pub(super) fn links(deps: &Deps, snapshot: &Snapshot, route: RouteId) -> Vec<LinkStatus> {
    let mut links = deps.replicator.links();
    links.retain(|link| snapshot.table.topic(&link.topic) == Some(route));
    links
}

/// All that the gate of a route's producers looks at.
pub(super) async fn gather(deps: &Deps, surveys: &Surveys, route: RouteId, to: Side) -> Facts {
    let snapshot = deps.routes.load_full();
    let mut unknown = surveys.get(deps).await.unknown();
    let made: HashSet<String> = match deps.store.list::<serde_json::Value>(Kind::Topic) {
        Ok(made) => made.into_iter().map(|(topic, _)| topic).collect(),
        Err(error) => {
            unknown.push(format!("the journal of topics cannot be read: {error}"));
            HashSet::new()
        }
    };
    let transactional_ids = match survey::transactional_ids(&deps.clusters.source).await {
        Ok(known) => known
            .into_iter()
            .filter(|(id, _)| snapshot.table.transactional_id(id) == Some(route))
            .map(|(id, state)| format!("{id} ({state})"))
            .collect(),
        Err(error) => {
            unknown.push(format!("the source's transactions are not known: {error}"));
            Vec::new()
        }
    };
    Facts {
        to,
        topics: topic_facts(deps, &snapshot, route, to, &made),
        links: links(deps, &snapshot, route)
            .into_iter()
            .map(|link| LinkFacts {
                at: link.at(),
                lag_records: link.lag_records,
                state: link.state,
            })
            .collect(),
        names_transactional_ids: snapshot.table.names_transactional_ids(route),
        transactional_ids,
        foreign_producers: deps.clients.foreign_producer_ids(route),
        unknown,
    }
}

fn topic_facts(
    deps: &Deps,
    snapshot: &Snapshot,
    route: RouteId,
    to: Side,
    made: &HashSet<String>,
) -> Vec<TopicFacts> {
    let here = deps.clusters.on(to.other()).view().clone();
    let there = deps.clusters.on(to).view().clone();
    let facts = |topic: Arc<str>| {
        let remote = there.topics.get(&topic);
        let thin = remote.into_iter().flat_map(|remote| {
            remote
                .partitions
                .iter()
                .zip(0_i32..)
                .filter(|(view, _)| view.leader.is_none() || view.isr.len() < view.replicas.len())
                .map(|(_, index)| index)
        });
        TopicFacts {
            made_by_lockgate: made.contains(topic.as_ref()),
            partitions: here
                .topics
                .get(&topic)
                .map_or(0, |local| local.partitions.len()),
            partitions_there: remote.map(|remote| remote.partitions.len()),
            under_replicated: thin.collect(),
            topic: topic.to_string(),
        }
    };
    topics(deps, snapshot, route)
        .into_iter()
        .map(facts)
        .collect()
}
