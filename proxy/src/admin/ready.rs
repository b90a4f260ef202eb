//! The probes. `/livez` says that the process answers; `/readyz` whether clients are served, and if not, why not.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;

use super::answer::{Answer, json_answer, ok};
use super::{Admin, Parts, Stage};
use crate::route::Snapshot;
use crate::words::Side;

#[derive(Debug, Default, Serialize)]
struct Readiness {
    ready: bool,
    /// What keeps clients from being served.
    reasons: Vec<String>,
    /// What does not, but should be seen to.
    warnings: Vec<String>,
}

pub(super) async fn livez() -> Answer {
    ok(&serde_json::json!({ "live": true }))
}

pub(super) async fn readyz(State(admin): State<Admin>) -> Response {
    let mut readiness = Readiness::default();
    let stage = admin.shared.stage.borrow().clone();
    match (stage, admin.running()) {
        (Stage::Running, Some(parts)) => look(parts, &mut readiness),
        (Stage::Starting(what), _) => readiness.reasons.push(format!("starting: {what}")),
        (Stage::Draining, _) => readiness.reasons.push("draining".to_owned()),
        (Stage::Running, None) => readiness.reasons.push("starting".to_owned()),
    }
    readiness.ready = readiness.reasons.is_empty();
    let status = if readiness.ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    json_answer(status, &readiness)
}

pub(super) async fn metrics(State(admin): State<Admin>) -> String {
    if let Some(parts) = admin.running() {
        for side in Side::BOTH {
            let reachable = *parts.clusters.on(side).reachable().borrow();
            metrics::gauge!("lockgate_cluster_reachable", "side" => side.as_str())
                .set(f64::from(u8::from(reachable)));
        }
    }
    admin.shared.metrics.render()
}

fn look(parts: &Parts, readiness: &mut Readiness) {
    let snapshot = parts.routes.load_full();
    for side in Side::BOTH {
        let list = match routes_at(&snapshot, side) {
            routes if routes.is_empty() => None,
            routes => Some(routes.join(", ")),
        };
        if !*parts.clusters.on(side).reachable().borrow() {
            match &list {
                Some(routes) => readiness.reasons.push(format!(
                    "the {side} cannot be reached, and routes {routes} are at home there"
                )),
                None if side == Side::Source && snapshot.source_leaving() => {}
                None => readiness
                    .warnings
                    .push(format!("the {side} cannot be reached")),
            }
        } else if !parts.store.holds(side)
            && (side == Side::Destination || !snapshot.source_leaving())
        {
            readiness.warnings.push(format!(
                "the copy of the state at the {side} is not open; nothing can move"
            ));
        }
    }
}

fn routes_at(snapshot: &Snapshot, side: Side) -> Vec<&str> {
    let states = snapshot.routes.iter();
    let names = snapshot.table.names().iter();
    names
        .zip(states)
        .filter(|(_, state)| state.home == side)
        .map(|(name, _)| name.as_str())
        .collect()
}
