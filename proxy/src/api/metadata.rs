//! Metadata (key 3), versions 0 to 13: the face of the virtual cluster. Each topic is shown from one side, its home
//! (or, in the sticky view, the side that this client still writes through): from the answer of the client's own
//! broker where that is its side, else from the other cluster's view, asked afresh for what the view does not know.
//! Brokers become virtual nodes, topic ids those that clients know for ever, leader epochs -1; the cluster id is the
//! source's. Automatic creation is asked for only at a topic's home.
//!
//! All work is linear in the number of partitions: the answer for 1,000 topics is built once, without lookups in
//! lists.
//!
//! - v1: controller, racks, internal topics; null asks for all topics. v2: cluster id (KIP-78).
//! - v4: automatic creation can be refused. v5: offline replicas (KIP-112). v7: leader epochs (KIP-320).
//! - v8: authorized operations (KIP-430). v9: flexible (KIP-482). v10: topic ids in answers (KIP-516).
//! - v11: no cluster operations (KIP-700). v12: topics by id. v13: an error for the whole answer (KIP-1102).

mod shape;

#[cfg(test)]
mod tests;

use std::collections::HashMap;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::metadata_response::{MetadataResponseBroker, MetadataResponseTopic};
use kafka_protocol::messages::{ApiKey, MetadataRequest, MetadataResponse, TopicName};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use self::shape::Shape;
use super::cluster::{self, Announced, NO_OPERATIONS, is_own_topic};
use super::exchange::Exchange;
use super::handle::Call;
use super::table::Api;
use crate::error::Result;
use crate::upstream::Target;
use crate::words::Side;

pub(super) const API: Api = Api::handled(ApiKey::Metadata, 0, 13);
/// From here on automatic creation can be refused; own brokers are always asked at least so.
const CREATION_REFUSABLE: i16 = 4;
/// Until here the answer tells the client's authorized operations on the cluster.
const CLUSTER_OPERATIONS_LAST: i16 = 10;
/// From here on an empty list of topics means none; before, all.
const NONE_IS_NONE: i16 = 1;

/// What the client asked for, by the side that shows it.
#[derive(Debug, Default)]
struct Plan {
    /// All topics; the lists below are empty then.
    all: bool,
    /// Topics shown by that side and at home there, so creatable.
    home: [Vec<TopicName>; 2],
    /// Topics shown by that side in the sticky view, or held by no route: never created.
    away: [Vec<TopicName>; 2],
    /// Answered without asking anybody.
    answered: Vec<MetadataResponseTopic>,
}

pub(super) async fn answer(
    exchange: &Exchange<'_>,
    call: Call<'_>,
    request: MetadataRequest,
) -> Result<MetadataResponse> {
    let creates = call.version < CREATION_REFUSABLE || request.allow_auto_topic_creation;
    let mut plan = plan(exchange, call.version, request.topics.as_deref());
    let nodes = Announced::new(exchange);
    let shape = Shape::new(exchange, &nodes);
    let mut topics = std::mem::take(&mut plan.answered);
    let own = ask_own(exchange, call.version, &request, &plan, creates).await;
    let (mut throttle_time_ms, mut operations) = (0, NO_OPERATIONS);
    let mut own_side = None;
    if let Some(own) = own {
        throttle_time_ms = own.throttle_time_ms;
        operations = own.cluster_authorized_operations;
        own_side = Some(exchange.side);
        let named = own.topics.into_iter();
        topics.extend(named.filter_map(|topic| shape.answered(exchange.side, topic)));
    }
    for side in Side::BOTH {
        if Some(side) == own_side {
            continue;
        }
        if plan.all {
            topics.extend(shape.all_known(side));
        } else {
            known_or_asked(exchange, &shape, &plan, side, creates, &mut topics).await;
        }
    }
    let brokers = nodes.iter().map(|(id, at)| {
        MetadataResponseBroker::default()
            .with_node_id(id)
            .with_host(at.host.clone())
            .with_port(at.port)
            .with_rack(None)
    });
    let in_range = (8..=CLUSTER_OPERATIONS_LAST).contains(&call.version);
    Ok(MetadataResponse::default()
        .with_throttle_time_ms(throttle_time_ms)
        .with_brokers(brokers.collect())
        .with_cluster_id(Some(cluster_id(exchange)))
        .with_controller_id(nodes.controller())
        .with_topics(topics)
        .with_cluster_authorized_operations(if in_range { operations } else { NO_OPERATIONS }))
}

fn cluster_id(exchange: &Exchange<'_>) -> StrBytes {
    StrBytes::from_string(exchange.snapshot.cluster_id.to_string())
}

/// Sorts the named topics by the side that shows them; ids become names first.
fn plan(exchange: &Exchange<'_>, version: i16, topics: Option<&[MetadataRequestTopic]>) -> Plan {
    let mut plan = Plan::default();
    let named = match topics {
        Some(named) if !named.is_empty() || version >= NONE_IS_NONE => named,
        _ => {
            plan.all = true;
            return plan;
        }
    };
    let names = if named.iter().any(|topic| topic.name.is_none()) {
        names_by_id(exchange)
    } else {
        HashMap::new()
    };
    for topic in named {
        let name = topic.name.clone();
        match name.or_else(|| names.get(&topic.topic_id).cloned()) {
            Some(name) => plan.add(exchange, name),
            None => plan
                .answered
                .push(shape::unknown_id(topic.topic_id, version)),
        }
    }
    plan
}

