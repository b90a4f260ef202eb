//! Sessions against brokers and clients of the same process, over loopback.

mod broker;
mod client;
mod world;

mod bad_frames;
mod bounds;
mod fetches;
mod forwards;
mod listening;
mod order;
mod parking;
mod retiring;

use bytes::Bytes;
use tokio::sync::{oneshot, watch};

use super::{OwnBroker, OwnCall};
use crate::api::{Api, Outcome, Treatment};

pub(super) const PASS: i16 = 32;
pub(super) const HANDLED: i16 = 18;
/// Answered once another request waits behind it.
pub(super) const UNTIL_QUEUED: i16 = 12;
/// Asks the session's own broker and answers with what it said.
pub(super) const ASKS_OWN: i16 = 60;

const TABLE: [Api; 6] = [
    row(0, 3, 9, Treatment::Produce),
    row(1, 4, 12, Treatment::Fetch),
    row(PASS, 1, 2, Treatment::Pass),
    row(HANDLED, 0, 2, Treatment::Handle),
    row(UNTIL_QUEUED, 0, 3, Treatment::Handle),
    row(ASKS_OWN, 0, 0, Treatment::Handle),
];

const fn row(key: i16, min: i16, max: i16, treatment: Treatment) -> Api {
    Api {
        key,
        min,
        max,
        treatment,
    }
}

fn lookup(api_key: i16) -> Option<&'static Api> {
    TABLE.iter().find(|api| api.key == api_key)
}

/// The tests' handlers.
pub(super) async fn handle(
    api_key: i16,
    own: Option<OwnBroker>,
    mut queued: watch::Receiver<bool>,
) -> Outcome {
    match (api_key, own) {
        (UNTIL_QUEUED, _) => {
            let _ = queued.wait_for(|queued| *queued).await;
            Outcome::Answer("queued".into())
        }
        (ASKS_OWN, Some(own)) => {
            let (reply, answer) = oneshot::channel();
            let call = OwnCall {
                api_key: PASS,
                version: 1,
                body: Bytes::from_static(b"asked"),
                reply,
            };
            own.calls.send(call).await.unwrap();
            Outcome::Answer(answer.await.unwrap().unwrap())
        }
        (ASKS_OWN, None) => Outcome::Answer("no broker".into()),
        _ => Outcome::Answer("handled".into()),
    }
}
