//! DescribeCluster (key 60), versions 0 to 2: the virtual cluster, as in Metadata. The client's own broker is asked
//! only for the client's authorized operations.
//!
//! - v0: KIP-700. v1: brokers or controllers (KIP-919); clients see brokers only. v2: fenced brokers (KIP-1073); a
//!   fenced broker has no place in the virtual cluster.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::describe_cluster_response::DescribeClusterBroker;
use kafka_protocol::messages::{ApiKey, DescribeClusterRequest, DescribeClusterResponse};
use kafka_protocol::protocol::StrBytes;

use super::cluster::{Announced, NO_OPERATIONS};
use super::exchange::Exchange;
use super::handle::Call;
use super::table::Api;
use crate::error::Result;

pub(super) const API: Api = Api::handled(ApiKey::DescribeCluster, 0, 2);
const BROKERS: i8 = 1;

pub(super) async fn answer(
    exchange: &Exchange<'_>,
    _call: Call<'_>,
    request: DescribeClusterRequest,
) -> Result<DescribeClusterResponse> {
    let response = DescribeClusterResponse::default()
        .with_cluster_id(StrBytes::from_string(
            exchange.snapshot.cluster_id.to_string(),
        ))
        .with_cluster_authorized_operations(NO_OPERATIONS);
    if request.endpoint_type != BROKERS {
        let code = ResponseError::MismatchedEndpointType.code();
        return Ok(response.with_error_code(code));
    }
    let nodes = Announced::new(exchange);
    let brokers = nodes.iter().map(|(id, at)| {
        DescribeClusterBroker::default()
            .with_broker_id(id)
            .with_host(at.host.clone())
            .with_port(at.port)
            .with_rack(None)
    });
    let operations = match &exchange.own {
        Some(own) if request.include_cluster_authorized_operations => {
            let request =
                DescribeClusterRequest::default().with_include_cluster_authorized_operations(true);
            // Version 0 asks for exactly this.
            own.call(&request, 0).await?.cluster_authorized_operations
        }
        _ => NO_OPERATIONS,
    };
    Ok(response
        .with_controller_id(nodes.controller())
        .with_brokers(brokers.collect())
        .with_cluster_authorized_operations(operations))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::testing::{Bench, commit_all};
    use crate::words::Side;

    #[tokio::test]
    async fn the_virtual_cluster_is_described() {
        let bench = Bench::start().await;
        bench.on(Side::Source, 1, |_: DescribeClusterRequest| {
            DescribeClusterResponse::default().with_cluster_authorized_operations(9)
        });
        for version in 0..=2 {
            let request =
                DescribeClusterRequest::default().with_include_cluster_authorized_operations(true);
            let answer = bench.call(Side::Source, version, request).await;
            assert_eq!(answer.cluster_id.as_str(), "source-id");
            assert_eq!(answer.controller_id.0, 1);
            assert_eq!(answer.brokers.len(), 4);
            assert_eq!(answer.cluster_authorized_operations, 9);
        }
        bench.routes.update(commit_all);
        let request = DescribeClusterRequest::default();
        let answer = bench.call(Side::Destination, 1, request).await;
        let ids: Vec<i32> = answer
            .brokers
            .iter()
            .map(|broker| broker.broker_id.0)
            .collect();
        assert_eq!(ids, [1_000_001, 1_000_002]);
        let controllers = DescribeClusterRequest::default().with_endpoint_type(2);
        let answer = bench.call(Side::Source, 1, controllers).await;
        assert_eq!(answer.error_code, 114);
    }
}
