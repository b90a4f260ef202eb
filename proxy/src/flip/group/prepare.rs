//! Before a move: the group may leave, its new home is ready for it, and the placeholder is in.

use std::time::Duration;

use kafka_protocol::messages::OffsetFetchRequest;

use super::eligible::{self, Movable, Unmovable};
use super::placeholder::{self, Placeholder};
use crate::error::{Error, Result};
use crate::flip::journal::GroupRecord;
use crate::flip::service::Deps;
use crate::flip::survey;
use crate::state::{Key, Kind};
use crate::upstream::Cluster;
use crate::words::Side;

/// A fresh cluster answers that it has no coordinators until `__consumer_offsets` exists.
const COORDINATOR_MAX: Duration = Duration::from_secs(30);
const COORDINATOR_RETRY: Duration = Duration::from_millis(200);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// A group that is ready to be moved.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) movable: Movable,
    /// None for a group without members.
    pub(super) placeholder: Option<Placeholder>,
}

/// Whether a group would be refused now, without doing anything.
pub(in crate::flip) async fn judge(
    deps: &Deps,
    group: &str,
    from: Side,
) -> Result<Movable, Unmovable> {
    let asked = |error: Error| Unmovable {
        passing: error.is_retriable(),
        why: error.to_string(),
    };
    let source = deps.clusters.on(from);
    let listed = survey::groups(source).await.map_err(asked)?;
    let other_kind = listed
        .into_iter()
        .find(|listed| listed.group == group)
        .and_then(|listed| listed.other_kind);
    if let Some(kind) = other_kind {
        return Err(Unmovable {
            why: format!("the group runs the {kind:?} protocol; only classic groups move for now"),
            passing: false,
        });
    }
    let described = survey::describe(source, group).await.map_err(asked)?;
    eligible::judge(&described)
}

async fn movable(deps: &Deps, group: &str, from: Side) -> Result<Movable> {
    judge(deps, group, from)
        .await
        .map_err(|unmovable| Error::refused(format!("group {group:?}: {}", unmovable.why)))
}

/// Whether nobody else's group is in the way.
async fn check_new_home(deps: &Deps, group: &str, to: Side) -> Result<()> {
    let cluster = deps.clusters.on(to);
    let record: Option<GroupRecord> = deps.store.get(&Key::new(Kind::Group, group))?;
    let ours = record.is_some_and(|record| record.offsets_written);
    if ours {
        placeholder::evict(cluster, group).await?;
    }
    let described = survey::describe(cluster, group).await?;
    match described.group_state.as_str() {
        "Dead" => Ok(()),
        "Empty" if ours || has_no_offsets(cluster, group).await? => Ok(()),
        "Empty" => Err(Error::refused(format!(
            "group {group:?} exists at the {to} with offsets that Lockgate did not write"
        ))),
        state => Err(Error::refused(format!(
            "group {group:?} exists at the {to} ({state}, {} members); it belongs to somebody",
            described.members.len()
        ))),
    }
}

async fn has_no_offsets(cluster: &Cluster, group: &str) -> Result<bool> {
    Ok(all_offsets(cluster, group, false)
        .await?
        .topics
        .iter()
        .flat_map(|topic| &topic.partitions)
        .all(|partition| partition.committed_offset < 0))
}

/// All committed offsets of a group.
pub(super) async fn all_offsets(
    cluster: &Cluster,
    group: &str,
    require_stable: bool,
) -> Result<kafka_protocol::messages::OffsetFetchResponse> {
    // Version 7 asks for one group, knows RequireStable, and is spoken from Kafka 2.5 to 4.x.
    const VERSION: i16 = 7;
    let request = OffsetFetchRequest::default()
        .with_group_id(placeholder::group_id(group))
        .with_topics(None)
        .with_require_stable(require_stable);
    let node = cluster.coordinator(0, group).await?;
    let connection = cluster.connection(node).await?;
    let answer = connection
        .call_version(&request, VERSION, REQUEST_TIMEOUT)
        .await?;
    let refused = std::iter::once(answer.error_code)
        .chain(
            answer
                .topics
                .iter()
                .flat_map(|topic| &topic.partitions)
                .map(|partition| partition.error_code),
        )
        .find(|code| *code != 0);
    match refused {
        None => Ok(answer),
        Some(code) => Err(Error::kafka(
            cluster.side(),
            code,
            format!("reading the offsets of group {group:?}"),
        )),
    }
}

async fn coordinator_ready(cluster: &Cluster, group: &str) -> Result<()> {
    let began = tokio::time::Instant::now();
    loop {
        match cluster.coordinator(0, group).await {
            Ok(_) => return Ok(()),
            Err(error) if error.is_retriable() && began.elapsed() < COORDINATOR_MAX => {
                tokio::time::sleep(COORDINATOR_RETRY).await;
            }
            Err(error) => return Err(error),
        }
    }
}

/// Checks both sides, and joins with the placeholder; clients notice nothing of it.
pub(super) async fn prepare(deps: &Deps, group: &str, to: Side) -> Result<Prepared> {
    let first = movable(deps, group, to.other()).await?;
    coordinator_ready(deps.clusters.on(to), group).await?;
    check_new_home(deps, group, to).await?;
    if first.members.is_empty() {
        return Ok(Prepared {
            movable: first,
            placeholder: None,
        });
    }
    let placeholder = Placeholder::join(deps.clusters.on(to), group, &first).await?;
    // The join took the initial rebalance delay: look again at who is there.
    match movable(deps, group, to.other()).await {
        Ok(movable) if movable.protocol == first.protocol => Ok(Prepared {
            movable,
            placeholder: Some(placeholder),
        }),
        Ok(_) => {
            placeholder.leave().await;
            Err(Error::refused(format!(
                "group {group:?} changed its assignor or lost its members while the move was prepared"
            )))
        }
        Err(error) => {
            placeholder.leave().await;
            Err(error)
        }
    }
}
