//! THE TABLE. An API that is not here is not advertised and not served: in particular OffsetForLeaderEpoch (leader
//! epochs are -1 for clients), the APIs of KIP-848, share and Streams groups, SASL.

use kafka_protocol::messages::ApiKey;

/// What is done to an API's requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Treatment {
    /// Forwarded as it arrives.
    Pass,
    /// The session's Produce path.
    Produce,
    /// The session's Fetch path.
    Fetch,
    /// Decoded and answered by [`crate::api::handle`].
    Handle,
}

/// One API as Lockgate supports it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Api {
    /// Kafka's API key.
    pub key: i16,
    /// The lowest version served.
    pub min: i16,
    /// The highest version served.
    pub max: i16,
    /// What is done to it.
    pub treatment: Treatment,
}

/// In the order of the keys.
const TABLE: [Api; 22] = [
    super::produce::API,
    super::fetch::API,
    super::list_offsets::API,
    super::metadata::API,
    super::offset_commit::API,
    super::offset_fetch::API,
    super::find_coordinator::API,
    super::join_group::API,
    super::heartbeat::API,
    super::leave_group::API,
    super::sync_group::API,
    super::describe_groups::API,
    super::list_groups::API,
    super::api_versions::API,
    super::create_topics::API,
    super::init_producer_id::API,
    super::add_partitions_to_txn::API,
    super::add_offsets_to_txn::API,
    super::end_txn::API,
    super::txn_offset_commit::API,
    super::describe_configs::API,
    super::describe_cluster::API,
];

/// All APIs, in the order of their keys.
#[must_use]
pub fn apis() -> &'static [Api] {
    &TABLE
}

/// An API by key; none where Lockgate does not support it.
#[must_use]
pub fn lookup(api_key: i16) -> Option<&'static Api> {
    let at = TABLE.binary_search_by_key(&api_key, |api| api.key).ok()?;
    TABLE.get(at)
}

impl Api {
    /// An entry whose requests are decoded and answered.
    pub(super) const fn handled(key: ApiKey, min: i16, max: i16) -> Self {
        Self {
            key: key as i16,
            min,
            max,
            treatment: Treatment::Handle,
        }
    }

    /// Whether this version is served.
    #[must_use]
    pub fn serves(&self, version: i16) -> bool {
        (self.min..=self.max).contains(&version)
    }

    /// The lowest version that ApiVersions names. For Produce 0, although 0 to 2 are refused, as brokers do
    /// (KAFKA-18659): librdkafka turns compression and more off otherwise.
    #[must_use]
    pub fn advertised_min(&self) -> i16 {
        match self.treatment {
            Treatment::Produce => 0,
            _ => self.min,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_ascend_and_are_found() {
        assert!(TABLE.windows(2).all(|pair| pair[0].key < pair[1].key));
        for api in apis() {
            assert_eq!(lookup(api.key), Some(api));
        }
        for absent in [-1, 17, 23, 36, 68, 69, 75, 76, 78, 88, 999] {
            assert_eq!(lookup(absent), None, "{absent}");
        }
    }

    #[test]
    fn versions_are_known_to_the_message_crate() {
        for api in apis() {
            let known = ApiKey::try_from(api.key).unwrap().valid_versions();
            assert!(known.min <= api.min, "{api:?}");
            assert!(api.max <= known.max, "{api:?}");
        }
    }

    #[test]
    fn caps_of_the_design() {
        let max = |key: ApiKey| lookup(key as i16).map(|api| api.max);
        assert_eq!(max(ApiKey::Produce), Some(9));
        assert_eq!(max(ApiKey::Fetch), Some(12));
        assert_eq!(max(ApiKey::OffsetCommit), Some(9));
        assert_eq!(max(ApiKey::OffsetFetch), Some(9));
        assert_eq!(max(ApiKey::AddPartitionsToTxn), Some(3));
        assert_eq!(max(ApiKey::EndTxn), Some(4));
        assert_eq!(max(ApiKey::TxnOffsetCommit), Some(4));
    }
}
