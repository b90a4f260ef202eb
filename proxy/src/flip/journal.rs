//! The journal of moves: what is written before it is acted on, and what a start makes of it.
//!
//! `Kind::Route` holds where a route is, `Kind::Flip` the producer move under way, `Kind::Group` where a group is and
//! the member ids it had there. A route that has no record is at the source.

use std::collections::HashMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::desk::GroupDesk;
use crate::error::Result;
use crate::route::{GroupPlace, Phase, RouteState, RouteTable, Snapshot};
use crate::state::{CopyOrder, Key, Kind, Store};
use crate::words::{Generation, Side};

/// Where a route is (`Kind::Route`, by route name).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteRecord {
    /// The cluster that takes the writes.
    pub home: Side,
    /// Grows with every change.
    pub generation: Generation,
    /// Whether writes are parked.
    pub fenced: bool,
    /// Whether the way back is closed.
    pub committed: bool,
}

/// How far a producer move is, as far as it matters after a crash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FlipStep {
    /// Fenced, Open not sent.
    Fenced,
    /// Open: nothing lifts it.
    Opened,
}

/// The producer move under way (`Kind::Flip`, by route name).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlipRecord {
    /// How far it is.
    pub step: FlipStep,
    /// The new home.
    pub to: Side,
    /// The topics that were fenced.
    pub topics: Vec<String>,
}

/// Where a group is (`Kind::Group`, by group id).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupRecord {
    /// The cluster that coordinates it.
    pub home: Side,
    /// Lockgate has written offsets for it at the destination, or may have.
    pub offsets_written: bool,
    /// The ids its members had at the former home.
    pub former_members: Vec<String>,
    /// A move is under way: the other copy may say that it is done.
    #[serde(default)]
    pub moving: bool,
}

impl GroupRecord {
    /// A move from here is about to begin.
    pub(super) fn prepared(from: Side) -> Self {
        Self {
            moving: true,
            ..Self::back(from)
        }
    }

    /// It stays here when its route's producers move; nothing was written for it elsewhere.
    pub(super) fn stays(home: Side) -> Self {
        Self {
            offsets_written: false,
            ..Self::back(home)
        }
    }

    /// It has moved here.
    pub(super) fn moved(to: Side, former_members: Vec<String>) -> Self {
        Self {
            former_members,
            ..Self::back(to)
        }
    }

    /// Its move was undone; it is where it was.
    pub(super) fn back(home: Side) -> Self {
        Self {
            home,
            offsets_written: true,
            former_members: Vec::new(),
            moving: false,
        }
    }

    /// Whether only both copies together can tell where the group is. A committed route has no group left to move.
    pub fn needs_both(&self, route: Option<&RouteState>) -> bool {
        self.moving && route.is_some_and(|route| !route.committed)
    }
}

/// One journal write, named for the log and for the tests that kill the process right after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Record {
    Fence,
    Open,
    Retired,
    Lift,
    GroupPrepare,
    GroupMove,
    GroupBack,
    GroupStays,
    Commit,
}

impl Record {
    fn as_str(self) -> &'static str {
        match self {
            Self::Fence => "fence",
            Self::Open => "open",
            Self::Retired => "retired",
            Self::Lift => "lift",
            Self::GroupPrepare => "group-prepare",
            Self::GroupMove => "group-move",
            Self::GroupBack => "group-back",
            Self::GroupStays => "group-stays",
            Self::Commit => "commit",
        }
    }

    fn written(self, name: &str) {
        tracing::info!(target: "journal", record = self.as_str(), name, "journal");
        crate::faults::point(self.as_str());
    }
}

/// Writes a route's record, and its flip's (`None` deletes it), in one transaction.
pub(super) async fn put_route(
    store: &Store,
    record: Record,
    route: &str,
    state: RouteRecord,
    flip: Option<&FlipRecord>,
    order: CopyOrder,
) -> Result<()> {
    let state = serde_json::to_value(state).map_err(unwritable)?;
    let flip = flip
        .map(serde_json::to_value)
        .transpose()
        .map_err(unwritable)?;
    let entries = [
        (Key::new(Kind::Route, route), Some(state)),
        (Key::new(Kind::Flip, route), flip),
    ];
    store.put(&entries, order).await?;
    record.written(route);
    Ok(())
}

/// Strikes a route's flip that has ended.
pub(super) async fn put_retired(store: &Store, route: &str, order: CopyOrder) -> Result<()> {
    store.put(&retired(route), order).await?;
    Record::Retired.written(route);
    Ok(())
}

