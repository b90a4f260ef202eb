//! Answers: JSON with a status, errors as `{"error": one sentence}`.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::json;

/// Why a call has no other answer.
#[derive(Debug)]
pub(super) enum Problem {
    /// Not ready yet (503).
    Starting,
    /// There is no such thing (404).
    Unknown(String),
    /// The request cannot be read (400).
    Bad(String),
    /// It cannot be done now (409).
    Refused(String),
    /// It is not built yet (501).
    NotYet(String),
    /// Lockgate's own failure (500).
    Failed(String),
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let (status, sentence) = match self {
            Self::Starting => (
                StatusCode::SERVICE_UNAVAILABLE,
                "Lockgate is starting; /readyz says what it waits for".to_owned(),
            ),
            Self::Unknown(sentence) => (StatusCode::NOT_FOUND, sentence),
            Self::Bad(sentence) => (StatusCode::BAD_REQUEST, sentence),
            Self::Refused(sentence) => (StatusCode::CONFLICT, sentence),
            Self::NotYet(sentence) => (StatusCode::NOT_IMPLEMENTED, sentence),
            Self::Failed(sentence) => (StatusCode::INTERNAL_SERVER_ERROR, sentence),
        };
        json_answer(status, &json!({ "error": sentence }))
    }
}

/// What handlers return.
pub(super) type Answer = Result<Response, Problem>;

/// 200 with a body.
pub(super) fn ok(body: &impl Serialize) -> Answer {
    Ok(json_answer(StatusCode::OK, body))
}

/// Any status with a body.
pub(super) fn json_answer(status: StatusCode, body: &impl Serialize) -> Response {
    (status, Json(body)).into_response()
}
