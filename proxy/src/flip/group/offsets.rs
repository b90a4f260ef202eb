//! Copies a group's committed offsets to its new home, once everything below the source's ends is there.

use std::collections::HashMap;
use std::time::Duration;

use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::{OffsetCommitRequest, TopicName};
use kafka_protocol::protocol::StrBytes;

use super::placeholder::group_id;
use super::prepare::all_offsets;
use crate::error::{Error, Result};
use crate::flip::operation::now_ms;
use crate::flip::service::Deps;
use crate::policy::question::{CommittedOffset, DestinationOffset, TranslationRequest};
use crate::route::RouteId;
use crate::upstream::{Cluster, OffsetAt, Target};
use crate::words::{Side, TopicPartition};

/// How long the destination may take to get what was at the source when the members had parked.
const COPIED_MAX: Duration = Duration::from_secs(8);
const ATTEMPTS_MAX: usize = 5;
const RETRY_PAUSE: Duration = Duration::from_millis(100);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// As whom the offsets are committed at the new home.
#[derive(Debug, Clone)]
pub(super) struct Committer {
    pub(super) member_id: StrBytes,
    pub(super) generation: i32,
}

/// Copies all committed offsets of `group` from one side to the other.
pub(super) async fn copy(
    deps: &Deps,
    route: RouteId,
    group: &str,
    from: Side,
    committer: Committer,
) -> Result<()> {
    let committed = committed(deps.clusters.on(from), group).await?;
    if committed.is_empty() {
        return Ok(());
    }
    wait_until_copied(deps, from, &committed).await?;
    let translated = translate(deps, route, group, from.other(), &committed).await?;
    commit(
        deps.clusters.on(from.other()),
        group,
        &committer,
        &translated,
    )
    .await
}

async fn committed(cluster: &Cluster, group: &str) -> Result<Vec<CommittedOffset>> {
    let mut attempt = 0;
    let answer = loop {
        attempt += 1;
        match all_offsets(cluster, group, true).await {
            Ok(answer) => break answer,
            Err(error) if error.is_retriable() && attempt < ATTEMPTS_MAX => {
                tokio::time::sleep(RETRY_PAUSE).await;
            }
            Err(error) => return Err(error),
        }
    };
    let mut found = Vec::new();
    for topic in answer.topics {
        for partition in topic.partitions {
            let Ok(index) = u32::try_from(partition.partition_index) else {
                continue;
            };
            if partition.committed_offset >= 0 {
                found.push(CommittedOffset {
                    topic: topic.name.to_string(),
                    partition: index,
                    offset: partition.committed_offset,
                    metadata: partition
                        .metadata
                        .map(|metadata| metadata.to_string())
                        .unwrap_or_default(),
                });
            }
        }
    }
    Ok(found)
}

fn at(offset: &CommittedOffset) -> TopicPartition {
    let partition = i32::try_from(offset.partition).unwrap_or(i32::MAX);
    TopicPartition::new(offset.topic.as_str(), partition)
}

/// Members keep positions in memory, so "at least the committed offset" is not enough: everything that was at the
/// source when they had parked must be at the destination.
async fn wait_until_copied(deps: &Deps, from: Side, committed: &[CommittedOffset]) -> Result<()> {
    let snapshot = deps.routes.load_full();
    let source = deps.clusters.on(from);
    let view = source.view().clone();
    let partitions: Vec<TopicPartition> = committed
        .iter()
        .map(at)
        // What has moved already, or was deleted since, has no link.
        .filter(|at| snapshot.topic(&at.topic).is_some())
        .filter(|at| snapshot.topic_home(&at.topic) == from)
        .filter(|at| view.topics.contains_key(&at.topic))
        .collect();
    if partitions.is_empty() {
        return Ok(());
    }
    let ends: HashMap<TopicPartition, i64> = source
        .true_ends(&partitions)
        .await?
        .into_iter()
        .map(|(at, end)| (at, end.offset))
        .collect();
    deps.replicator
        .wait_until_copied(from, &ends, COPIED_MAX)
        .await
}

