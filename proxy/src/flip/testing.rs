//! A snapshot for the tests of this room.

use std::sync::Arc;

use crate::config::RouteConfig;
use crate::route::{Phase, RouteState, RouteTable, Snapshot};
use crate::words::{Generation, Side};

/// One route, `default`, open at the source.
pub(super) fn snapshot() -> Snapshot {
    let route = RouteConfig {
        name: RouteTable::DEFAULT.to_owned(),
        topics: Vec::new(),
        groups: Vec::new(),
        transactional_ids: Vec::new(),
        placement: None,
        cutover: None,
        translation: None,
    };
    Snapshot {
        table: Arc::new(RouteTable::new(&[route]).unwrap()),
        routes: vec![RouteState {
            home: Side::Source,
            phase: Phase::Open,
            generation: Generation(1),
            committed: false,
        }],
        groups: Arc::default(),
        nodes: Arc::default(),
        topic_ids: Arc::default(),
        cluster_id: Arc::from("source"),
        produce_permits: Default::default(),
        commit_permits: Default::default(),
    }
}