impl Plan {
    fn add(&mut self, exchange: &Exchange<'_>, name: TopicName) {
        if is_own_topic(&name) {
            self.answered
                .push(shape::failed(name, ResponseError::TopicAuthorizationFailed));
            return;
        }
        let shown = cluster::shown(exchange, &name);
        let snapshot = &exchange.snapshot;
        let routed = snapshot.topic(&name).is_some();
        let lists = if routed && cluster::home(snapshot, &name) == shown {
            &mut self.home
        } else {
            &mut self.away
        };
        lists[shown.index()].push(name);
    }
}

/// Names by the ids that clients know: the virtual ones, and a cluster's own where no virtual one is recorded.
fn names_by_id(exchange: &Exchange<'_>) -> HashMap<Uuid, TopicName> {
    let topic_name = |name: &str| TopicName(StrBytes::from_string(name.to_owned()));
    let recorded = &exchange.snapshot.topic_ids;
    let mut names: HashMap<Uuid, TopicName> = recorded
        .iter()
        .map(|(name, id)| (*id, topic_name(name)))
        .collect();
    for side in Side::BOTH {
        let view = exchange.clusters.on(side).view();
        for (name, topic) in &view.topics {
            let unrecorded = !topic.id.is_nil() && !recorded.contains_key(name);
            if unrecorded && cluster::home(&exchange.snapshot, name) == side {
                names.insert(topic.id, topic_name(name));
            }
        }
    }
    names
}

/// Asks the client's own broker for the topics its side shows. None where there is no such broker: the view is used.
///
/// Topics that may not be created need a request of their own where others may.
async fn ask_own(
    exchange: &Exchange<'_>,
    version: i16,
    request: &MetadataRequest,
    plan: &Plan,
    creates: bool,
) -> Option<MetadataResponse> {
    let own = exchange.own.as_ref()?;
    let version = own_version(exchange, version);
    let at = exchange.side.index();
    let asked = |names: Option<&Vec<TopicName>>, creates: bool| {
        MetadataRequest::default()
            .with_topics(names.map(|names| named(names)))
            .with_allow_auto_topic_creation(creates)
            .with_include_cluster_authorized_operations(
                request.include_cluster_authorized_operations
                    && (8..=CLUSTER_OPERATIONS_LAST).contains(&version),
            )
            .with_include_topic_authorized_operations(
                request.include_topic_authorized_operations && version >= 8,
            )
    };
    let mut names = plan.home[at].clone();
    let mut never_created = plan.away[at].clone();
    if !creates {
        names.append(&mut never_created);
    }
    // Asking for all topics creates none.
    let first = asked((!plan.all).then_some(&names), creates);
    // A broker that is lost meanwhile ends the session, or leaves it to the view: either is right.
    let mut answer = own.call(&first, version).await.ok()?;
    if !never_created.is_empty() {
        let second = asked(Some(&never_created), false);
        let more = own.call(&second, version).await.ok()?;
        answer.topics.extend(more.topics);
    }
    Some(answer)
}

/// The client's version, as far as the own cluster speaks it; high enough to refuse automatic creation.
fn own_version(exchange: &Exchange<'_>, version: i16) -> i16 {
    let spoken = exchange.clusters.on(exchange.side).versions();
    let highest = spoken
        .get(ApiKey::Metadata as i16)
        .map_or(version, |(_, max)| max);
    version.min(highest).max(CREATION_REFUSABLE)
}

fn named(names: &[TopicName]) -> Vec<MetadataRequestTopic> {
    names
        .iter()
        .map(|name| MetadataRequestTopic::default().with_name(Some(name.clone())))
        .collect()
}

/// Topics that the view of their side knows, then those it does not: asked for, created where that is wanted.
async fn known_or_asked(
    exchange: &Exchange<'_>,
    shape: &Shape<'_>,
    plan: &Plan,
    side: Side,
    creates: bool,
    topics: &mut Vec<MetadataResponseTopic>,
) {
    for (names, creates) in [
        (&plan.home[side.index()], creates),
        (&plan.away[side.index()], false),
    ] {
        let mut unknown = Vec::new();
        for name in names {
            match shape.known(side, name) {
                Some(topic) => topics.push(topic),
                None => unknown.push(name.clone()),
            }
        }
        if unknown.is_empty() {
            continue;
        }
        let request = MetadataRequest::default()
            .with_topics(Some(named(&unknown)))
            .with_allow_auto_topic_creation(creates);
        match exchange.clusters.on(side).call(Target::Any, &request).await {
            Ok(answer) => {
                let answered = answer.topics.into_iter();
                topics.extend(answered.filter_map(|topic| shape.answered(side, topic)));
            }
            Err(error) => {
                tracing::debug!(%side, %error, "topics could not be asked for");
                let error = ResponseError::LeaderNotAvailable;
                topics.extend(unknown.into_iter().map(|name| shape::failed(name, error)));
            }
        }
    }
}
