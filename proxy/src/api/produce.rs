//! Produce (key 0), versions 3 to 9; 0 is advertised as the lowest for librdkafka's sake and refused.
//!
//! The session walks the request in place, holds a permit for it, and parks, forwards or splits it where the route
//! asks for that; the records are never looked into.
//!
//! - v3: transactions and record batches of magic 2 (KIP-98).
//! - v5: log start offset in the answer (KIP-107). v7: zstd (KIP-110). v8: record errors (KIP-467).
//! - v9: flexible (KIP-482).
//! - v10 and later are capped: answers carry brokers' real addresses (KIP-951), and v13 has topic ids (KIP-516).

use kafka_protocol::messages::ApiKey;

use super::table::{Api, Treatment};

pub(super) const API: Api = Api {
    key: ApiKey::Produce as i16,
    min: 3,
    max: 9,
    treatment: Treatment::Produce,
};
