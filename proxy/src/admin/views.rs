//! The calls that only look.

use axum::extract::{Path, State};
use serde_json::{Value, json};

use super::Admin;
use super::answer::{Answer, Problem, ok};
use crate::route::RouteId;
use crate::words::Side;

/// Readers are listed that fetched within so long.
const READING_WITHIN: std::time::Duration = std::time::Duration::from_secs(60);

fn running(admin: &Admin) -> Result<&super::Parts, Problem> {
    admin.running().ok_or(Problem::Starting)
}

pub(super) async fn routes(State(admin): State<Admin>) -> Answer {
    let flips = running(&admin)?.flips.clone();
    // Groups are asked for at their coordinators: connections belong to the data path's runtime.
    let views = admin.shared.data.spawn(async move { flips.routes().await });
    ok(&views.await.map_err(|_| unanswered())?)
}

pub(super) async fn route(State(admin): State<Admin>, Path(name): Path<String>) -> Answer {
    let flips = running(&admin)?.flips.clone();
    let asked = name.clone();
    let view = admin
        .shared
        .data
        .spawn(async move { flips.route(&asked).await });
    match view.await.map_err(|_| unanswered())? {
        Some(view) => ok(&view),
        None => Err(Problem::Unknown(format!("there is no route {name:?}"))),
    }
}

pub(super) async fn operations(State(admin): State<Admin>) -> Answer {
    let parts = running(&admin)?;
    let mut all: Vec<Value> = Vec::new();
    for operation in parts.flips.operations() {
        all.push(serde_json::to_value(operation).unwrap_or_default());
    }
    for mut view in parts.verify.operations() {
        // Each partition is shown where one operation is asked for.
        view.partitions.clear();
        view.left.clear();
        all.push(serde_json::to_value(view).unwrap_or_default());
    }
    all.sort_by_key(|operation| operation["started_ms"].as_u64());
    ok(&all)
}

pub(super) async fn operation(State(admin): State<Admin>, Path(id): Path<String>) -> Answer {
    let parts = running(&admin)?;
    if let Some(verification) = parts.verify.operation(&id) {
        return ok(&verification);
    }
    match parts.flips.operation(&id) {
        Some(operation) => ok(&operation),
        None => Err(Problem::Unknown(format!(
            "there is no operation {id:?}; operations are remembered until Lockgate ends"
        ))),
    }
}

pub(super) async fn links(State(admin): State<Admin>) -> Answer {
    ok(&running(&admin)?.replicator.links())
}

pub(super) async fn replication(State(admin): State<Admin>) -> Answer {
    ok(&running(&admin)?.replicator.limits())
}

pub(super) async fn groups(State(admin): State<Admin>) -> Answer {
    let flips = running(&admin)?.flips.clone();
    let views = admin.shared.data.spawn(async move { flips.routes().await });
    let mut groups: Vec<Value> = Vec::new();
    for view in views.await.map_err(|_| unanswered())? {
        for group in &view.groups {
            let mut shown = serde_json::to_value(group).unwrap_or_default();
            if let Value::Object(fields) = &mut shown {
                fields.insert("route".to_owned(), json!(view.name));
            }
            groups.push(shown);
        }
    }
    ok(&groups)
}

pub(super) async fn nodes(State(admin): State<Admin>) -> Answer {
    let parts = running(&admin)?;
    let snapshot = parts.routes.load_full();
    let nodes: Vec<Value> = snapshot
        .nodes
        .0
        .values()
        .map(|node| {
            let view = parts.clusters.on(node.side).view();
            json!({
                "id": node.id,
                "side": node.side,
                "broker": node.upstream,
                "address": node.address,
                "port": node.port,
                "alive": view.brokers.contains_key(&node.upstream),
            })
        })
        .collect();
    ok(&nodes)
}

pub(super) async fn clients(State(admin): State<Admin>) -> Answer {
    let parts = running(&admin)?;
    let snapshot = parts.routes.load_full();
    let mut clients = Vec::new();
    for (index, route) in snapshot.table.names().iter().enumerate() {
        for side in Side::BOTH {
            let id = RouteId(index);
            let writers = parts.clients.writers(id, side);
            let readers = parts.clients.readers(id, side, READING_WITHIN);
            for (list, does) in [(writers, "writes"), (readers, "reads")] {
                clients.extend(list.into_iter().map(|client| {
                    json!({
                        "client": client.client,
                        "route": route,
                        "side": side,
                        "does": does,
                        "quiet_ms": client.quiet_ms,
                    })
                }));
            }
        }
    }
    ok(&clients)
}

fn unanswered() -> Problem {
    Problem::Failed("the answer could not be made; the log says why".to_owned())
}
