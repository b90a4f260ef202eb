//! A cutover policy: the groups of a route cross when its lag has stayed under a bound; the producers follow by
//! themselves when told so (`move = "all"`), else with the operator.
//!
//! It keeps no memory: what it must know of earlier ticks comes with the status (`lag.recent`).

use lockgate_sdk::cutover::{CutoverPolicy, GroupState, Phase, Proposal, RouteStatus};
use lockgate_sdk::{Cluster, Problem, log};
use serde::Deserialize;

#[cfg(test)]
mod tests;

/// The host keeps this many earlier ticks.
const STABLE_TICKS_MAX: usize = 120;

/// What an operator can set.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The largest lag of a single partition at which the gate opens, in records.
    #[serde(default = "default_max_lag_records")]
    max_lag_records: u64,
    /// For so many ticks in a row, the present one included.
    #[serde(default = "default_stable_ticks")]
    stable_ticks: usize,
    /// What crosses by itself.
    #[serde(default, rename = "move")]
    moves: Moves,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Moves {
    #[default]
    Groups,
    All,
}

fn default_max_lag_records() -> u64 {
    100
}

fn default_stable_ticks() -> usize {
    2
}

/// The policy.
#[derive(Debug)]
pub struct LagGate {
    config: Config,
}

impl CutoverPolicy for LagGate {
    type Config = Config;

    fn configure(config: Config) -> Result<Self, Vec<Problem>> {
        if !(1..=STABLE_TICKS_MAX).contains(&config.stable_ticks) {
            let message = format!(
                "{} is not between 1 and {STABLE_TICKS_MAX}",
                config.stable_ticks
            );
            return Err(vec![Problem {
                path: "stable_ticks".to_owned(),
                message,
            }]);
        }
        Ok(Self { config })
    }

    fn next_step(&self, status: &RouteStatus) -> Proposal {
        let proposal = match self.obstacle(status) {
            Some(reason) => return Proposal::Wait(reason),
            None if status.groups_moved => Proposal::MoveProducers,
            None => Proposal::MoveGroups(Vec::new()),
        };
        log::info(format!(
            "route {} may cross: {} records behind at most, {} in all",
            status.name, status.lag.max_records, status.lag.total_records
        ));
        proposal
    }
}

impl LagGate {
    /// Why the next step must wait, the reason that matters most first.
    fn obstacle(&self, status: &RouteStatus) -> Option<String> {
        under_way(status)
            .or_else(|| self.left_to_the_operator(status))
            .or_else(|| stopped(status))
            .or_else(|| self.lag(status))
            .or_else(|| unsettled(status))
    }

    fn left_to_the_operator(&self, status: &RouteStatus) -> Option<String> {
        if status.phase == Phase::Committed {
            return Some("the route is committed".to_owned());
        }
        if status.producers_moved || status.home == Cluster::Destination {
            return Some("everything has crossed; the commit is the operator's".to_owned());
        }
        if status.groups_moved && self.config.moves == Moves::Groups {
            return Some("the groups have crossed; the producers are the operator's".to_owned());
        }
        None
    }

    fn lag(&self, status: &RouteStatus) -> Option<String> {
        let lag = &status.lag;
        if lag.links == 0 || lag.measured < lag.links {
            return Some(format!(
                "{} of {} links have been measured",
                lag.measured, lag.links
            ));
        }
        let bound = self.config.max_lag_records;
        if lag.max_records > bound {
            return Some(format!(
                "{} is {} records behind ({} in all), the bound is {bound}",
                lag.worst.as_deref().unwrap_or("a partition"),
                lag.max_records,
                lag.total_records
            ));
        }
        let before = lag
            .recent
            .iter()
            .rev()
            .take_while(|sample| sample.max_records <= bound)
            .count();
        let ticks = before + 1;
        let wanted = self.config.stable_ticks;
        (ticks < wanted).then(|| {
            format!("the lag has been under {bound} records for {ticks} of {wanted} ticks")
        })
    }
}

fn under_way(status: &RouteStatus) -> Option<String> {
    if let Some(operation) = &status.operation {
        return Some(format!(
            "operation {} is at `{}`",
            operation.id, operation.step
        ));
    }
    match status.phase {
        Phase::MovingGroups => Some("the groups are crossing".to_owned()),
        Phase::MovingProducers => Some("the producers are crossing".to_owned()),
        Phase::RollingBack => Some("the route is going back".to_owned()),
        Phase::AtSource | Phase::GroupsMoved | Phase::AtDestination | Phase::Committed => None,
    }
}

fn stopped(status: &RouteStatus) -> Option<String> {
    let first = status.lag.stopped.first()?;
    let count = status.lag.stopped.len();
    Some(format!(
        "links that are stopped: {count}; {}-{}: {}",
        first.topic, first.partition, first.reason
    ))
}

/// A group that rebalances is left alone until it is at rest. One that nobody has seen cannot cross.
fn unsettled(status: &RouteStatus) -> Option<String> {
    if status.groups_moved {
        return None;
    }
    if status.groups.is_empty() {
        return Some("no group of the route has been seen".to_owned());
    }
    let rests = |state| {
        matches!(
            state,
            GroupState::Stable | GroupState::Empty | GroupState::Dead
        )
    };
    let group = status
        .groups
        .iter()
        .find(|group| group.home == Cluster::Source && !rests(group.state))?;
    Some(format!("group {} is {}", group.name, name_of(group.state)))
}

fn name_of(state: GroupState) -> &'static str {
    match state {
        GroupState::Unknown => "not described yet",
        GroupState::Empty => "empty",
        GroupState::PreparingRebalance => "preparing a rebalance",
        GroupState::CompletingRebalance => "completing a rebalance",
        GroupState::Stable => "stable",
        GroupState::Dead => "dead",
    }
}

lockgate_sdk::export_cutover!(LagGate);
