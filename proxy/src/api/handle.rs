//! The way of a decoded request: guard, decode, its API's handler, encode. Bytes from outside end at worst in a
//! closed connection.

#[cfg(test)]
mod tests;

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::ApiKey;
use kafka_protocol::protocol::{Decodable, Encodable};
use lockgate_wire::guard;

use super::exchange::Exchange;
use super::{table, unsupported};
use crate::error::{Error, Kind, Origin, Result};

/// What becomes of a request.
#[derive(Debug)]
pub enum Outcome {
    /// The answer's body, without a header.
    Answer(Bytes),
    /// The connection is closed, for this reason.
    Close(String),
}

/// The request's header, as handlers need it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call<'a> {
    /// In which version it came and is answered.
    pub(super) version: i16,
    /// The client id of this request.
    pub(super) client_id: Option<&'a str>,
}

/// Handles one request of an API whose treatment is `Handle`.
pub async fn handle(
    exchange: &Exchange<'_>,
    api_key: i16,
    version: i16,
    client_id: Option<&str>,
    body: Bytes,
) -> Outcome {
    let served = table::lookup(api_key).is_some_and(|api| api.serves(version));
    if !served {
        let what = format!("API {api_key} version {version} is not supported");
        return unsupported(api_key, version).map_or(Outcome::Close(what), Outcome::Answer);
    }
    let call = Call { version, client_id };
    match dispatch(exchange, api_key, call, body).await {
        Ok(answer) => Outcome::Answer(answer),
        Err(error) => Outcome::Close(error.to_string()),
    }
}

async fn dispatch(
    exchange: &Exchange<'_>,
    api_key: i16,
    call: Call<'_>,
    body: Bytes,
) -> Result<Bytes> {
    let version = call.version;
    // Each future is boxed: the largest would otherwise sit in every session's task.
    macro_rules! answered_by {
        ($api:ident) => {{
            let request = decode(api_key, version, body)?;
            let answer = Box::pin(super::$api::answer(exchange, call, request)).await?;
            encode(&answer, version)
        }};
    }
    match ApiKey::try_from(api_key) {
        Ok(ApiKey::ListOffsets) => answered_by!(list_offsets),
        Ok(ApiKey::Metadata) => answered_by!(metadata),
        Ok(ApiKey::OffsetCommit) => answered_by!(offset_commit),
        Ok(ApiKey::OffsetFetch) => answered_by!(offset_fetch),
        Ok(ApiKey::FindCoordinator) => answered_by!(find_coordinator),
        Ok(ApiKey::JoinGroup) => answered_by!(join_group),
        Ok(ApiKey::Heartbeat) => answered_by!(heartbeat),
        Ok(ApiKey::LeaveGroup) => answered_by!(leave_group),
        Ok(ApiKey::SyncGroup) => answered_by!(sync_group),
        Ok(ApiKey::DescribeGroups) => answered_by!(describe_groups),
        Ok(ApiKey::ListGroups) => answered_by!(list_groups),
        Ok(ApiKey::ApiVersions) => answered_by!(api_versions),
        Ok(ApiKey::CreateTopics) => answered_by!(create_topics),
        Ok(ApiKey::InitProducerId) => answered_by!(init_producer_id),
        Ok(ApiKey::AddPartitionsToTxn) => answered_by!(add_partitions_to_txn),
        Ok(ApiKey::AddOffsetsToTxn) => answered_by!(add_offsets_to_txn),
        Ok(ApiKey::EndTxn) => answered_by!(end_txn),
        Ok(ApiKey::TxnOffsetCommit) => answered_by!(txn_offset_commit),
        Ok(ApiKey::DescribeConfigs) => answered_by!(describe_configs),
        Ok(ApiKey::DescribeCluster) => answered_by!(describe_cluster),
        _ => Err(Error::internal(format!("API {api_key} has no handler"))),
    }
}

fn decode<M: Decodable>(api_key: i16, version: i16, mut body: Bytes) -> Result<M> {
    let malformed = |cause: String| {
        let what = format!("a request of API {api_key} version {version} cannot be read");
        Error::new(Origin::Client, Kind::Malformed, what).because(cause)
    };
    guard::check_request(api_key, version, &body).map_err(|cause| malformed(cause.to_string()))?;
    M::decode(&mut body, version).map_err(|cause| malformed(cause.to_string()))
}

pub(super) fn encode<M: Encodable>(message: &M, version: i16) -> Result<Bytes> {
    let mut body = BytesMut::with_capacity(256);
    message.encode(&mut body, version).map_err(|cause| {
        Error::internal("an answer could not be encoded").because(cause.to_string())
    })?;
    Ok(body.freeze())
}
