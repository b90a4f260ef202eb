//! Verification: beginning one, and ending it early.

use axum::body::Bytes;
use axum::extract::{Path, State};

use super::Admin;
use super::answer::{Answer, Problem, ok};
use super::flip::{failed, parse, started};
use crate::verify::{Refusal, VerifyRequest};

pub(super) async fn begin(State(admin): State<Admin>, body: Bytes) -> Answer {
    let request: VerifyRequest = parse(&body)?;
    let verify = admin.running().ok_or(Problem::Starting)?.verify.clone();
    // What it begins lives on the data path's runtime, as all connections to brokers do.
    let begun = admin
        .shared
        .data
        .spawn(async move { verify.begin(request) });
    Ok(started(&begun.await.map_err(|_| failed())??))
}

pub(super) async fn cancel(State(admin): State<Admin>, Path(id): Path<String>) -> Answer {
    let parts = admin.running().ok_or(Problem::Starting)?;
    if parts.verify.cancel(&id).is_some() {
        return ok(&serde_json::json!({ "id": id }));
    }
    Err(match parts.flips.operation(&id) {
        Some(_) => Problem::Refused(
            "only a verification can be cancelled; a move ends or is lifted by itself".to_owned(),
        ),
        None => Problem::Unknown(format!("there is no operation {id:?}")),
    })
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let sentence = refusal.to_string();
        match refusal {
            Refusal::Unknown(_) => Self::Unknown(sentence),
            Refusal::Bad(_) => Self::Bad(sentence),
            Refusal::Busy(_) | Refusal::Refused(_) => Self::Refused(sentence),
        }
    }
}
