//! The state topic itself: made at the first start, found at every other.

use std::time::Duration;

use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::{CreateTopicsRequest, TopicName};
use kafka_protocol::protocol::StrBytes;
use tokio::time::Instant;

use crate::error::{Error, Kind, Result};
use crate::route::STATE_TOPIC;
use crate::upstream::{Cluster, Target};

/// Replicas, where there are as many brokers.
const REPLICATION_MAX: usize = 3;
/// Replicas that must hold a write before it is acknowledged, where there are as many.
const MIN_INSYNC: usize = 2;
/// How long a new topic may take to get a leader.
const LEADER_WITHIN: Duration = Duration::from_secs(30);
const CREATE_TIMEOUT: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(100);
const TOPIC_ALREADY_EXISTS: i16 = 36;

/// The topic's name as requests carry it.
pub(super) fn name() -> TopicName {
    TopicName(StrBytes::from_static_str(STATE_TOPIC))
}

/// Whether the topic is there, as the brokers say now.
pub(super) async fn exists(cluster: &Cluster) -> Result<bool> {
    Ok(cluster.refresh().await?.topics.contains_key(STATE_TOPIC))
}

/// Makes the topic and waits for its leader. One that is there already is fine: metadata may be older than it.
pub(super) async fn create(cluster: &Cluster) -> Result<()> {
    let deadline = Instant::now() + LEADER_WITHIN;
    let brokers = cluster.view().brokers.len().max(1);
    let replicas = brokers.min(REPLICATION_MAX);
    let setting = |name: &'static str, value: String| {
        CreatableTopicConfig::default()
            .with_name(StrBytes::from_static_str(name))
            .with_value(Some(StrBytes::from_string(value)))
    };
    let topic = CreatableTopic::default()
        .with_name(name())
        .with_num_partitions(1)
        .with_replication_factor(i16::try_from(replicas).unwrap_or(1))
        .with_configs(vec![
            setting("cleanup.policy", "compact".to_owned()),
            setting("min.insync.replicas", replicas.min(MIN_INSYNC).to_string()),
            setting("compression.type", "producer".to_owned()),
        ]);
    let request = CreateTopicsRequest::default()
        .with_topics(vec![topic])
        .with_timeout_ms(i32::try_from(CREATE_TIMEOUT.as_millis()).unwrap_or(i32::MAX));
    loop {
        match create_once(cluster, &request).await {
            Ok(()) => break,
            Err(error) if error.is_retriable() && Instant::now() < deadline => {
                tracing::debug!(side = %cluster.side(), %error, "creating the state topic again");
                tokio::time::sleep(POLL).await;
                // The controller may have moved.
                let _ = cluster.refresh().await;
            }
            Err(error) => return Err(error),
        }
    }
    while cluster.refresh().await?.leader(STATE_TOPIC, 0).is_none() {
        if Instant::now() >= deadline {
            return Err(Error::new(
                cluster.side(),
                Kind::TimedOut,
                format!("topic {STATE_TOPIC} has no leader after {LEADER_WITHIN:?}"),
            ));
        }
        tokio::time::sleep(POLL).await;
    }
    Ok(())
}

async fn create_once(cluster: &Cluster, request: &CreateTopicsRequest) -> Result<()> {
    let answer = cluster
        .call_within(Target::Controller, request, CREATE_TIMEOUT)
        .await?;
    match answer.topics.first().map(|topic| topic.error_code) {
        Some(0 | TOPIC_ALREADY_EXISTS) => Ok(()),
        code => {
            let doing = format!("creating topic {STATE_TOPIC}");
            Err(Error::kafka(cluster.side(), code.unwrap_or(-1), doing))
        }
    }
}