/// Open has written where the route is, and it may have been committed since: that record is left as it is.
fn retired(route: &str) -> [(Key, Option<serde_json::Value>); 1] {
    [(Key::new(Kind::Flip, route), None)]
}

/// Writes a group's record.
pub(super) async fn put_group(
    store: &Store,
    record: Record,
    group: &str,
    state: &GroupRecord,
) -> Result<()> {
    let entries = [(Key::new(Kind::Group, group), Some(state))];
    store.put(&entries, CopyOrder::Both).await?;
    record.written(group);
    Ok(())
}

/// Writes that these groups stay where they are when their route's producers move.
pub(super) async fn put_staying(store: &Store, groups: &[String], home: Side) -> Result<()> {
    let stays = GroupRecord::stays(home);
    let entry = |group: &String| (Key::new(Kind::Group, group.as_str()), Some(&stays));
    let entries: Vec<_> = groups.iter().map(entry).collect();
    store.put(&entries, CopyOrder::Both).await?;
    for group in groups {
        Record::GroupStays.written(group);
    }
    Ok(())
}

fn unwritable(cause: serde_json::Error) -> crate::error::Error {
    crate::error::Error::internal("a journal record cannot be written").because(cause)
}

/// What the journal says of every route, in the table's order.
pub fn routes(store: &Store, table: &RouteTable) -> Result<Vec<RouteState>> {
    table
        .names()
        .iter()
        .map(|name| {
            let record: Option<RouteRecord> = store.get(&Key::new(Kind::Route, name.as_str()))?;
            Ok(record.map_or(
                RouteState {
                    home: Side::Source,
                    phase: Phase::Open,
                    generation: Generation::default(),
                    committed: false,
                },
                RouteRecord::state,
            ))
        })
        .collect()
}

/// What the journal says of every group that has been moved, or was about to be.
pub fn groups(store: &Store) -> Result<Vec<(String, GroupRecord)>> {
    store.list(Kind::Group)
}

/// Fills the first snapshot from the journal: homes, phases and generations of routes, homes of groups. Called once
/// before the replicator starts; desks for former member ids are set up by [`super::Service::start`].
pub fn restore(store: &Store, snapshot: &mut Snapshot) -> Result<()> {
    snapshot.routes = routes(store, &snapshot.table)?;
    let mut places: HashMap<Arc<str>, GroupPlace> = HashMap::clone(&snapshot.groups);
    for (group, record) in groups(store)? {
        places.insert(
            Arc::from(group),
            GroupPlace {
                home: record.home,
                desk: None::<Arc<GroupDesk>>,
            },
        );
    }
    snapshot.groups = Arc::new(places);
    Ok(())
}

impl RouteRecord {
    /// As the snapshot holds it.
    #[must_use]
    pub fn state(self) -> RouteState {
        RouteState {
            home: self.home,
            phase: if self.fenced {
                Phase::Fenced
            } else {
                Phase::Open
            },
            generation: self.generation,
            committed: self.committed,
        }
    }

    /// As the snapshot has it now.
    #[must_use]
    pub fn of(state: &RouteState) -> Self {
        Self {
            home: state.home,
            generation: state.generation,
            fenced: state.phase == Phase::Fenced,
            committed: state.committed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_move_under_way_needs_both_copies() {
        let mut route = crate::flip::testing::snapshot().routes.remove(0);
        let needs = |record: &GroupRecord, route: &RouteState| record.needs_both(Some(route));
        let prepared = GroupRecord::prepared(Side::Source);
        assert!(needs(&prepared, &route));
        assert!(!prepared.needs_both(None));
        let moved = GroupRecord::moved(Side::Destination, vec!["m".to_owned()]);
        assert!(!needs(&moved, &route));
        assert!(!needs(&GroupRecord::back(Side::Source), &route));
        route.committed = true;
        assert!(!needs(&prepared, &route));
    }

    #[test]
    fn the_end_of_a_flip_does_not_undo_a_commit() {
        let commit = Key::new(Kind::Route, "r");
        let written = retired("r");
        assert!(written.iter().all(|(key, _)| *key != commit));
        assert!(matches!(&written[..], [(key, None)] if key.kind == Kind::Flip));
    }

    #[test]
    fn records_of_earlier_versions_are_read() {
        let record = r#"{"home":"source","offsets_written":true,"former_members":[]}"#;
        let record: GroupRecord = serde_json::from_str(record).unwrap();
        assert_eq!(record, GroupRecord::back(Side::Source));
    }
}
