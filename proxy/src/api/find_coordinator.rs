//! FindCoordinator (key 10), versions 0 to 6. Each key is looked up where it is at home, and its coordinator is
//! answered as the virtual node of that broker.
//!
//! - v1: transactional ids too (KIP-98), throttle time, the error's message. v3: flexible (KIP-482).
//! - v4: several keys (KIP-699). v5: TRANSACTION_ABORTABLE (KIP-890). v6: share groups (KIP-932), refused.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::find_coordinator_response::Coordinator;
use kafka_protocol::messages::{ApiKey, BrokerId, FindCoordinatorRequest, FindCoordinatorResponse};
use kafka_protocol::protocol::StrBytes;

use super::ask;
use super::cluster::{self, Announced, NO_NODE};
use super::exchange::Exchange;
use super::handle::Call;
use super::table::Api;
use crate::error::Result;
use crate::words::{Side, UpstreamNode};

pub(super) const API: Api = Api::handled(ApiKey::FindCoordinator, 0, 6);
/// From here on a request names its keys in a list.
const MANY_KEYS: i16 = 4;
const GROUP: i8 = 0;
const TRANSACTIONAL_ID: i8 = 1;

pub(super) async fn answer(
    exchange: &Exchange<'_>,
    call: Call<'_>,
    request: FindCoordinatorRequest,
) -> Result<FindCoordinatorResponse> {
    let nodes = Announced::new(exchange);
    if call.version < MANY_KEYS {
        let found = find(exchange, &nodes, request.key_type, request.key).await;
        // Version 0 has no place for a message; it is not sent then.
        return Ok(FindCoordinatorResponse::default()
            .with_error_code(found.error_code)
            .with_error_message(found.error_message)
            .with_node_id(found.node_id)
            .with_host(found.host)
            .with_port(found.port));
    }
    let mut coordinators = Vec::with_capacity(request.coordinator_keys.len());
    for key in request.coordinator_keys {
        coordinators.push(find(exchange, &nodes, request.key_type, key).await);
    }
    Ok(FindCoordinatorResponse::default().with_coordinators(coordinators))
}

async fn find(
    exchange: &Exchange<'_>,
    nodes: &Announced,
    key_type: i8,
    key: StrBytes,
) -> Coordinator {
    let side = match home(exchange, key_type, &key) {
        Ok(side) => side,
        Err(error) => return failed(key, error.code()),
    };
    let upstream = match lookup(exchange, side, key_type, &key).await {
        Ok(Ok(node)) => node,
        Ok(Err(code)) => return failed(key, code),
        Err(error) => {
            tracing::debug!(%side, key = key.as_str(), %error, "no coordinator was found");
            let code = ask::code_of(&error, ResponseError::CoordinatorNotAvailable);
            return failed(key, code);
        }
    };
    let seen = nodes.node(side, BrokerId(upstream.0));
    let at = seen.and_then(|node| Some((node, nodes.endpoint(node)?)));
    match at {
        Some((node, at)) => Coordinator::default()
            .with_key(key)
            .with_node_id(node)
            .with_host(at.host.clone())
            .with_port(at.port),
        // A broker that has no listener yet gets one with the next refresh.
        None => failed(key, ResponseError::CoordinatorNotAvailable.code()),
    }
}

/// Where the key is at home; refused for Lockgate's own names and for what is not supported.
fn home(exchange: &Exchange<'_>, key_type: i8, key: &str) -> Result<Side, ResponseError> {
    // A group that moved since the request came is looked up at its new home.
    let snapshot = exchange.routes.load_full();
    match key_type {
        GROUP if cluster::is_own_group(&snapshot, key) => {
            Err(ResponseError::GroupAuthorizationFailed)
        }
        GROUP => Ok(snapshot.group(key).home),
        TRANSACTIONAL_ID if snapshot.table.transactional_id(key).is_none() => {
            Err(ResponseError::TransactionalIdAuthorizationFailed)
        }
        // Transactions are served at the source until they can move.
        TRANSACTIONAL_ID => Ok(Side::Source),
        _ => Err(ResponseError::InvalidRequest),
    }
}

/// The coordinator as its own cluster names it, or the code with which the client's own broker refused.
async fn lookup(
    exchange: &Exchange<'_>,
    side: Side,
    key_type: i8,
    key: &StrBytes,
) -> Result<Result<UpstreamNode, i16>> {
    if let Some(own) = exchange.own.as_ref().filter(|own| own.side == side) {
        // One key at a time, in the version that every broker speaks.
        let request = FindCoordinatorRequest::default()
            .with_key(key.clone())
            .with_key_type(key_type);
        let answer = own.call(&request, MANY_KEYS - 1).await?;
        return Ok(match answer.error_code {
            0 => Ok(UpstreamNode(answer.node_id.0)),
            code => Err(code),
        });
    }
    let node = exchange
        .clusters
        .on(side)
        .coordinator(key_type, key)
        .await?;
    Ok(Ok(node))
}

fn failed(key: StrBytes, code: i16) -> Coordinator {
    Coordinator::default()
        .with_key(key)
        .with_node_id(NO_NODE)
        .with_port(-1)
        .with_error_code(code)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::testing::{Bench, move_group};

    async fn ask(bench: &Bench, version: i16, key_type: i8, key: &'static str) -> Coordinator {
        let key = StrBytes::from_static_str(key);
        let request = FindCoordinatorRequest::default().with_key_type(key_type);
        if version < MANY_KEYS {
            let answer = bench
                .call(Side::Source, version, request.with_key(key))
                .await;
            return Coordinator::default()
                .with_node_id(answer.node_id)
                .with_host(answer.host)
                .with_port(answer.port)
                .with_error_code(answer.error_code);
        }
        let request = request.with_coordinator_keys(vec![key.clone()]);
        let mut answer = bench.call(Side::Source, version, request).await;
        let found = answer.coordinators.remove(0);
        assert_eq!(found.key, key);
        found
    }

    #[tokio::test]
    async fn a_coordinator_is_the_virtual_node_at_the_home() {
        let bench = Bench::start().await;
        bench
            .routes
            .update(|snapshot| move_group(snapshot, "billing", None));
        for version in 0..=6 {
            let moved = ask(&bench, version, GROUP, "billing").await;
            assert_eq!(
                (moved.node_id.0, moved.port),
                (1_000_001, 9102),
                "v{version}"
            );
            assert_eq!(moved.host.as_str(), "gate.example");
            let stayed = ask(&bench, version, GROUP, "other").await;
            assert_eq!((stayed.node_id.0, stayed.port), (1, 9100));
            let own = ask(&bench, version, GROUP, "lockgate-instances").await;
            assert_eq!((own.node_id.0, own.error_code), (-1, 30));
            if version >= 1 {
                let transaction = ask(&bench, version, TRANSACTIONAL_ID, "tx").await;
                assert_eq!(transaction.node_id.0, 1);
                let own = ask(&bench, version, TRANSACTIONAL_ID, "lockgate-state").await;
                assert_eq!(own.error_code, 53);
                let share = ask(&bench, version, 2, "share").await;
                assert_eq!(share.error_code, 42);
            }
        }
    }

    #[tokio::test]
    async fn what_the_own_broker_refuses_is_passed_on() {
        let bench = Bench::start().await;
        bench.on(Side::Source, 1, |_: FindCoordinatorRequest| {
            FindCoordinatorResponse::default().with_error_code(15)
        });
        let none = ask(&bench, 4, GROUP, "other").await;
        assert_eq!((none.node_id.0, none.error_code), (-1, 15));
    }
}
