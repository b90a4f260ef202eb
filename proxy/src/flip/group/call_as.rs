//! Requests under a client id of the caller's choice: joins made for members bear the members' own, so that operators
//! recognise them at the new home.

use std::sync::Arc;
use std::time::Duration;

use kafka_protocol::protocol::VersionRange;

use crate::error::{Error, Kind, Result};
use crate::upstream::{Connection, OwnRequest, RawRequest, decode_response, encode_request};

/// The highest version that both the message crate and the broker speak, at most `cap`.
pub(super) fn version<R: OwnRequest>(connection: &Connection, cap: i16) -> Result<i16> {
    let VersionRange { min, max } = R::VERSIONS;
    connection
        .versions()
        .get(R::KEY)
        .map(|(broker_min, broker_max)| (min.max(broker_min), max.min(broker_max).min(cap)))
        .filter(|(low, high)| low <= high)
        .map(|(_, high)| high)
        .ok_or_else(|| {
            Error::new(
                connection.side(),
                Kind::UnsupportedVersion,
                format!(
                    "the broker does not speak a usable version of API {}",
                    R::KEY
                ),
            )
        })
}

/// Sends a request as `client_id` and waits for its answer.
pub(super) async fn call_as<R: OwnRequest>(
    connection: &Connection,
    client_id: Option<Arc<str>>,
    request: &R,
    version: i16,
    timeout: Duration,
) -> Result<R::Response> {
    let raw = RawRequest {
        api_key: R::KEY,
        version,
        client_id,
        body: vec![encode_request(request, version)?],
    };
    let answer = connection.call_raw(raw, timeout).await?;
    decode_response(connection.side(), R::KEY, version, answer)
}
