//! CreateTopics (key 19), versions 2 to 7. Each topic is created at its home; while its route is fenced the request
//! waits for the outcome. Topic ids in the answer are those that clients know.
//!
//! - v2: throttle time (KIP-124). v4: the broker's defaults for partitions and replication (KIP-464).
//! - v5: flexible (KIP-482), the topic's configs in the answer (KIP-525). v6: quotas (KIP-599).
//! - v7: the topic's id (KIP-516).

use kafka_protocol::ResponseError;
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::create_topics_response::CreatableTopicResult;
use kafka_protocol::messages::{ApiKey, BrokerId, CreateTopicsRequest, CreateTopicsResponse};
use kafka_protocol::protocol::StrBytes;
use tokio::time::Instant;

use super::ask;
use super::cluster::{self, is_own_topic};
use super::exchange::Exchange;
use super::handle::Call;
use super::table::Api;
use crate::config::PARK_MAX;
use crate::error::{Error, Kind, Result};
use crate::route::{Phase, Snapshot};
use crate::words::{Side, UpstreamNode, VirtualNode};

pub(super) const API: Api = Api::handled(ApiKey::CreateTopics, 2, 7);

pub(super) async fn answer(
    exchange: &Exchange<'_>,
    call: Call<'_>,
    mut request: CreateTopicsRequest,
) -> Result<CreateTopicsResponse> {
    let mut response = CreateTopicsResponse::default();
    let mut wanted = Vec::new();
    for topic in std::mem::take(&mut request.topics) {
        match refusal(&exchange.snapshot, &topic) {
            Some(error) => response.topics.push(failed(&topic, error)),
            None => wanted.push(topic),
        }
    }
    let (open, fenced) = settled(exchange, wanted).await;
    let parked_too_long = ResponseError::RequestTimedOut;
    response
        .topics
        .extend(fenced.iter().map(|topic| failed(topic, parked_too_long)));
    let snapshot = exchange.routes.load_full();
    for side in Side::BOTH {
        let there = open
            .iter()
            .filter(|topic| cluster::home(&snapshot, &topic.name) == side);
        let there: Vec<_> = there.map(|topic| on_side(topic.clone(), side)).collect();
        if !there.is_empty() {
            let request = request.clone().with_topics(there);
            response
                .topics
                .extend(create(exchange, call, side, &request).await?);
        }
    }
    for topic in &mut response.topics {
        topic.topic_id = cluster::topic_id(&snapshot, &topic.name, topic.topic_id);
        if call.version < 5 {
            // A newer broker tells more than this version can carry.
            topic.topic_config_error_code = 0;
        }
    }
    Ok(response)
}

fn refusal(snapshot: &Snapshot, topic: &CreatableTopic) -> Option<ResponseError> {
    if is_own_topic(&topic.name) {
        return Some(ResponseError::TopicAuthorizationFailed);
    }
    let routed = snapshot.topic(&topic.name).is_some();
    (!routed).then_some(ResponseError::InvalidTopicException)
}

/// Waits until the route of every topic is open; returns those whose is, and those whose is still fenced.
async fn settled(
    exchange: &Exchange<'_>,
    topics: Vec<CreatableTopic>,
) -> (Vec<CreatableTopic>, Vec<CreatableTopic>) {
    let is_open = |snapshot: &Snapshot, topic: &CreatableTopic| {
        let route = snapshot.topic(&topic.name);
        route.is_none_or(|(_, route)| route.phase == Phase::Open)
    };
    let deadline = Instant::now() + PARK_MAX;
    let mut changes = exchange.routes.subscribe();
    loop {
        // Marked seen before the snapshot is read, or a change between the two would be slept through.
        changes.mark_unchanged();
        let snapshot = exchange.routes.load_full();
        let waits = !topics.iter().all(|topic| is_open(&snapshot, topic));
        let changed = tokio::time::timeout_at(deadline, changes.changed());
        if !waits || !matches!(changed.await, Ok(Ok(()))) {
            return topics
                .into_iter()
                .partition(|topic| is_open(&snapshot, topic));
        }
    }
}

/// Assignments name brokers as clients see them. A broker of another side becomes one that no cluster has, and the
/// controller answers INVALID_REPLICA_ASSIGNMENT.
fn on_side(mut topic: CreatableTopic, side: Side) -> CreatableTopic {
    for assignment in &mut topic.assignments {
        for broker in &mut assignment.broker_ids {
            let upstream = VirtualNode(broker.0).to_upstream();
            let there = upstream.filter(|(of, _)| *of == side);
            *broker = there.map_or(BrokerId(i32::MAX), |(_, node)| BrokerId(node.0));
        }
    }
    topic
}

async fn create(
    exchange: &Exchange<'_>,
    call: Call<'_>,
    side: Side,
    request: &CreateTopicsRequest,
) -> Result<Vec<CreatableTopicResult>> {
    if let Some(own) = exchange.own.as_ref().filter(|own| own.side == side) {
        let answer = own.call(request, call.version).await?;
        // With KRaft every broker passes it on; with ZooKeeper only the controller takes it.
        let misdirected = ResponseError::NotController.code();
        if !answer
            .topics
            .iter()
            .any(|topic| topic.error_code == misdirected)
        {
            return Ok(answer.topics);
        }
    }
    match at_controller(exchange, call, side, request).await {
        Ok(answer) => Ok(answer.topics),
        Err(error) => {
            tracing::debug!(%side, %error, "topics could not be created");
            let failure = ResponseError::RequestTimedOut;
            Ok(request
                .topics
                .iter()
                .map(|topic| failed(topic, failure))
                .collect())
        }
    }
}

async fn at_controller(
    exchange: &Exchange<'_>,
    call: Call<'_>,
    side: Side,
    request: &CreateTopicsRequest,
) -> Result<CreateTopicsResponse> {
    let controller: Option<UpstreamNode> = exchange.clusters.on(side).view().controller;
    let controller = controller
        .ok_or_else(|| Error::new(side, Kind::Disconnected, "the cluster has no controller"))?;
    ask::node(exchange, side, controller, request, call.version).await
}

fn failed(topic: &CreatableTopic, error: ResponseError) -> CreatableTopicResult {
    CreatableTopicResult::default()
        .with_name(topic.name.clone())
        .with_error_code(error.code())
        .with_error_message(Some(StrBytes::from_string(format!(
            "lockgate: {error:?} for topic {:?}",
            topic.name.as_str()
        ))))
        .with_configs(None)
}
