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
use uuid::Uuid;

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
/// From here on answers carry topic ids.
const TOPIC_IDS: i16 = 7;

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
        topic.topic_id = match call.version {
            ..TOPIC_IDS => Uuid::nil(),
            _ => cluster::topic_id(&snapshot, &topic.name, topic.topic_id),
        };
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::testing::{Bench, OWN_IDS, TOPIC_ID, name};
    use kafka_protocol::messages::create_topics_request::CreatableReplicaAssignment;

    fn created(side: Side) -> impl Fn(CreateTopicsRequest) -> CreateTopicsResponse {
        move |request| {
            let topics = request.topics.iter().map(|topic| {
                CreatableTopicResult::default()
                    .with_name(topic.name.clone())
                    .with_topic_id(OWN_IDS[side.index()])
                    .with_error_message(None)
                    .with_configs(None)
            });
            CreateTopicsResponse::default().with_topics(topics.collect())
        }
    }

    /// Ids stand in answers from version 7 on only, and the crate refuses to write one earlier.
    fn created_before_ids(request: CreateTopicsRequest) -> CreateTopicsResponse {
        let mut answer = created(Side::Source)(request);
        for topic in &mut answer.topics {
            topic.topic_id = Uuid::nil();
        }
        answer
    }

    fn asking(names: &[&str]) -> CreateTopicsRequest {
        let topics = names
            .iter()
            .map(|text| CreatableTopic::default().with_name(name(text)));
        CreateTopicsRequest::default().with_topics(topics.collect())
    }

    fn codes(answer: &CreateTopicsResponse) -> Vec<(&str, i16)> {
        let mut codes: Vec<_> = answer
            .topics
            .iter()
            .map(|topic| (topic.name.as_str(), topic.error_code))
            .collect();
        codes.sort_unstable();
        codes
    }

    #[tokio::test]
    async fn topics_are_created_at_home_with_the_ids_that_clients_know() {
        let bench = Bench::start().await;
        bench
            .routes
            .update(|snapshot| snapshot.routes[0].home = Side::Destination);
        for side in Side::BOTH {
            bench.on(side, 1, created(side));
        }
        let names = [
            "orders",
            "orders-new",
            "other",
            "__lockgate_state",
            "__consumer_offsets",
        ];
        let answer = bench.call(Side::Source, 7, asking(&names)).await;
        let expected = [
            ("__consumer_offsets", 17),
            ("__lockgate_state", 29),
            ("orders", 0),
            ("orders-new", 0),
            ("other", 0),
        ];
        assert_eq!(codes(&answer), expected);
        let id = |wanted| {
            let mut topics = answer.topics.iter();
            topics
                .find(|topic| topic.name == name(wanted))
                .unwrap()
                .topic_id
        };
        assert_eq!(id("orders"), TOPIC_ID);
        assert_eq!(id("orders-new"), OWN_IDS[1]);
        assert_eq!(id("other"), OWN_IDS[0]);
        bench
            .routes
            .update(|snapshot| snapshot.routes[0].home = Side::Source);
        bench.on(Side::Source, 1, created_before_ids);
        for version in 2..=6 {
            let answer = bench.call(
                Side::Source,
                version,
                asking(&["orders", "__lockgate_state"]),
            );
            assert_eq!(
                codes(&answer.await),
                [("__lockgate_state", 29), ("orders", 0)]
            );
        }
    }

    #[tokio::test]
    async fn creation_waits_while_the_route_is_fenced() {
        let bench = Bench::start().await;
        bench.on(Side::Destination, 1, created(Side::Destination));
        bench
            .routes
            .update(|snapshot| snapshot.routes[0].phase = Phase::Fenced);
        let opened = async {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            assert_eq!(bench.seen(Side::Source, 1, ApiKey::CreateTopics), 0);
            bench.routes.update(|snapshot| {
                snapshot.routes[0].phase = Phase::Open;
                snapshot.routes[0].home = Side::Destination;
            });
        };
        let (answer, ()) =
            tokio::join!(bench.call(Side::Source, 7, asking(&["orders-new"])), opened);
        assert_eq!(codes(&answer), [("orders-new", 0)]);
        assert_eq!(bench.seen(Side::Destination, 1, ApiKey::CreateTopics), 1);
    }

    #[test]
    fn assignments_name_upstream_brokers() {
        let brokers = vec![BrokerId(1), BrokerId(1_000_002)];
        let assignment = CreatableReplicaAssignment::default().with_broker_ids(brokers);
        let topic = CreatableTopic::default().with_assignments(vec![assignment]);
        let there = on_side(topic, Side::Destination);
        let brokers = &there.assignments[0].broker_ids;
        assert_eq!(*brokers, [BrokerId(i32::MAX), BrokerId(2)]);
    }
}
