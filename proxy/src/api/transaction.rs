//! What the transactional APIs share: they are served by the source's coordinators until transactions can move, and
//! refused for what is at home at the destination (a transaction cannot span both clusters).

#[cfg(test)]
mod tests;

use kafka_protocol::ResponseError;

use super::ask::{self, CoordinatorKey, Errand};
use super::cluster;
use super::exchange::Exchange;
use super::handle::Call;
use crate::error::Result;
use crate::upstream::OwnRequest;
use crate::words::Side;

/// The only side that serves transactions.
pub(super) const SIDE: Side = Side::Source;
/// What a transaction across two homes is told: fatal for the producer, which names itself in its log.
pub(super) const ACROSS: ResponseError = ResponseError::InvalidTxnState;

/// How a request of a transaction ended.
#[derive(Debug)]
pub(super) enum Answered<R> {
    /// The coordinator answered.
    By(R),
    /// It was not sent, or no coordinator was found.
    Refused(ResponseError),
}

/// Sends a request to the coordinator of a transactional id.
pub(super) async fn coordinated<R: OwnRequest>(
    exchange: &Exchange<'_>,
    call: Call<'_>,
    id: &str,
    request: &R,
    error_of: fn(&R::Response) -> i16,
) -> Result<Answered<R::Response>> {
    if exchange.snapshot.table.transactional_id(id).is_none() {
        let error = ResponseError::TransactionalIdAuthorizationFailed;
        return Ok(Answered::Refused(error));
    }
    let key = CoordinatorKey::TransactionalId(id);
    to(exchange, call, key, request, error_of).await
}

/// Sends a request to a coordinator at the source.
pub(super) async fn to<R: OwnRequest>(
    exchange: &Exchange<'_>,
    call: Call<'_>,
    key: CoordinatorKey<'_>,
    request: &R,
    error_of: fn(&R::Response) -> i16,
) -> Result<Answered<R::Response>> {
    let errand = Errand {
        side: SIDE,
        key,
        version: call.version,
        answer_max: ask::ANSWER_MAX,
        insist: false,
    };
    match ask::coordinator(exchange, errand, request, error_of).await {
        Ok(response) => Ok(Answered::By(response)),
        Err(error) if ask::found_none(&error) => {
            Ok(Answered::Refused(ResponseError::CoordinatorNotAvailable))
        }
        Err(error) => Err(error),
    }
}

/// Why a transaction may not touch a topic; none where it may.
pub(super) fn refuses_topic(exchange: &Exchange<'_>, topic: &str) -> Option<ResponseError> {
    if cluster::is_own_topic(topic) {
        return Some(ResponseError::TopicAuthorizationFailed);
    }
    let home = cluster::home(&exchange.snapshot, topic);
    (home != SIDE).then(|| {
        tracing::warn!(
            topic,
            client = %exchange.client.client_id,
            "a transaction was refused: the topic is at home at the destination, transactions are served at the source"
        );
        ACROSS
    })
}
