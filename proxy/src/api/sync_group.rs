//! SyncGroup (key 14), versions 0 to 5. Decided by the group's desk while the group moves; else passed to its coordinator.
//!
//! - v1: throttle time (KIP-124). v3: static members (KIP-345). v4: flexible (KIP-482).
//! - v5: protocol type and name (KIP-559).

use kafka_protocol::messages::{ApiKey, SyncGroupRequest, SyncGroupResponse};

use super::exchange::Exchange;
use super::group;
use super::handle::Call;
use super::table::Api;
use crate::error::Result;
use crate::flip::{GroupRequest, GroupResponse};

pub(super) const API: Api = Api::handled(ApiKey::SyncGroup, 0, 5);

pub(super) async fn answer(
    exchange: &Exchange<'_>,
    call: Call<'_>,
    request: SyncGroupRequest,
) -> Result<SyncGroupResponse> {
    let group = request.group_id.clone();
    let request = GroupRequest::Sync(request);
    match group::serve(exchange, call, &group, request).await? {
        GroupResponse::Sync(response) => Ok(response),
        _ => Err(group::mismatched()),
    }
}

/// The error of the whole answer.
pub(super) fn error(response: &SyncGroupResponse) -> i16 {
    response.error_code
}

/// An answer that is nothing but an error.
pub(super) fn refused(code: i16) -> SyncGroupResponse {
    SyncGroupResponse::default().with_error_code(code)
}
