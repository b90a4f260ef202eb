//! One partition of a verification: its passes, each with a reader a side and a thread that compares.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kafka_protocol::messages::DescribeConfigsRequest;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::protocol::StrBytes;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::KEYS_MAX;
use super::compare::{Compare, Damage, Mode, Need, Pass};
use super::operation::Operation;
use super::range::{BACKOFF, Planned, insist, offsets};
use super::read::Reader;
use super::record::Large;
use super::walk::Piece;
use crate::error::{Error, Kind, Result};
use crate::upstream::{Cluster, Clusters, OffsetAt, Target};
use crate::words::{Side, TopicPartition};

/// Answers that wait between a reader and the thread that compares.
const PIECES_AHEAD: usize = 1;
/// How often the view is brought up to date.
const REPORT: Duration = Duration::from_millis(200);
/// How often what has come meanwhile is looked through for keys that are held. A key's newest record can be cleaned away
/// only once a later one is written, and that one is looked at in the next round; by the last one it would have to have
/// been superseded as often within the seconds of a round.
const AHEAD_ROUNDS: usize = 3;
/// How long a copy may take to reach its home's end, before what stands on both sides is made do with.
const LEVEL_WITHIN: Duration = Duration::from_secs(10);
/// How long settings may take to be answered.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Kafka's number for "the resource is a topic".
const RESOURCE_TOPIC: i8 = 2;

type Pieces = mpsc::Receiver<Result<Piece>>;

/// What the partitions of one operation share.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) clusters: Clusters,
    pub(super) operation: Arc<Operation>,
    pub(super) large: Arc<Large>,
}

impl Run {
    /// Compares one partition.
    pub(super) async fn partition(&self, index: usize, planned: &Planned) -> Result<()> {
        let operation = &self.operation;
        let asked = &operation.asked[index];
        let mut compacted = false;
        for side in Side::BOTH {
            compacted |= is_compacted(self.clusters.on(side), &asked.at.topic).await?;
        }
        operation.began(index, compacted);
        let mode = Mode {
            compacted,
            fast: operation.pace.fast,
        };
        let keys_max = KEYS_MAX / operation.pace.parallel;
        let range = planned.range.clone();
        let large = self.large.clone();
        let mut compare = Compare::new(asked.at.clone(), range.clone(), mode, keys_max, large);
        compare.beyond(planned.beyond, asked.home);
        compare = self
            .pass(index, compare, [range.clone(), range.clone()])
            .await?;
        compare = self.resolve(index, compare, range.end).await?;
        compare.conclude();
        if compare.found.retired > 0 {
            let (retired, [source, destination]) = (compare.found.retired, compare.starts());
            operation.note(
                index,
                format!(
                    "a log start moved meanwhile (source {source}, destination {destination}): {retired} records that only one side still had were not compared"
                ),
            );
        }
        operation.found(index, &compare);
        operation.done(index);
        Ok(())
    }

    /// Looks for what became of records that stand on one side only, as far as that matters.
    async fn resolve(&self, index: usize, mut compare: Compare, end: i64) -> Result<Compare> {
        let asked = &self.operation.asked[index];
        let mut looked_to = end;
        for _ in 0..AHEAD_ROUNDS {
            if compare.held.is_empty() {
                return Ok(compare);
            }
            let until = self.common_end(&asked.at, asked.home).await?;
            if until <= looked_to {
                break;
            }
            let ranges = [looked_to..until, looked_to..until];
            compare.begin(Pass::Ahead, ranges.clone());
            compare = self.pass(index, compare, ranges).await?;
            looked_to = until;
        }
        let mut behind = [0..0, 0..0];
        for side in Side::BOTH {
            if let Some(until) = compare.held.tombstones_until(side) {
                let only = std::slice::from_ref(&asked.at);
                let starts = offsets(self.clusters.on(side), only, OffsetAt::LogStart).await?;
                let start = starts.get(&asked.at).copied().unwrap_or_default();
                behind[side.index()] = start..until.max(start);
            }
        }
        compare.begin(Pass::Behind, behind.clone());
        self.pass(index, compare, behind).await
    }

