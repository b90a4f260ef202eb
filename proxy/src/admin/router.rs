//! Which call is answered where, and the sentence for those that are not built yet.

use axum::Router;
use axum::http::{Method, Uri};
use axum::routing::{get, post};

use super::answer::Problem;
use super::{Admin, flip, ready, verify, views};

/// All calls of DESIGN section 12.
pub(super) fn router(admin: Admin) -> Router {
    Router::new()
        .route("/livez", get(ready::livez))
        .route("/readyz", get(ready::readyz))
        .route("/metrics", get(ready::metrics))
        .route("/v1/routes", get(views::routes))
        .route("/v1/routes/{name}", get(views::route))
        .route("/v1/routes/{name}/flip", post(flip::flip))
        .route("/v1/routes/{name}/commit", post(flip::commit))
        .route("/v1/operations", get(views::operations))
        .route("/v1/operations/{id}", get(views::operation))
        .route("/v1/operations/{id}/cancel", post(verify::cancel))
        .route("/v1/links", get(views::links))
        .route(
            "/v1/replication",
            get(views::replication).post(flip::replication),
        )
        .route("/v1/groups", get(views::groups))
        .route("/v1/nodes", get(views::nodes))
        .route("/v1/clients", get(views::clients))
        .route("/v1/routes/{name}/rollback", post(not_yet))
        .route("/v1/routes/{name}/pause", post(not_yet))
        .route("/v1/routes/{name}/resume", post(not_yet))
        .route("/v1/verify", post(verify::begin))
        .route("/v1/openapi.json", get(not_yet))
        .fallback(unknown)
        .with_state(admin)
}

async fn not_yet(method: Method, uri: Uri) -> Problem {
    Problem::NotYet(format!("{method} {} is not built yet", uri.path()))
}

async fn unknown(method: Method, uri: Uri) -> Problem {
    Problem::Unknown(format!("there is no call {method} {}", uri.path()))
}
