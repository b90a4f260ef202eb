//! What can be asked to be verified, and why that can be refused. Pure.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{BYTES_PER_SECOND_DEFAULT, PARALLEL_DEFAULT, PARALLEL_MAX};
use crate::flip::OperationId;
use crate::route::Snapshot;
use crate::upstream::ClusterView;
use crate::words::{Side, TopicPartition};

/// A range of one partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stretch {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// The first offset; the later of both log starts where left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<i64>,
    /// The offset behind the last; the lower of both read_committed ends where left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<i64>,
}

/// A request to verify (`POST /v1/verify`): a route, a topic (with `partition`, `from`, `to` for less of it), a list of
/// ranges, or what an earlier operation has left.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VerifyRequest {
    /// All topics of this route.
    pub route: Option<String>,
    /// This topic.
    pub topic: Option<String>,
    /// One partition of the topic.
    pub partition: Option<i32>,
    /// The first offset.
    pub from: Option<i64>,
    /// The offset behind the last.
    pub to: Option<i64>,
    /// These ranges.
    #[serde(default)]
    pub partitions: Vec<Stretch>,
    /// What this operation has left.
    pub resume: Option<String>,
    /// Of both sides together.
    pub max_bytes_per_second: Option<u64>,
    /// Partitions at the same time.
    pub parallel: Option<usize>,
    /// Batches with the same bytes are not opened, and there are no digests.
    #[serde(default)]
    pub fast: bool,
}

/// Why a request does not begin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no such thing (404).
    #[error("{0}")]
    Unknown(String),
    /// The request contradicts itself (400).
    #[error("{0}")]
    Bad(String),
    /// Another one runs (409).
    #[error("verification {0} is under way; one runs at a time")]
    Busy(OperationId),
    /// It cannot be done now (409).
    #[error("{0}")]
    Refused(String),
}

/// How an operation goes about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pace {
    pub(super) bytes_per_second: u64,
    pub(super) parallel: usize,
    pub(super) fast: bool,
}

/// One partition that is to be compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) at: TopicPartition,
    pub(super) from: Option<i64>,
    pub(super) to: Option<i64>,
    /// The cluster that takes its writes.
    pub(super) home: Side,
    /// The side that does not have it.
    pub(super) absent_at: Option<Side>,
}

impl VerifyRequest {
    /// Refuses what contradicts itself.
    pub(super) fn check(&self) -> Result<(), Refusal> {
        let bad = |what: &str| Err(Refusal::Bad(what.to_owned()));
        let named = [
            self.route.is_some(),
            self.topic.is_some(),
            !self.partitions.is_empty(),
            self.resume.is_some(),
        ];
        if named.iter().filter(|named| **named).count() != 1 {
            return bad("name one of: route, topic, partitions, resume");
        }
        let narrowed = self.partition.is_some() || self.from.is_some() || self.to.is_some();
        if narrowed && self.topic.is_none() {
            return bad("partition, from and to go with topic");
        }
        let mut ranges = self.partitions.iter().map(|one| (one.from, one.to));
        if ranges
            .by_ref()
            .chain([(self.from, self.to)])
            .any(|(from, to)| from.is_some_and(|from| from < 0 || to.is_some_and(|to| to < from)))
        {
            return bad("a range begins at 0 or later and does not end before it begins");
        }
        if !(1..=PARALLEL_MAX).contains(&self.parallel.unwrap_or(1)) {
            return Err(Refusal::Bad(format!("parallel is 1 to {PARALLEL_MAX}")));
        }
        if self.max_bytes_per_second == Some(0) {
            return bad("max_bytes_per_second is at least 1");
        }
        Ok(())
    }

    pub(super) fn pace(&self) -> Pace {
        Pace {
            bytes_per_second: self
                .max_bytes_per_second
                .unwrap_or(BYTES_PER_SECOND_DEFAULT),
            parallel: self.parallel.unwrap_or(PARALLEL_DEFAULT),
            fast: self.fast,
        }
    }

