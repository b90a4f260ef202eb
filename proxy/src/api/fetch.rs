//! Fetch (key 1), versions 4 to 12.
//!
//! The session walks the request in place (epochs to -1, no fetch session, no RackId) and streams the answer through
//! one read buffer, patching the leader epoch of every batch to -1.
//!
//! - v4: isolation level and aborted transactions (KIP-98). v5: log start offset (KIP-107).
//! - v7: fetch sessions (KIP-227), answered with session id 0 for now.
//! - v9: the leader epoch of the consumer (KIP-320). v11: RackId and the preferred read replica (KIP-392), stripped.
//! - v12: flexible, the last fetched epoch (KIP-595).
//! - v13 and later are capped: topic ids (KIP-516), then brokers' real addresses from v16 on (KIP-951).

use kafka_protocol::messages::ApiKey;

use super::table::{Api, Treatment};

pub(super) const API: Api = Api {
    key: ApiKey::Fetch as i16,
    min: 4,
    max: 12,
    treatment: Treatment::Fetch,
};
