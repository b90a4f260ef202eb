//! DescribeGroups (key 15), versions 0 to 6. Each group is described by the coordinator at its home; those that the
//! client's own broker coordinates in one request.
//!
//! - v1: throttle time (KIP-124). v3: authorized operations (KIP-430). v4: static members (KIP-345).
//! - v5: flexible (KIP-482). v6: GROUP_ID_NOT_FOUND and the error's message (KIP-1043).

use kafka_protocol::ResponseError;
use kafka_protocol::messages::describe_groups_response::DescribedGroup;
use kafka_protocol::messages::{ApiKey, DescribeGroupsRequest, DescribeGroupsResponse, GroupId};

use super::ask::{self, CoordinatorKey, Errand};
use super::cluster;
use super::exchange::Exchange;
use super::handle::Call;
use super::table::Api;
use crate::error::Result;

pub(super) const API: Api = Api::handled(ApiKey::DescribeGroups, 0, 6);

pub(super) async fn answer(
    exchange: &Exchange<'_>,
    call: Call<'_>,
    mut request: DescribeGroupsRequest,
) -> Result<DescribeGroupsResponse> {
    let snapshot = &exchange.snapshot;
    let mut here = Vec::new();
    let mut elsewhere = Vec::new();
    let mut hidden = Vec::new();
    for group in std::mem::take(&mut request.groups) {
        if cluster::is_own_group(snapshot, &group) {
            hidden.push(failed(&group, ResponseError::GroupAuthorizationFailed));
        } else if snapshot.group(&group).home == exchange.side && exchange.own.is_some() {
            here.push(group);
        } else {
            elsewhere.push(group);
        }
    }
    let mut response = match &exchange.own {
        Some(own) if !here.is_empty() => {
            let request = request.clone().with_groups(here);
            own.call(&request, call.version).await?
        }
        _ => DescribeGroupsResponse::default(),
    };
    response.groups.extend(hidden);
    for group in elsewhere {
        let described = describe(exchange, call, &request, group).await?;
        response.groups.extend(described);
    }
    Ok(response)
}

async fn describe(
    exchange: &Exchange<'_>,
    call: Call<'_>,
    request: &DescribeGroupsRequest,
    group: GroupId,
) -> Result<Vec<DescribedGroup>> {
    let errand = Errand {
        side: exchange.snapshot.group(&group).home,
        key: CoordinatorKey::Group(&group),
        version: call.version,
        answer_max: ask::ANSWER_MAX,
        insist: false,
    };
    let request = request.clone().with_groups(vec![group.clone()]);
    match ask::coordinator(exchange, errand, &request, error).await {
        Ok(response) => Ok(response.groups),
        Err(error) if ask::found_none(&error) => {
            Ok(vec![failed(&group, ResponseError::CoordinatorNotAvailable)])
        }
        Err(error) => Err(error),
    }
}

fn error(response: &DescribeGroupsResponse) -> i16 {
    response.groups.first().map_or(0, |group| group.error_code)
}

fn failed(group: &GroupId, error: ResponseError) -> DescribedGroup {
    DescribedGroup::default()
        .with_group_id(group.clone())
        .with_error_code(error.code())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::testing::{Bench, move_group};
    use crate::words::Side;
    use kafka_protocol::protocol::StrBytes;

    #[tokio::test]
    async fn each_group_is_described_by_its_home() {
        let bench = Bench::start().await;
        bench
            .routes
            .update(|snapshot| move_group(snapshot, "billing", None));
        for side in Side::BOTH {
            bench.on(side, 1, move |request: DescribeGroupsRequest| {
                let groups = request.groups.into_iter().map(|group| {
                    DescribedGroup::default()
                        .with_group_id(group)
                        .with_group_state(StrBytes::from_static_str(side.as_str()))
                });
                DescribeGroupsResponse::default().with_groups(groups.collect())
            });
        }
        let groups = ["other", "billing", "lockgate-x"];
        let groups = groups.map(|name| GroupId(StrBytes::from_static_str(name)));
        for version in 0..=6 {
            let request = DescribeGroupsRequest::default().with_groups(groups.to_vec());
            let answer = bench.call(Side::Source, version, request).await;
            let mut described: Vec<_> = answer
                .groups
                .iter()
                .map(|group| {
                    (
                        group.group_id.as_str(),
                        group.group_state.as_str(),
                        group.error_code,
                    )
                })
                .collect();
            described.sort_unstable();
            let expected = [
                ("billing", "destination", 0),
                ("lockgate-x", "", 30),
                ("other", "source", 0),
            ];
            assert_eq!(described, expected);
        }
    }
}
