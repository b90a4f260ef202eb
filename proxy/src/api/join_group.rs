//! JoinGroup (key 11), versions 0 to 9. Decided by the group's desk while the group moves; else passed to its coordinator.
//!
//! - v1: the rebalance timeout (KIP-62). v2: throttle time (KIP-124). v4: a new member gets its id first (KIP-394).
//! - v5: static members (KIP-345). v6: flexible (KIP-482). v7: protocol type in the answer (KIP-559).
//! - v8: the reason (KIP-800). v9: whether the leader skips the assignment (KIP-814).

use kafka_protocol::messages::{ApiKey, JoinGroupRequest, JoinGroupResponse};
use kafka_protocol::protocol::StrBytes;

use super::exchange::Exchange;
use super::group;
use super::handle::Call;
use super::table::Api;
use crate::error::Result;
use crate::flip::{GroupRequest, GroupResponse};

pub(super) const API: Api = Api::handled(ApiKey::JoinGroup, 0, 9);

pub(super) async fn answer(
    exchange: &Exchange<'_>,
    call: Call<'_>,
    request: JoinGroupRequest,
) -> Result<JoinGroupResponse> {
    let group = request.group_id.clone();
    let request = GroupRequest::Join(request);
    match group::serve(exchange, call, &group, request).await? {
        GroupResponse::Join(response) => Ok(response),
        _ => Err(group::mismatched()),
    }
}

/// The error of the whole answer.
pub(super) fn error(response: &JoinGroupResponse) -> i16 {
    response.error_code
}

/// An answer that is nothing but an error. The member keeps the id it came with, as from a broker.
pub(super) fn refused(request: &JoinGroupRequest, code: i16) -> JoinGroupResponse {
    // Not null: that is allowed from version 7 on only.
    JoinGroupResponse::default()
        .with_error_code(code)
        .with_generation_id(-1)
        .with_protocol_name(Some(StrBytes::default()))
        .with_member_id(request.member_id.clone())
}
