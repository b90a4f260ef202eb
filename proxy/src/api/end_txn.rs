//! EndTxn (key 26), versions 0 to 4: to the source's transaction coordinator.
//!
//! - v0: KIP-98. v2: PRODUCER_FENCED (KIP-588). v3: flexible (KIP-482). v4: TRANSACTION_ABORTABLE (KIP-890).
//! - v5 is capped: it answers a new epoch (KIP-890, transactions v2).

use kafka_protocol::messages::{ApiKey, EndTxnRequest, EndTxnResponse};

use super::exchange::Exchange;
use super::handle::Call;
use super::table::Api;
use super::transaction::{self, Answered};
use crate::error::Result;

pub(super) const API: Api = Api::handled(ApiKey::EndTxn, 0, 4);

pub(super) async fn answer(
    exchange: &Exchange<'_>,
    call: Call<'_>,
    request: EndTxnRequest,
) -> Result<EndTxnResponse> {
    let id = request.transactional_id.clone();
    let error = |response: &EndTxnResponse| response.error_code;
    match transaction::coordinated(exchange, call, &id, &request, error).await? {
        Answered::By(response) => Ok(response),
        Answered::Refused(error) => Ok(EndTxnResponse::default().with_error_code(error.code())),
    }
}
