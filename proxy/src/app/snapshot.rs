//! The first snapshot, made from the state; and whether one copy of the state is enough to make it from.

use std::collections::HashMap;
use std::sync::Arc;

use uuid::Uuid;

use crate::config::Config;
use crate::error::{Error, Result};
use crate::flip::journal::{self, FlipRecord, FlipStep};
use crate::route::{Nodes, Permits, RouteTable, Snapshot};
use crate::state::{Kind, Store};
use crate::words::Side;

fn table(config: &Config) -> Result<RouteTable> {
    RouteTable::new(&config.routes).map_err(Error::refused)
}

/// What the data path begins with.
pub(super) fn first(config: &Config, store: &Store, nodes: Nodes) -> Result<Snapshot> {
    let ids: Vec<(String, Uuid)> = store.list(Kind::TopicId)?;
    let mut snapshot = Snapshot {
        table: Arc::new(table(config)?),
        routes: Vec::new(),
        groups: Arc::default(),
        nodes: Arc::new(nodes),
        topic_ids: Arc::new(
            ids.into_iter()
                .map(|(topic, id)| (Arc::from(topic), id))
                .collect::<HashMap<_, _>>(),
        ),
        cluster_id: Arc::from(store.identity().cluster_id(Side::Source)),
        produce_permits: Permits::default(),
        commit_permits: Permits::default(),
    };
    journal::restore(store, &mut snapshot)?;
    Ok(snapshot)
}

/// Why the copy that cannot be reached is needed, where it is: a route is at home there, or a move is under way that
/// only both copies can tell the outcome of. Open needs no second copy: nothing takes it back.
pub(super) fn needs_other_copy(config: &Config, store: &Store) -> Result<Option<String>> {
    let open: Vec<Side> = Side::BOTH
        .into_iter()
        .filter(|side| store.holds(*side))
        .collect();
    let &[side] = open.as_slice() else {
        return Ok(None);
    };
    let away = side.other();
    let table = table(config)?;
    let routes = journal::routes(store, &table)?;
    for (name, state) in table.names().iter().zip(&routes) {
        if state.home != side {
            return Ok(Some(format!(
                "the {away} cannot be reached, and route {name:?} is at home there"
            )));
        }
    }
    for (group, record) in journal::groups(store)? {
        let route = table.group(&group).and_then(|route| routes.get(route.0));
        if record.needs_both(route) {
            return Ok(Some(format!(
                "the {away} cannot be reached, and a move of group {group:?} is under way"
            )));
        }
    }
    let flips: Vec<(String, FlipRecord)> = store.list(Kind::Flip)?;
    let open_end = |flip: &FlipRecord| flip.step == FlipStep::Opened && flip.to == side;
    Ok(flips
        .iter()
        .find(|(_, flip)| !open_end(flip))
        .map(|(name, _)| {
            format!("the {away} cannot be reached, and a move of route {name:?} is under way")
        }))
}
