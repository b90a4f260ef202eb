//! ListGroups (key 16), versions 0 to 5. Clients ask every broker that Metadata names, so each virtual node lists
//! its own broker's groups, and of these only those whose home is its side: a group is reported once, from its home.
//! Lockgate's own groups are hidden.
//!
//! - v1: throttle time (KIP-124). v3: flexible (KIP-482). v4: filter by state (KIP-518).
//! - v5: filter by type (KIP-848).

use kafka_protocol::ResponseError;
use kafka_protocol::messages::{ApiKey, ListGroupsRequest, ListGroupsResponse};

use super::cluster;
use super::exchange::Exchange;
use super::handle::Call;
use super::table::Api;
use crate::error::Result;

pub(super) const API: Api = Api::handled(ApiKey::ListGroups, 0, 5);

pub(super) async fn answer(
    exchange: &Exchange<'_>,
    call: Call<'_>,
    request: ListGroupsRequest,
) -> Result<ListGroupsResponse> {
    let Some(own) = &exchange.own else {
        let code = ResponseError::CoordinatorNotAvailable.code();
        return Ok(ListGroupsResponse::default().with_error_code(code));
    };
    let mut response = own.call(&request, call.version).await?;
    let snapshot = &exchange.snapshot;
    response.groups.retain(|group| {
        !cluster::is_own_group(snapshot, &group.group_id)
            && snapshot.group(&group.group_id).home == exchange.side
    });
    Ok(response)
}
