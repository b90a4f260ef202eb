//! Whom a handler asks, and how often. A request goes out on the client's own upstream connection where that is the
//! right broker (it runs under the client's principal then), else over a side connection of the session.

use std::time::Duration;

use kafka_protocol::ResponseError;
use tokio::time::Instant;

use super::exchange::Exchange;
use crate::error::{Error, Kind, Result};
use crate::upstream::{Connection, OwnRequest};
use crate::words::{Side, UpstreamNode};

/// How long a forwarded request may take, unless it is one that the broker holds by design.
pub(super) const ANSWER_MAX: Duration = Duration::from_secs(30);
/// How long the right coordinator is looked for; far below the smallest client timeout.
const SEARCH_MAX: Duration = Duration::from_secs(10);
/// Between two looks.
const SEARCH_PAUSE: Duration = Duration::from_millis(100);

/// What a coordinator is looked up by.
#[derive(Debug, Clone, Copy)]
pub(super) enum CoordinatorKey<'a> {
    Group(&'a str),
    TransactionalId(&'a str),
}

/// A request for a coordinator.
#[derive(Debug, Clone, Copy)]
pub(super) struct Errand<'a> {
    /// Whose coordinator.
    pub(super) side: Side,
    /// Of what.
    pub(super) key: CoordinatorKey<'a>,
    /// The version the client speaks.
    pub(super) version: i16,
    /// How long the answer may take.
    pub(super) answer_max: Duration,
    /// Whether a NOT_COORDINATOR of the client's own broker sends us looking. Without a move it is passed on, as
    /// from any broker: the client looks itself.
    pub(super) insist: bool,
}

/// Sends a request to the coordinator; retried while the coordinator moves, loads or is lost. `error_of` reads the
/// error that stands for the whole answer. NOT_COORDINATOR never comes back from a side connection; where no
/// coordinator is found in time the error is COORDINATOR_NOT_AVAILABLE (see [`found_none`]), after which every client
/// looks again. Other errors are a loss of the client's own broker.
pub(super) async fn coordinator<R: OwnRequest>(
    exchange: &Exchange<'_>,
    errand: Errand<'_>,
    request: &R,
    error_of: fn(&R::Response) -> i16,
) -> Result<R::Response> {
    let misdirected =
        |answer: &R::Response| error_of(answer) == ResponseError::NotCoordinator.code();
    if errand.side == exchange.side
        && let Some(own) = &exchange.own
    {
        let answer = own.call(request, errand.version).await?;
        if !(errand.insist && misdirected(&answer)) {
            return Ok(answer);
        }
    }
    let deadline = Instant::now() + SEARCH_MAX;
    loop {
        let tried = once(exchange, errand, request).await;
        let again = match &tried {
            Ok(answer) => {
                misdirected(answer)
                    || error_of(answer) == ResponseError::CoordinatorNotAvailable.code()
                    || error_of(answer) == ResponseError::CoordinatorLoadInProgress.code()
            }
            // What a coordinator is asked may be asked twice: joins, commits and ends of transactions are named by
            // member, generation and epoch.
            Err(error) => error.is_retriable(),
        };
        if !again {
            return tried;
        }
        if Instant::now() + SEARCH_PAUSE > deadline {
            return match tried {
                Ok(answer) if misdirected(&answer) => Err(not_available(errand.side)),
                Ok(answer) => Ok(answer),
                Err(error) => Err(not_available(errand.side).because(error)),
            };
        }
        tokio::time::sleep(SEARCH_PAUSE).await;
    }
}

/// Whether an error of [`coordinator`] says that none was found; the request may have been executed all the same.
pub(super) fn found_none(error: &Error) -> bool {
    error.kind == Kind::Kafka(ResponseError::CoordinatorNotAvailable)
}

fn not_available(side: Side) -> Error {
    let code = ResponseError::CoordinatorNotAvailable.code();
    Error::kafka(side, code, "looking for a coordinator")
}

async fn once<R: OwnRequest>(
    exchange: &Exchange<'_>,
    errand: Errand<'_>,
    request: &R,
) -> Result<R::Response> {
    let (key_type, key) = match errand.key {
        CoordinatorKey::Group(key) => (0, key),
        CoordinatorKey::TransactionalId(key) => (1, key),
    };
    let cluster = exchange.clusters.on(errand.side);
    let node = cluster.coordinator(key_type, key).await?;
    let connection = exchange.forwards.connection(errand.side, node).await?;
    send(&connection, request, errand.version, errand.answer_max).await
}

/// Sends a request to one broker of a side.
pub(super) async fn node<R: OwnRequest>(
    exchange: &Exchange<'_>,
    side: Side,
    node: UpstreamNode,
    request: &R,
    version: i16,
) -> Result<R::Response> {
    match &exchange.own {
        Some(own) if own.side == side && own.node == node => own.call(request, version).await,
        _ => {
            let connection = exchange.forwards.connection(side, node).await?;
            send(&connection, request, version, ANSWER_MAX).await
        }
    }
}

/// Sends a request to any broker of a side: the client's own where it is one, else the first that can be reached.
pub(super) async fn any<R: OwnRequest>(
    exchange: &Exchange<'_>,
    side: Side,
    request: &R,
    version: i16,
) -> Result<R::Response> {
    if let Some(own) = exchange.own.as_ref().filter(|own| own.side == side) {
        return own.call(request, version).await;
    }
    let nodes: Vec<UpstreamNode> = {
        let view = exchange.clusters.on(side).view();
        view.brokers.keys().copied().collect()
    };
    for node in nodes {
        if let Ok(connection) = exchange.forwards.connection(side, node).await {
            return send(&connection, request, version, ANSWER_MAX).await;
        }
    }
    let what = "no broker can be reached";
    Err(Error::new(side, Kind::Disconnected, what))
}

/// Sends in the client's version where the broker speaks it, else in the best that both know.
async fn send<R: OwnRequest>(
    connection: &Connection,
    request: &R,
    version: i16,
    answer_max: Duration,
) -> Result<R::Response> {
    let spoken = connection
        .versions()
        .get(R::KEY)
        .is_some_and(|(min, max)| (min..=max).contains(&version));
    if spoken {
        connection.call_version(request, version, answer_max).await
    } else {
        connection.call_within(request, answer_max).await
    }
}

/// The error code that stands for a failure, where it has to be told to a client.
pub(super) fn code_of(error: &Error, otherwise: ResponseError) -> i16 {
    match error.kind {
        Kind::Kafka(answered) => answered.code(),
        _ => otherwise.code(),
    }
}
