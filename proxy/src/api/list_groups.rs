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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::testing::{Bench, move_group};
    use crate::words::Side;
    use kafka_protocol::messages::GroupId;
    use kafka_protocol::messages::list_groups_response::ListedGroup;
    use kafka_protocol::protocol::StrBytes;

    #[tokio::test]
    async fn a_group_is_listed_once_from_its_home() {
        let bench = Bench::start().await;
        bench
            .routes
            .update(|snapshot| move_group(snapshot, "billing", None));
        for side in Side::BOTH {
            bench.on(side, 1, |_: ListGroupsRequest| {
                let groups = ["billing", "other", "lockgate-instances"].map(|name| {
                    let id = GroupId(StrBytes::from_static_str(name));
                    ListedGroup::default().with_group_id(id)
                });
                ListGroupsResponse::default().with_groups(groups.to_vec())
            });
        }
        for version in 0..=5 {
            for (side, listed) in Side::BOTH.into_iter().zip(["other", "billing"]) {
                let answer = bench
                    .call(side, version, ListGroupsRequest::default())
                    .await;
                let names: Vec<_> = answer
                    .groups
                    .iter()
                    .map(|group| group.group_id.as_str())
                    .collect();
                assert_eq!(names, [listed]);
            }
        }
        let mut exchange = bench.exchange(Side::Source);
        exchange.own = None;
        let answer = bench
            .call_on(&exchange, 5, ListGroupsRequest::default())
            .await;
        assert_eq!(answer.error_code, 15);
    }
}