async fn translate(
    deps: &Deps,
    route: RouteId,
    group: &str,
    to: Side,
    committed: &[CommittedOffset],
) -> Result<Vec<CommittedOffset>> {
    let generation = deps
        .routes
        .load()
        .routes
        .get(route.0)
        .map_or(0, |state| state.generation.0);
    let request = TranslationRequest {
        group: group.to_owned(),
        generation,
        now_ms: now_ms(),
        offsets: committed.to_vec(),
        attributes: Vec::new(),
    };
    let answers = match deps.policies.get(route.0) {
        Some(policies) => policies.translation.translate(&request).await,
        None => {
            crate::policy::Translation::default()
                .translate(&request)
                .await
        }
    }
    .map_err(|fault| Error::internal("the translation policy failed").because(fault))?;
    if answers.len() != committed.len() {
        return Err(Error::internal(format!(
            "the translation policy answered {} of {} offsets",
            answers.len(),
            committed.len()
        )));
    }
    let cluster = deps.clusters.on(to);
    let mut translated = Vec::with_capacity(committed.len());
    for (asked, answer) in committed.iter().zip(answers) {
        let what = match answer {
            DestinationOffset::Offset(offset) => Ok(offset),
            DestinationOffset::Earliest => Err(OffsetAt::LogStart),
            DestinationOffset::Latest => Err(OffsetAt::HighWatermark),
            DestinationOffset::Untranslatable(why) => {
                return Err(Error::refused(format!(
                    "the translation policy has no offset for {}: {why}",
                    at(asked)
                )));
            }
        };
        let offset = match what {
            Ok(offset) => offset,
            Err(what) => {
                let at = at(asked);
                let found = cluster
                    .list_offsets(std::slice::from_ref(&at), what)
                    .await?;
                found
                    .get(&at)
                    .copied()
                    .ok_or_else(|| Error::internal(format!("no offset was answered for {at}")))?
            }
        };
        translated.push(CommittedOffset {
            offset,
            ..asked.clone()
        });
    }
    Ok(translated)
}

async fn commit(
    cluster: &Cluster,
    group: &str,
    committer: &Committer,
    offsets: &[CommittedOffset],
) -> Result<()> {
    let mut topics: HashMap<&str, Vec<OffsetCommitRequestPartition>> = HashMap::new();
    for offset in offsets {
        // The leader epoch stays -1: a source's epoch at the destination outlives Lockgate (trap 26).
        let partition = OffsetCommitRequestPartition::default()
            .with_partition_index(at(offset).partition)
            .with_committed_offset(offset.offset)
            .with_committed_leader_epoch(-1)
            .with_committed_metadata(Some(StrBytes::from_string(offset.metadata.clone())));
        topics.entry(&offset.topic).or_default().push(partition);
    }
    let topics = topics.into_iter().map(|(name, partitions)| {
        OffsetCommitRequestTopic::default()
            .with_name(TopicName(StrBytes::from_string(name.to_owned())))
            .with_partitions(partitions)
    });
    let request = OffsetCommitRequest::default()
        .with_group_id(group_id(group))
        .with_member_id(committer.member_id.clone())
        .with_generation_id_or_member_epoch(committer.generation)
        .with_topics(topics.collect());
    let mut attempt = 0;
    loop {
        attempt += 1;
        match commit_once(cluster, group, &request).await {
            Ok(()) => return Ok(()),
            // The same offsets again do no harm where the first answer was lost.
            Err(error) if error.is_retriable() && attempt < ATTEMPTS_MAX => {
                tokio::time::sleep(RETRY_PAUSE).await;
            }
            Err(error) => return Err(error),
        }
    }
}

async fn commit_once(cluster: &Cluster, group: &str, request: &OffsetCommitRequest) -> Result<()> {
    let answer = cluster
        .call_within(Target::Group(group), request, REQUEST_TIMEOUT)
        .await?;
    for topic in &answer.topics {
        for partition in &topic.partitions {
            if partition.error_code != 0 {
                let what = format!(
                    "committing the offset of {}-{} for group {group:?}",
                    topic.name.as_str(),
                    partition.partition_index
                );
                return Err(Error::kafka(cluster.side(), partition.error_code, what));
            }
        }
    }
    Ok(())
}
