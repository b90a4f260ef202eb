//! What the coordinators of both clusters say of their groups.

use std::collections::HashMap;

use kafka_protocol::messages::{
    DescribeGroupsRequest, GroupId, ListGroupsRequest, ListTransactionsRequest,
};
use kafka_protocol::protocol::StrBytes;

use crate::error::{Error, Kind, Result};
use crate::upstream::{Cluster, Target};

/// One group as its coordinator describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Surveyed {
    pub(super) group: String,
    pub(super) state: String,
    pub(super) members: usize,
    /// `consumer` for groups that the classic protocol or KIP-848 runs for consumers; others (Connect) differ.
    pub(super) protocol_type: String,
    /// Whether another protocol than the classic runs it (KIP-848 and later kinds).
    pub(super) other_kind: Option<String>,
}

/// All groups of a cluster. Each broker lists those it coordinates and is asked to describe them.
pub(super) async fn groups(cluster: &Cluster) -> Result<Vec<Surveyed>> {
    let brokers: Vec<_> = cluster.view().brokers.keys().copied().collect();
    let mut found = HashMap::new();
    for node in brokers {
        let listed = cluster
            .call(Target::Broker(node), &ListGroupsRequest::default())
            .await?;
        if listed.error_code != 0 {
            return Err(Error::kafka(
                cluster.side(),
                listed.error_code,
                "listing groups",
            ));
        }
        if listed.groups.is_empty() {
            continue;
        }
        let ids = listed.groups.iter().map(|group| group.group_id.clone());
        let request = DescribeGroupsRequest::default().with_groups(ids.collect());
        let described = cluster.call(Target::Broker(node), &request).await?;
        let described: HashMap<&str, _> = described
            .groups
            .iter()
            .map(|group| (group.group_id.as_str(), group))
            .collect();
        for group in listed.groups {
            let detail = described.get(group.group_id.as_str());
            let other_kind = Some(group.group_type.to_string())
                .filter(|kind| !kind.is_empty() && !kind.eq_ignore_ascii_case("classic"));
            let state = match detail {
                // A group of another protocol is described as Dead here; its own list entry knows better.
                Some(detail) if other_kind.is_none() => detail.group_state.to_string(),
                _ => group.group_state.to_string(),
            };
            let name = group.group_id.to_string();
            found.insert(
                name.clone(),
                Surveyed {
                    group: name,
                    state,
                    members: detail.map_or(0, |detail| detail.members.len()),
                    protocol_type: group.protocol_type.to_string(),
                    other_kind,
                },
            );
        }
    }
    let mut found: Vec<Surveyed> = found.into_values().collect();
    found.sort_by(|a, b| a.group.cmp(&b.group));
    Ok(found)
}

/// One group, asked from its coordinator.
pub(super) async fn describe(
    cluster: &Cluster,
    group: &str,
) -> Result<kafka_protocol::messages::describe_groups_response::DescribedGroup> {
    let id = GroupId(StrBytes::from_string(group.to_owned()));
    let request = DescribeGroupsRequest::default().with_groups(vec![id]);
    let answer = cluster.call(Target::Group(group), &request).await?;
    let described = answer.groups.into_iter().next().ok_or_else(|| {
        Error::new(
            cluster.side(),
            Kind::Malformed,
            format!("the coordinator's description leaves out group {group:?}"),
        )
    })?;
    // GROUP_ID_NOT_FOUND: from version 6 on that is how a group that does not exist is described.
    const GROUP_ID_NOT_FOUND: i16 = 69;
    match described.error_code {
        0 => Ok(described),
        GROUP_ID_NOT_FOUND => Ok(described.with_group_state(StrBytes::from_static_str("Dead"))),
        code => Err(Error::kafka(
            cluster.side(),
            code,
            format!("describing group {group:?}"),
        )),
    }
}

/// All transactional ids that a cluster knows, with the state of each.
pub(super) async fn transactional_ids(cluster: &Cluster) -> Result<Vec<(String, String)>> {
    let brokers: Vec<_> = cluster.view().brokers.keys().copied().collect();
    let mut found = Vec::new();
    for node in brokers {
        let listed = cluster
            .call(Target::Broker(node), &ListTransactionsRequest::default())
            .await?;
        if listed.error_code != 0 {
            return Err(Error::kafka(
                cluster.side(),
                listed.error_code,
                "listing transactions",
            ));
        }
        found.extend(listed.transaction_states.into_iter().map(|transaction| {
            (
                transaction.transactional_id.to_string(),
                transaction.transaction_state.to_string(),
            )
        }));
    }
    Ok(found)
}
