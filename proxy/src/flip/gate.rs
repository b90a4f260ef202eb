//! Pure: the gate of a producer move. Facts go in, every reason against the move comes out.

use crate::replicator::LinkState;
use crate::words::{Side, TopicPartition};

/// The largest lag of one partition, in records, with which a fence is begun: what is left must be copied within the
/// fence, and a fence is a pause for every producer of the route.
pub const FENCE_LAG_RECORDS_MAX: i64 = 10_000;
/// Reasons of one kind that are spelled out; the rest is counted.
const SPELLED_OUT_MAX: usize = 5;

/// One topic of the route on both clusters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicFacts {
    /// Its name.
    pub topic: String,
    /// Whether Lockgate made its copy.
    pub made_by_lockgate: bool,
    /// Partitions at its home.
    pub partitions: usize,
    /// Partitions where it is to go; none where it does not exist.
    pub partitions_there: Option<usize>,
    /// Partitions there that have fewer in-sync replicas than replicas, or no leader.
    pub under_replicated: Vec<i32>,
}

/// One link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkFacts {
    /// The partition.
    pub at: TopicPartition,
    /// Where the link stands.
    pub state: LinkState,
    /// Records behind.
    pub lag_records: i64,
}

/// All that the gate looks at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Where the producers are to go.
    pub to: Side,
    /// The route's topics.
    pub topics: Vec<TopicFacts>,
    /// The route's links.
    pub links: Vec<LinkFacts>,
    /// The configuration gives the route transactional ids.
    pub names_transactional_ids: bool,
    /// Transactional ids of the route that the source knows.
    pub transactional_ids: Vec<String>,
    /// Clients that write with producer ids that Lockgate did not issue.
    pub foreign_producers: Vec<String>,
    /// What could not be asked, and why.
    pub unknown: Vec<String>,
}

/// Every reason against moving the producers now; empty where the gate is open.
#[must_use]
pub fn reasons(facts: &Facts) -> Vec<String> {
    let mut reasons = facts.unknown.clone();
    topics(facts, &mut reasons);
    links(facts, &mut reasons);
    if facts.names_transactional_ids {
        reasons.push(
            "the route names transactional ids; moving transactional producers is not built yet"
                .to_owned(),
        );
    }
    if !facts.transactional_ids.is_empty() {
        reasons.push(format!(
            "transactional producers use the route, and moving them is not built yet: {}",
            listed(&facts.transactional_ids)
        ));
    }
    if !facts.foreign_producers.is_empty() {
        reasons.push(format!(
            "clients write with producer ids that a cluster numbered; they would collide at the {}: {}",
            facts.to,
            listed(&facts.foreign_producers)
        ));
    }
    reasons
}

fn topics(facts: &Facts, reasons: &mut Vec<String>) {
    let (home, to) = (facts.to.other(), facts.to);
    for topic in &facts.topics {
        let name = &topic.topic;
        match topic.partitions_there {
            None => reasons.push(format!("topic {name:?} does not exist at the {to}")),
            Some(_) if !topic.made_by_lockgate => reasons.push(format!(
                "topic {name:?} exists at the {to} and was not made by Lockgate"
            )),
            Some(there) if there != topic.partitions => reasons.push(format!(
                "topic {name:?} has {} partitions at the {home} and {there} at the {to}",
                topic.partitions
            )),
            Some(_) => {}
        }
        if !topic.under_replicated.is_empty() {
            let partitions: Vec<String> =
                topic.under_replicated.iter().map(i32::to_string).collect();
            reasons.push(format!(
                "topic {name:?} is under-replicated at the {to}: partitions {}",
                listed(&partitions)
            ));
        }
    }
}

fn links(facts: &Facts, reasons: &mut Vec<String>) {
    let idle = |link: &&LinkFacts| link.state != LinkState::Copying;
    let stopped: Vec<String> = facts
        .links
        .iter()
        .filter(idle)
        .map(|link| match &link.state {
            LinkState::Stopped(why) => format!("{} ({why})", link.at),
            other => format!("{} ({other:?})", link.at),
        })
        .collect();
    if !stopped.is_empty() {
        reasons.push(format!("links do not copy: {}", listed(&stopped)));
    }
    let behind: Vec<String> = facts
        .links
        .iter()
        .filter(|link| link.lag_records > FENCE_LAG_RECORDS_MAX)
        .map(|link| format!("{} ({} records)", link.at, link.lag_records))
        .collect();
    if !behind.is_empty() {
        reasons.push(format!(
            "links are more than {FENCE_LAG_RECORDS_MAX} records behind: {}",
            listed(&behind)
        ));
    }
    let expected: usize = facts.topics.iter().map(|topic| topic.partitions).sum();
    if facts.links.len() < expected {
        reasons.push(format!(
            "{} of {expected} partitions have no link yet",
            expected - facts.links.len()
        ));
    }
}

/// Names for people, the first few of them.
fn listed(names: &[String]) -> String {
    let shown = names
        .iter()
        .take(SPELLED_OUT_MAX)
        .cloned()
        .collect::<Vec<_>>()
        .join(", ");
    match names.len().checked_sub(SPELLED_OUT_MAX) {
        Some(more) if more > 0 => format!("{shown} and {more} more"),
        _ => shown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn level() -> Facts {
        Facts {
            to: Side::Destination,
            topics: vec![TopicFacts {
                topic: "orders".to_owned(),
                made_by_lockgate: true,
                partitions: 1,
                partitions_there: Some(1),
                under_replicated: Vec::new(),
            }],
            links: vec![LinkFacts {
                at: TopicPartition::new("orders", 0),
                state: LinkState::Copying,
                lag_records: 3,
            }],
            names_transactional_ids: false,
            transactional_ids: Vec::new(),
            foreign_producers: Vec::new(),
            unknown: Vec::new(),
        }
    }

    #[test]
    fn a_level_route_may_move() {
        assert_eq!(reasons(&level()), Vec::<String>::new());
    }

    #[test]
    fn all_reasons_are_told_at_once() {
        let mut facts = level();
        facts.topics[0].partitions_there = Some(2);
        facts.topics[0].under_replicated = vec![0];
        facts.links[0].state = LinkState::Stopped("diverged".to_owned());
        facts.links[0].lag_records = FENCE_LAG_RECORDS_MAX + 1;
        facts.transactional_ids = vec!["payer".to_owned()];
        facts.names_transactional_ids = true;
        facts.foreign_producers = vec!["10.0.0.1/app".to_owned()];
        let said = reasons(&facts);
        assert_eq!(said.len(), 7, "{said:?}");
        for word in ["diverged", "payer", "10.0.0.1/app"] {
            assert!(
                said.iter().any(|reason| reason.contains(word)),
                "{word}: {said:?}"
            );
        }
    }
}
