//! Encoding of Lockgate's own requests and decoding of their answers, behind the length guard: the message crate
//! allocates whatever length the bytes claim, so nothing reaches it that the guard has not walked.

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::ApiKey;
use kafka_protocol::protocol::{Decodable, Encodable, Request, VersionRange};
use lockgate_wire::guard;

use super::versions::{ApiRanges, own_version_max};
use crate::error::{Error, Kind, Result};
use crate::words::Side;

/// A request that Lockgate sends on its own behalf.
pub trait OwnRequest: Request + Send + Sync {}
impl<R: Request + Send + Sync> OwnRequest for R {}

/// The highest version that the message crate, Lockgate's own cap and the broker all allow.
pub(crate) fn choose_version<R: OwnRequest>(side: Side, broker: &ApiRanges) -> Result<i16> {
    let VersionRange { min, max } = R::VERSIONS;
    let unsupported = || {
        Error::new(
            side,
            Kind::UnsupportedVersion,
            format!(
                "the broker does not speak a usable version of API {}",
                api_name(R::KEY)
            ),
        )
    };
    let (broker_min, broker_max) = broker.get(R::KEY).ok_or_else(unsupported)?;
    let version = max.min(own_version_max(R::KEY)).min(broker_max);
    if version < min.max(broker_min) {
        return Err(unsupported());
    }
    Ok(version)
}

/// A request's body in the wire's form.
pub fn encode_request<R: Encodable>(request: &R, version: i16) -> Result<Bytes> {
    let mut body = BytesMut::with_capacity(256);
    request.encode(&mut body, version).map_err(|cause| {
        Error::internal("a request could not be encoded").because(cause.to_string())
    })?;
    Ok(body.freeze())
}

/// An answer's body as a message. The bytes come from a broker and are checked first.
pub fn decode_response<M: Decodable>(
    side: Side,
    api_key: i16,
    version: i16,
    mut body: Bytes,
) -> Result<M> {
    let malformed = |cause: String| {
        Error::new(
            side,
            Kind::Malformed,
            format!(
                "the answer to {} (version {version}) cannot be read",
                api_name(api_key)
            ),
        )
        .because(cause)
    };
    guard::check_response(api_key, version, &body).map_err(|cause| malformed(cause.to_string()))?;
    M::decode(&mut body, version).map_err(|cause| malformed(cause.to_string()))
}

/// An API's name for people.
pub(crate) fn api_name(api_key: i16) -> String {
    match ApiKey::try_from(api_key) {
        Ok(key) => format!("{key:?}"),
        Err(()) => format!("API {api_key}"),
    }
}