    /// Where the home's log ends now, once the copy has come so far; the copy's end where it does not.
    async fn common_end(&self, at: &TopicPartition, home: Side) -> Result<i64> {
        let only = std::slice::from_ref(at);
        let end = |side| async move {
            let ends = offsets(self.clusters.on(side), only, OffsetAt::LastStable).await;
            ends.map(|ends| ends.get(at).copied().unwrap_or_default())
        };
        let home_end = end(home).await?;
        let since = Instant::now();
        loop {
            let copy_end = end(home.other()).await?;
            if copy_end >= home_end || since.elapsed() >= LEVEL_WITHIN {
                return Ok(home_end.min(copy_end));
            }
            tokio::time::sleep(BACKOFF).await;
        }
    }

    /// One pass: a reader a side, and a thread of its own for the comparison, which is work and not waiting. Both end
    /// when this is dropped: the readers with their set, the thread when nothing comes any more.
    async fn pass(
        &self,
        index: usize,
        compare: Compare,
        ranges: [Range<i64>; 2],
    ) -> Result<Compare> {
        let asked = &self.operation.asked[index];
        let mut readers = JoinSet::new();
        let mut pieces: Vec<Pieces> = Vec::new();
        for (side, range) in Side::BOTH.into_iter().zip(ranges) {
            let (sender, receiver) = mpsc::channel(PIECES_AHEAD);
            let reader = Reader {
                cluster: self.clusters.on(side).clone(),
                at: asked.at.clone(),
                range,
                meter: self.operation.meter.clone(),
                pieces: sender,
                connection: None,
            };
            readers.spawn(reader.run());
            pieces.push(receiver);
        }
        let operation = self.operation.clone();
        let walk = move || walk(&operation, index, compare, &mut pieces);
        let walked = tokio::task::spawn_blocking(walk).await;
        walked.map_err(|cause| Error::internal("a comparison ended early").because(cause))?
    }
}

fn walk(
    operation: &Operation,
    index: usize,
    mut compare: Compare,
    pieces: &mut [Pieces],
) -> Result<Compare> {
    let mut reported = Instant::now();
    let damaged = |damage: Damage| Error::new(damage.side, Kind::Malformed, damage.what.as_str());
    loop {
        let Need::Piece(side) = compare.run().map_err(damaged)? else {
            operation.found(index, &compare);
            return Ok(compare);
        };
        if reported.elapsed() >= REPORT {
            operation.found(index, &compare);
            reported = Instant::now();
        }
        let piece = pieces[side.index()].blocking_recv();
        let piece = piece.ok_or_else(|| Error::internal("the verification was ended"));
        match piece.and_then(|piece| piece) {
            Ok(piece) => compare.give(side, piece).map_err(damaged)?,
            Err(error) => {
                operation.found(index, &compare);
                return Err(error);
            }
        }
    }
}

/// Whether the cleaner works on a topic.
async fn is_compacted(cluster: &Cluster, topic: &str) -> Result<bool> {
    let resource = DescribeConfigsResource::default()
        .with_resource_type(RESOURCE_TOPIC)
        .with_resource_name(StrBytes::from_string(topic.to_owned()))
        .with_configuration_keys(Some(vec![StrBytes::from_static_str("cleanup.policy")]));
    let request = DescribeConfigsRequest::default().with_resources(vec![resource]);
    let answer = insist(cluster, || {
        cluster.call_within(Target::Any, &request, TIMEOUT)
    })
    .await?;
    let doing = || format!("reading the settings of topic {topic:?}");
    for result in answer.results {
        if result.error_code != 0 {
            return Err(Error::kafka(cluster.side(), result.error_code, doing()));
        }
        let policies = result.configs.into_iter().filter_map(|config| config.value);
        if let Some(policies) = policies.into_iter().next() {
            return Ok(policies.split(',').any(|one| one.trim() == "compact"));
        }
    }
    let what = format!("{}: cleanup.policy is not in the answer", doing());
    Err(Error::new(cluster.side(), Kind::Malformed, what))
}
