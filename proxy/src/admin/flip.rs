//! The calls that begin or change something.

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde_json::{Value, json};

use super::Admin;
use super::answer::{Answer, Problem, json_answer, ok};
use crate::flip::{Accepted, FlipRequest, OperationId, Refusal};
use crate::replicator::Limits;

pub(super) async fn flip(
    State(admin): State<Admin>,
    Path(route): Path<String>,
    body: Bytes,
) -> Answer {
    let request: FlipRequest = parse(&body)?;
    let flips = admin.running().ok_or(Problem::Starting)?.flips.clone();
    // What a flip begins must not live on this runtime, nor end with this request.
    let begun = admin
        .shared
        .data
        .spawn(async move { flips.flip(&route, request).await });
    match begun.await.map_err(|_| failed())? {
        Ok(Accepted::Started(id)) => Ok(started(&id)),
        Ok(Accepted::DryRun(plan)) => ok(&json!({ "dry_run": true, "plan": plan })),
        Err(refusal) => Err(refusal.into()),
    }
}

pub(super) async fn commit(
    State(admin): State<Admin>,
    Path(route): Path<String>,
    body: Bytes,
) -> Answer {
    if !body.trim_ascii().is_empty() {
        let body: Value = parse(&body)?;
        if !matches!(&body, Value::Object(fields) if fields.is_empty()) {
            return Err(Problem::Bad("commit takes no fields".to_owned()));
        }
    }
    let flips = admin.running().ok_or(Problem::Starting)?.flips.clone();
    let begun = admin
        .shared
        .data
        .spawn(async move { flips.commit(&route).await });
    match begun.await.map_err(|_| failed())? {
        Ok(id) => Ok(started(&id)),
        Err(refusal) => Err(refusal.into()),
    }
}

/// Both limits at once: what is left out is not limited any more.
pub(super) async fn replication(State(admin): State<Admin>, body: Bytes) -> Answer {
    let limits: Limits = parse(&body)?;
    limits.check().map_err(Problem::Bad)?;
    let replicator = &admin.running().ok_or(Problem::Starting)?.replicator;
    replicator.limit(limits);
    ok(&limits)
}

pub(super) fn started(id: &OperationId) -> axum::response::Response {
    json_answer(StatusCode::ACCEPTED, &json!({ "id": id, "operation": id }))
}

pub(super) fn failed() -> Problem {
    Problem::Failed("the operation could not begin; the log says why".to_owned())
}

/// A JSON body; what is wrong with it names the field.
pub(super) fn parse<T: serde::de::DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    serde_path_to_error::deserialize(&mut deserializer).map_err(|cause| {
        let path = cause.path().to_string();
        let wrong = cause.into_inner();
        Problem::Bad(if path == "." || path == "?" {
            format!("the body cannot be used: {wrong}")
        } else {
            format!("field {path:?}: {wrong}")
        })
    })
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let sentence = refusal.to_string();
        match refusal {
            Refusal::UnknownRoute(_) => Self::Unknown(sentence),
            Refusal::Busy(_) | Refusal::Shut(_) => Self::Refused(sentence),
            Refusal::NotYet(_) => Self::NotYet(sentence),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_body_is_refused_with_the_field() {
        for (body, culprit) in [
            (r#"{"move": "sideways"}"#, "move"),
            (r#"{"to": "source"}"#, "move"),
            (r#"{"move": "all", "groups": ["a", 1]}"#, "groups[1]"),
            (r#"{"move": "all", "now": true}"#, "now"),
            ("{", "body"),
        ] {
            let Err(Problem::Bad(sentence)) = parse::<FlipRequest>(body.as_bytes()) else {
                panic!("{body} was taken");
            };
            assert!(sentence.contains(culprit), "{culprit} not in: {sentence}");
        }
        assert!(parse::<FlipRequest>(br#"{"move": "all"}"#).is_ok());
    }
}
