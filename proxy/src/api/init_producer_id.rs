//! InitProducerId (key 22), versions 0 to 5. Without a transactional id Lockgate answers itself, always with a fresh
//! random id of the client range, epoch 0: such an id means the same on both clusters for ever (DESIGN section 7).
//! With one the source's transaction coordinator answers.
//!
//! - v0: KIP-98. v2: flexible (KIP-482). v3: the id to continue with (KIP-360). v4: PRODUCER_FENCED (KIP-588).
//! - v5: TRANSACTION_ABORTABLE (KIP-890). v6 is unknown to the message crate.

use kafka_protocol::messages::{
    ApiKey, InitProducerIdRequest, InitProducerIdResponse, ProducerId as WireProducerId,
};
use lockgate_wire::producer_id::ProducerId;

use super::exchange::Exchange;
use super::handle::Call;
use super::table::Api;
use super::transaction::{self, Answered};
use crate::error::Result;

pub(super) const API: Api = Api::handled(ApiKey::InitProducerId, 0, 5);

pub(super) async fn answer(
    exchange: &Exchange<'_>,
    call: Call<'_>,
    request: InitProducerIdRequest,
) -> Result<InitProducerIdResponse> {
    let Some(id) = request.transactional_id.clone() else {
        let fresh = ProducerId::client(rand::random());
        return Ok(InitProducerIdResponse::default()
            .with_producer_id(WireProducerId(fresh.get()))
            .with_producer_epoch(0));
    };
    let error = |response: &InitProducerIdResponse| response.error_code;
    match transaction::coordinated(exchange, call, &id, &request, error).await? {
        Answered::By(response) => Ok(response),
        Answered::Refused(error) => Ok(InitProducerIdResponse::default()
            .with_error_code(error.code())
            .with_producer_id(WireProducerId(-1))
            .with_producer_epoch(-1)),
    }
}