    /// The partitions that are meant, sorted.
    pub(super) fn select(
        &self,
        snapshot: &Snapshot,
        views: [&ClusterView; 2],
    ) -> Result<Vec<Asked>, Refusal> {
        let counts = |topic: &str| views.map(|view| count(view, topic));
        let mut asked = Vec::new();
        if let Some(name) = &self.route {
            let Some(route) = snapshot.table.by_name(name) else {
                return Err(Refusal::Unknown(format!("there is no route {name:?}")));
            };
            let known = views.iter().flat_map(|view| &view.topics);
            let topics: BTreeSet<&Arc<str>> = known
                .filter(|(topic, view)| {
                    !view.internal && snapshot.table.topic(topic) == Some(route)
                })
                .map(|(topic, _)| topic)
                .collect();
            for topic in topics {
                let most = counts(topic).into_iter().max().unwrap_or_default();
                asked.extend((0..most).map(|partition| stretch(topic, partition, None, None)));
            }
            if asked.is_empty() {
                return Err(Refusal::Refused(format!("route {name:?} holds no topics")));
            }
        } else if let Some(topic) = &self.topic {
            let most = counts(topic).into_iter().max().unwrap_or_default();
            let partitions = match self.partition {
                Some(partition) => partition..partition.saturating_add(1),
                None => 0..most.max(1),
            };
            asked.extend(partitions.map(|partition| stretch(topic, partition, self.from, self.to)));
        } else {
            asked.extend(self.partitions.iter().cloned());
        }
        asked
            .into_iter()
            .map(|one| placed(one, snapshot, views))
            .collect()
    }
}

fn stretch(topic: &str, partition: i32, from: Option<i64>, to: Option<i64>) -> Stretch {
    Stretch {
        topic: topic.to_owned(),
        partition,
        from,
        to,
    }
}

fn count(view: &ClusterView, topic: &str) -> i32 {
    let known = view.topics.get(topic);
    known.map_or(0, |topic| {
        i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX)
    })
}

fn placed(one: Stretch, snapshot: &Snapshot, views: [&ClusterView; 2]) -> Result<Asked, Refusal> {
    if snapshot.table.topic(&one.topic).is_none() {
        return Err(Refusal::Refused(format!(
            "topic {:?} is Kafka's or Lockgate's own and is not copied",
            one.topic
        )));
    }
    let has = views.map(|view| (0..count(view, &one.topic)).contains(&one.partition));
    if has == [false, false] {
        return Err(Refusal::Unknown(format!(
            "neither cluster has partition {} of topic {:?}",
            one.partition, one.topic
        )));
    }
    Ok(Asked {
        home: snapshot.topic_home(&one.topic),
        absent_at: Side::BOTH.into_iter().find(|side| !has[side.index()]),
        at: TopicPartition::new(one.topic.as_str(), one.partition),
        from: one.from,
        to: one.to,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_that_contradicts_itself_is_refused() {
        for body in [
            "{}",
            r#"{"route": "a", "topic": "b"}"#,
            r#"{"route": "a", "partition": 1}"#,
            r#"{"topic": "a", "from": -1}"#,
            r#"{"topic": "a", "from": 5, "to": 4}"#,
            r#"{"partitions": [{"topic": "a", "partition": 0, "from": 5, "to": 4}]}"#,
            r#"{"topic": "a", "parallel": 0}"#,
            r#"{"topic": "a", "parallel": 9}"#,
            r#"{"topic": "a", "max_bytes_per_second": 0}"#,
        ] {
            let request: VerifyRequest = serde_json::from_str(body).unwrap();
            assert!(matches!(request.check(), Err(Refusal::Bad(_))), "{body}");
        }
        for body in [
            r#"{"route": "a", "parallel": 8}"#,
            r#"{"topic": "a", "partition": 1, "from": 5, "to": 5}"#,
            r#"{"partitions": [{"topic": "a", "partition": 0}]}"#,
            r#"{"resume": "x", "fast": true}"#,
        ] {
            let request: VerifyRequest = serde_json::from_str(body).unwrap();
            assert_eq!(request.check(), Ok(()), "{body}");
        }
    }
}
