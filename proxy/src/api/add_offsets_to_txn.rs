//! AddOffsetsToTxn (key 25), versions 0 to 4: to the source's transaction coordinator; refused for a group whose home
//! is the destination.
//!
//! - v0: KIP-98. v2: PRODUCER_FENCED (KIP-588). v3: flexible (KIP-482). v4: TRANSACTION_ABORTABLE (KIP-890).

use kafka_protocol::ResponseError;
use kafka_protocol::messages::{AddOffsetsToTxnRequest, AddOffsetsToTxnResponse, ApiKey};

use super::cluster;
use super::exchange::Exchange;
use super::handle::Call;
use super::table::Api;
use super::transaction::{self, Answered};
use crate::error::Result;

pub(super) const API: Api = Api::handled(ApiKey::AddOffsetsToTxn, 0, 4);

pub(super) async fn answer(
    exchange: &Exchange<'_>,
    call: Call<'_>,
    request: AddOffsetsToTxnRequest,
) -> Result<AddOffsetsToTxnResponse> {
    if cluster::is_own_group(&exchange.snapshot, &request.group_id) {
        return Ok(refused(ResponseError::GroupAuthorizationFailed));
    }
    if exchange.snapshot.group(&request.group_id).home != transaction::SIDE {
        tracing::warn!(
            group = request.group_id.as_str(),
            "a transaction was refused: the group is at home at the destination"
        );
        return Ok(refused(transaction::ACROSS));
    }
    let id = request.transactional_id.clone();
    let error = |response: &AddOffsetsToTxnResponse| response.error_code;
    match transaction::coordinated(exchange, call, &id, &request, error).await? {
        Answered::By(response) => Ok(response),
        Answered::Refused(error) => Ok(refused(error)),
    }
}

fn refused(error: ResponseError) -> AddOffsetsToTxnResponse {
    AddOffsetsToTxnResponse::default().with_error_code(error.code())
}
