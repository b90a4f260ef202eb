//! The admin requests that provisioning needs, each about one topic or partition.

use std::time::Duration;

use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::delete_records_request::{
    DeleteRecordsPartition, DeleteRecordsTopic,
};
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_log_dirs_request::DescribableLogDirTopic;
use kafka_protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig,
};
use kafka_protocol::messages::{
    CreatePartitionsRequest, CreateTopicsRequest, DeleteRecordsRequest, DescribeConfigsRequest,
    DescribeLogDirsRequest, IncrementalAlterConfigsRequest, TopicName,
};
use kafka_protocol::protocol::StrBytes;

use super::settings::{Changes, Settings};
use crate::error::{Error, Kind, Result};
use crate::upstream::{Cluster, Target};
use crate::words::{TopicPartition, UpstreamNode};

/// How long a broker may take for a change of a topic.
const TIMEOUT: Duration = Duration::from_secs(30);
const TIMEOUT_MS: i32 = 30_000;
/// Kafka's number for "the resource is a topic".
const RESOURCE_TOPIC: i8 = 2;
/// A value that was set on the topic itself (`DYNAMIC_TOPIC_CONFIG`).
const SOURCE_TOPIC: i8 = 1;
const SET: i8 = 0;
const DELETE: i8 = 1;

/// A topic's settings.
#[derive(Debug, Default)]
pub(super) struct Described {
    /// Set on the topic itself.
    pub(super) own: Settings,
    /// All names that the brokers have.
    pub(super) known: Vec<String>,
}

/// Reads a topic's settings.
pub(super) async fn describe(cluster: &Cluster, topic: &str) -> Result<Described> {
    describe_at(cluster, Target::Any, topic).await
}

/// Reads a topic's settings as a certain broker has them.
pub(super) async fn describe_at(
    cluster: &Cluster,
    target: Target<'_>,
    topic: &str,
) -> Result<Described> {
    let resource = DescribeConfigsResource::default()
        .with_resource_type(RESOURCE_TOPIC)
        .with_resource_name(text(topic))
        .with_configuration_keys(None);
    let request = DescribeConfigsRequest::default().with_resources(vec![resource]);
    let answer = cluster.call_within(target, &request, TIMEOUT).await?;
    let mut described = Described::default();
    for result in answer.results {
        check(
            cluster,
            result.error_code,
            result.error_message.as_ref(),
            || format!("reading the settings of topic {topic:?}"),
        )?;
        for config in result.configs {
            if let (SOURCE_TOPIC, Some(value)) = (config.config_source, &config.value) {
                described
                    .own
                    .insert(config.name.to_string(), value.to_string());
            }
            described.known.push(config.name.to_string());
        }
    }
    Ok(described)
}

/// Changes a topic's settings; what has the value already is no change.
pub(super) async fn alter(cluster: &Cluster, topic: &str, changes: &Changes) -> Result<()> {
    if changes.is_empty() {
        return Ok(());
    }
    let configs = changes
        .iter()
        .map(|(name, value)| {
            AlterableConfig::default()
                .with_name(text(name))
                .with_config_operation(if value.is_some() { SET } else { DELETE })
                .with_value(value.as_deref().map(text))
        })
        .collect();
    let resource = AlterConfigsResource::default()
        .with_resource_type(RESOURCE_TOPIC)
        .with_resource_name(text(topic))
        .with_configs(configs);
    let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
    let answer = cluster
        .call_within(Target::Controller, &request, TIMEOUT)
        .await?;
    for result in answer.responses {
        check(
            cluster,
            result.error_code,
            result.error_message.as_ref(),
            || format!("changing the settings of topic {topic:?}"),
        )?;
    }
    Ok(())
}

