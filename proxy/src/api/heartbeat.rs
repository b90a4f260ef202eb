//! Heartbeat (key 12), versions 0 to 4. Decided by the group's desk while the group moves; else passed to its coordinator.
//!
//! - v1: throttle time (KIP-124). v3: static members (KIP-345). v4: flexible (KIP-482).

use kafka_protocol::messages::{ApiKey, HeartbeatRequest, HeartbeatResponse};

use super::exchange::Exchange;
use super::group;
use super::handle::Call;
use super::table::Api;
use crate::error::Result;
use crate::flip::{GroupRequest, GroupResponse};

pub(super) const API: Api = Api::handled(ApiKey::Heartbeat, 0, 4);

pub(super) async fn answer(
    exchange: &Exchange<'_>,
    call: Call<'_>,
    request: HeartbeatRequest,
) -> Result<HeartbeatResponse> {
    let group = request.group_id.clone();
    let request = GroupRequest::Heartbeat(request);
    match group::serve(exchange, call, &group, request).await? {
        GroupResponse::Heartbeat(response) => Ok(response),
        _ => Err(group::mismatched()),
    }
}

/// The error of the whole answer.
pub(super) fn error(response: &HeartbeatResponse) -> i16 {
    response.error_code
}

/// An answer that is nothing but an error.
pub(super) fn refused(code: i16) -> HeartbeatResponse {
    HeartbeatResponse::default().with_error_code(code)
}
