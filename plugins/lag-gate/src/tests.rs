//! The gate, step by step through a migration.

use lockgate_sdk::cutover::{
    CutoverPolicy, GroupState, GroupStatus, LagSample, LagSummary, Operation, OperationKind, Phase,
    Proposal, RouteStatus, StoppedLink,
};
use lockgate_sdk::{Cluster, log};

use super::{Config, LagGate, Moves};

fn gate(moves: Moves) -> LagGate {
    LagGate::configure(Config {
        max_lag_records: 100,
        stable_ticks: 2,
        moves,
    })
    .unwrap()
}

/// A route at the source with one stable group that has been level for a while.
fn level() -> RouteStatus {
    RouteStatus {
        name: "orders".to_owned(),
        generation: 1,
        home: Cluster::Source,
        phase: Phase::AtSource,
        now_ms: 10_000,
        groups: vec![GroupStatus {
            name: "billing".to_owned(),
            home: Cluster::Source,
            state: GroupState::Stable,
            members: 2,
        }],
        lag: LagSummary {
            links: 12,
            measured: 12,
            max_records: 5,
            max_ms: 20,
            worst: Some("orders-3".to_owned()),
            total_records: 9,
            stopped: Vec::new(),
            recent: vec![LagSample {
                at_ms: 9_000,
                max_records: 7,
                max_ms: 30,
            }],
        },
        groups_moved: false,
        producers_moved: false,
        operation: None,
        attributes: Vec::new(),
    }
}

fn reason(proposal: Proposal) -> String {
    match proposal {
        Proposal::Wait(reason) => reason,
        other => panic!("{other:?} is no reason to wait"),
    }
}

#[test]
fn groups_cross_when_the_lag_stays_under_the_bound() {
    assert_eq!(
        gate(Moves::Groups).next_step(&level()),
        Proposal::MoveGroups(Vec::new())
    );
    assert_eq!(
        log::taken(),
        ["Level::Info: route orders may cross: 5 records behind at most, 9 in all"]
    );
}

#[test]
fn a_lag_over_the_bound_is_named_with_its_numbers() {
    let mut status = level();
    status.lag.max_records = 1_200;
    status.lag.total_records = 5_000;
    let said = reason(gate(Moves::All).next_step(&status));
    assert_eq!(
        said,
        "orders-3 is 1200 records behind (5000 in all), the bound is 100"
    );
}

#[test]
fn one_good_tick_is_not_enough() {
    let mut status = level();
    status.lag.recent[0].max_records = 101;
    let said = reason(gate(Moves::Groups).next_step(&status));
    assert_eq!(said, "the lag has been under 100 records for 1 of 2 ticks");
    status.lag.recent.clear();
    assert!(matches!(
        gate(Moves::Groups).next_step(&status),
        Proposal::Wait(_)
    ));
}

#[test]
fn a_route_that_is_not_measured_waits() {
    let mut status = level();
    status.lag = LagSummary {
        links: 12,
        measured: 3,
        ..status.lag
    };
    assert_eq!(
        reason(gate(Moves::Groups).next_step(&status)),
        "3 of 12 links have been measured"
    );
    status.lag = LagSummary {
        links: 0,
        measured: 0,
        ..status.lag
    };
    assert!(matches!(
        gate(Moves::Groups).next_step(&status),
        Proposal::Wait(_)
    ));
}

#[test]
fn a_stopped_link_is_named() {
    let mut status = level();
    let link = StoppedLink {
        topic: "orders".to_owned(),
        partition: 7,
        reason: "a hole at 12".to_owned(),
    };
    status.lag.stopped.push(link);
    assert_eq!(
        reason(gate(Moves::Groups).next_step(&status)),
        "links that are stopped: 1; orders-7: a hole at 12"
    );
}

#[test]
fn a_group_that_rebalances_is_left_alone() {
    let mut status = level();
    status.groups[0].state = GroupState::PreparingRebalance;
    assert_eq!(
        reason(gate(Moves::Groups).next_step(&status)),
        "group billing is preparing a rebalance"
    );
    status.groups.clear();
    assert_eq!(
        reason(gate(Moves::Groups).next_step(&status)),
        "no group of the route has been seen"
    );
}

#[test]
fn nothing_is_proposed_while_an_operation_is_open() {
    let mut status = level();
    status.operation = Some(Operation {
        id: "op-1".to_owned(),
        kind: OperationKind::MoveGroups,
        step: "barrier".to_owned(),
        started_ms: 9_000,
    });
    assert_eq!(
        reason(gate(Moves::All).next_step(&status)),
        "operation op-1 is at `barrier`"
    );
    status.operation = None;
    status.phase = Phase::MovingGroups;
    assert_eq!(
        reason(gate(Moves::All).next_step(&status)),
        "the groups are crossing"
    );
}

#[test]
fn producers_follow_only_when_told_so() {
    let mut status = level();
    status.groups[0].home = Cluster::Destination;
    status.groups_moved = true;
    status.phase = Phase::GroupsMoved;
    let said = reason(gate(Moves::Groups).next_step(&status));
    assert_eq!(
        said,
        "the groups have crossed; the producers are the operator's"
    );
    assert_eq!(gate(Moves::All).next_step(&status), Proposal::MoveProducers);
}

#[test]
fn what_has_crossed_is_left_to_the_operator() {
    let mut status = level();
    status.home = Cluster::Destination;
    status.groups_moved = true;
    status.producers_moved = true;
    status.phase = Phase::AtDestination;
    let said = reason(gate(Moves::All).next_step(&status));
    assert_eq!(said, "everything has crossed; the commit is the operator's");
}

#[test]
fn ticks_outside_the_history_are_refused() {
    let config = Config {
        max_lag_records: 1,
        stable_ticks: 121,
        moves: Moves::Groups,
    };
    let problems = LagGate::configure(config).unwrap_err();
    assert_eq!(problems[0].path, "stable_ticks");
}