/// Creates a topic with the brokers' default settings.
pub(super) async fn create(
    cluster: &Cluster,
    topic: &str,
    partitions: i32,
    replication_factor: i16,
) -> Result<()> {
    let wanted = CreatableTopic::default()
        .with_name(name(topic))
        .with_num_partitions(partitions)
        .with_replication_factor(replication_factor);
    let request = CreateTopicsRequest::default()
        .with_topics(vec![wanted])
        .with_timeout_ms(TIMEOUT_MS);
    let answer = cluster
        .call_within(Target::Controller, &request, TIMEOUT)
        .await?;
    for result in answer.topics {
        check(
            cluster,
            result.error_code,
            result.error_message.as_ref(),
            || format!("creating topic {topic:?} with replication factor {replication_factor}"),
        )?;
    }
    Ok(())
}

/// Gives a topic more partitions.
pub(super) async fn grow(cluster: &Cluster, topic: &str, partitions: i32) -> Result<()> {
    let wanted = CreatePartitionsTopic::default()
        .with_name(name(topic))
        .with_count(partitions)
        .with_assignments(None);
    let request = CreatePartitionsRequest::default()
        .with_topics(vec![wanted])
        .with_timeout_ms(TIMEOUT_MS);
    let answer = cluster
        .call_within(Target::Controller, &request, TIMEOUT)
        .await?;
    for result in answer.results {
        check(
            cluster,
            result.error_code,
            result.error_message.as_ref(),
            || format!("giving topic {topic:?} {partitions} partitions"),
        )?;
    }
    Ok(())
}

/// Deletes the records below an offset; returns the new log start.
pub(super) async fn delete_below(
    cluster: &Cluster,
    at: &TopicPartition,
    offset: i64,
) -> Result<i64> {
    let partition = DeleteRecordsPartition::default()
        .with_partition_index(at.partition)
        .with_offset(offset);
    let wanted = DeleteRecordsTopic::default()
        .with_name(name(&at.topic))
        .with_partitions(vec![partition]);
    let request = DeleteRecordsRequest::default()
        .with_topics(vec![wanted])
        .with_timeout_ms(TIMEOUT_MS);
    let target = Target::Leader(&at.topic, at.partition);
    let answer = cluster.call_within(target, &request, TIMEOUT).await?;
    let Some(result) = answer
        .topics
        .iter()
        .flat_map(|topic| &topic.partitions)
        .next()
    else {
        let what = format!("the answer to DeleteRecords leaves out {at}");
        return Err(Error::new(cluster.side(), Kind::Malformed, what));
    };
    check(cluster, result.error_code, None, || {
        format!("deleting the records of {at} below {offset}")
    })?;
    Ok(result.low_watermark)
}

/// The bytes that a partition takes on one broker.
pub(super) async fn bytes_on(
    cluster: &Cluster,
    node: UpstreamNode,
    at: &TopicPartition,
) -> Result<i64> {
    let wanted = DescribableLogDirTopic::default()
        .with_topic(name(&at.topic))
        .with_partitions(vec![at.partition]);
    let request = DescribeLogDirsRequest::default().with_topics(Some(vec![wanted]));
    let answer = cluster
        .call_within(Target::Broker(node), &request, TIMEOUT)
        .await?;
    check(cluster, answer.error_code, None, || {
        "asking for log sizes".to_owned()
    })?;
    let mut bytes = 0;
    for folder in answer.results {
        check(cluster, folder.error_code, None, || {
            format!("asking for log sizes in {}", folder.log_dir)
        })?;
        for topic in folder.topics {
            bytes += topic
                .partitions
                .iter()
                .map(|one| one.partition_size)
                .sum::<i64>();
        }
    }
    Ok(bytes)
}

fn check(
    cluster: &Cluster,
    code: i16,
    message: Option<&StrBytes>,
    doing: impl FnOnce() -> String,
) -> Result<()> {
    if code == 0 {
        return Ok(());
    }
    let error = Error::kafka(cluster.side(), code, doing());
    Err(match message {
        Some(message) => error.because(message.to_string()),
        None => error,
    })
}

fn text(value: &str) -> StrBytes {
    StrBytes::from_string(value.to_owned())
}

fn name(topic: &str) -> TopicName {
    TopicName(text(topic))
}
