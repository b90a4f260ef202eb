//! DescribeConfigs (key 32), versions 1 to 4. A topic is described by its home, a broker by itself (its virtual node
//! id becomes its own and back), a group by its home.
//!
//! - v0: KIP-133. v1: synonyms (KIP-226). v3: types and documentation (KIP-569). v4: flexible (KIP-482).

use std::collections::BTreeMap;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_configs_response::DescribeConfigsResult;
use kafka_protocol::messages::{ApiKey, DescribeConfigsRequest, DescribeConfigsResponse};
use kafka_protocol::protocol::StrBytes;

use super::exchange::Exchange;
use super::handle::Call;
use super::table::Api;
use super::{ask, cluster};
use crate::error::Result;
use crate::words::{Side, UpstreamNode, VirtualNode};

pub(super) const API: Api = Api::handled(ApiKey::DescribeConfigs, 1, 4);

const TOPIC: i8 = 2;
const BROKER: i8 = 4;
const BROKER_LOGGER: i8 = 8;
const GROUP: i8 = 32;

/// Whom a resource is asked of: a side, and the broker where it must be that one.
type Place = (Side, Option<UpstreamNode>);

pub(super) async fn answer(
    exchange: &Exchange<'_>,
    call: Call<'_>,
    mut request: DescribeConfigsRequest,
) -> Result<DescribeConfigsResponse> {
    let mut by_place: BTreeMap<Place, Vec<DescribeConfigsResource>> = BTreeMap::new();
    let mut response = DescribeConfigsResponse::default();
    for mut resource in std::mem::take(&mut request.resources) {
        match place(exchange, &resource) {
            Ok(place) => {
                if let (_, Some(node)) = place {
                    resource.resource_name = StrBytes::from_string(node.to_string());
                }
                by_place.entry(place).or_default().push(resource);
            }
            Err(error) => response.results.push(failed(&resource, error)),
        }
    }
    for (place, resources) in by_place {
        let request = request.clone().with_resources(resources);
        let mut results = describe(exchange, call, place, &request).await;
        for result in &mut results {
            rename(place, result);
        }
        response.results.extend(results);
    }
    Ok(response)
}

fn place(
    exchange: &Exchange<'_>,
    resource: &DescribeConfigsResource,
) -> Result<Place, ResponseError> {
    let snapshot = &exchange.snapshot;
    let name = resource.resource_name.as_str();
    match resource.resource_type {
        TOPIC if cluster::is_own_topic(name) => Err(ResponseError::TopicAuthorizationFailed),
        TOPIC => Ok((cluster::home(snapshot, name), None)),
        GROUP if cluster::is_own_group(snapshot, name) => {
            Err(ResponseError::GroupAuthorizationFailed)
        }
        GROUP => Ok((snapshot.group(name).home, None)),
        // Without a name: the defaults of all brokers.
        BROKER | BROKER_LOGGER if !name.is_empty() => {
            let id = name.parse().map_err(|_| ResponseError::InvalidRequest)?;
            let (side, node) = VirtualNode(id)
                .to_upstream()
                .ok_or(ResponseError::InvalidRequest)?;
            Ok((side, Some(node)))
        }
        _ => Ok((cluster::main_side(snapshot), None)),
    }
}

async fn describe(
    exchange: &Exchange<'_>,
    call: Call<'_>,
    (side, node): Place,
    request: &DescribeConfigsRequest,
) -> Vec<DescribeConfigsResult> {
    let asked = match node {
        Some(node) => ask::node(exchange, side, node, request, call.version).await,
        None => ask::any(exchange, side, request, call.version).await,
    };
    match asked {
        Ok(response) => response.results,
        Err(error) => {
            tracing::debug!(%side, %error, "configs could not be asked for");
            let unreachable = ResponseError::BrokerNotAvailable;
            let resources = request.resources.iter();
            resources
                .map(|resource| failed(resource, unreachable))
                .collect()
        }
    }
}

/// A broker's name is its virtual node id again.
fn rename((side, node): Place, result: &mut DescribeConfigsResult) {
    if let Some(seen) = node.and_then(|node| node.to_virtual(side)) {
        result.resource_name = StrBytes::from_string(seen.to_string());
    }
}

fn failed(resource: &DescribeConfigsResource, error: ResponseError) -> DescribeConfigsResult {
    DescribeConfigsResult::default()
        .with_error_code(error.code())
        .with_error_message(Some(StrBytes::from_string(format!("lockgate: {error:?}"))))
        .with_resource_type(resource.resource_type)
        .with_resource_name(resource.resource_name.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::testing::Bench;

    fn resource(kind: i8, name: &'static str) -> DescribeConfigsResource {
        DescribeConfigsResource::default()
            .with_resource_type(kind)
            .with_resource_name(StrBytes::from_static_str(name))
    }

    #[tokio::test]
    async fn resources_are_described_where_they_are() {
        let bench = Bench::start().await;
        bench
            .routes
            .update(|snapshot| snapshot.routes[0].home = Side::Destination);
        for side in Side::BOTH {
            for node in [1, 2] {
                bench.on(side, node, move |request: DescribeConfigsRequest| {
                    let results = request.resources.iter().map(|asked| {
                        let by = format!("{side}-{node} as {}", asked.resource_name);
                        failed(asked, ResponseError::UnknownServerError)
                            .with_error_code(0)
                            .with_error_message(Some(StrBytes::from_string(by)))
                    });
                    DescribeConfigsResponse::default().with_results(results.collect())
                });
            }
        }
        for version in 1..=4 {
            let request = DescribeConfigsRequest::default().with_resources(vec![
                resource(TOPIC, "orders"),
                resource(TOPIC, "payments"),
                resource(TOPIC, "__lockgate_state"),
                resource(BROKER, "2"),
                resource(BROKER, "1000002"),
                resource(BROKER, ""),
                resource(BROKER, "x"),
            ]);
            let answer = bench.call(Side::Source, version, request).await;
            let mut results: Vec<_> = answer
                .results
                .iter()
                .map(|result| {
                    let message = result.error_message.as_deref().unwrap_or_default();
                    (result.resource_name.as_str(), result.error_code, message)
                })
                .collect();
            results.sort_unstable();
            let expected = [
                ("", 0, "source-1 as "),
                ("1000002", 0, "destination-2 as 2"),
                ("2", 0, "source-2 as 2"),
                ("__lockgate_state", 29, "lockgate: TopicAuthorizationFailed"),
                ("orders", 0, "destination-1 as orders"),
                ("payments", 0, "source-1 as payments"),
                ("x", 42, "lockgate: InvalidRequest"),
            ];
            assert_eq!(results, expected);
        }
    }
}
