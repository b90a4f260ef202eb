//! Which API versions a cluster speaks, and which of them Lockgate uses for its own requests.

use std::collections::BTreeMap;

use kafka_protocol::messages::ApiVersionsResponse;
use serde::{Deserialize, Serialize};

/// API key to the lowest and highest version that every known broker of a cluster accepts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ApiRanges(BTreeMap<i16, (i16, i16)>);

impl ApiRanges {
    /// The ranges that one broker's answer names.
    #[must_use]
    pub fn from_response(response: &ApiVersionsResponse) -> Self {
        Self(
            response
                .api_keys
                .iter()
                .map(|api| (api.api_key, (api.min_version, api.max_version)))
                .collect(),
        )
    }

    /// The range of one API key; none where the cluster does not know the API.
    #[must_use]
    pub fn get(&self, api_key: i16) -> Option<(i16, i16)> {
        self.0.get(&api_key).copied()
    }

    /// What both accept: a key that one of them lacks, or whose ranges do not meet, is dropped.
    #[must_use]
    pub fn intersect(&self, other: &Self) -> Self {
        Self(
            self.0
                .iter()
                .filter_map(|(key, &(min, max))| {
                    let (other_min, other_max) = other.get(*key)?;
                    let range = (min.max(other_min), max.min(other_max));
                    (range.0 <= range.1).then_some((*key, range))
                })
                .collect(),
        )
    }

    /// Whether nothing is known yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The highest version Lockgate itself sends: where newer ones replace names by topic ids, it stays below.
#[must_use]
pub(crate) fn own_version_max(api_key: i16) -> i16 {
    match api_key {
        0 => 9,     // Produce
        1 => 12,    // Fetch
        8 | 9 => 9, // OffsetCommit, OffsetFetch
        18 => 3,    // ApiVersions
        20 => 5,    // DeleteTopics
        22 => 4,    // InitProducerId: 5 belongs to transactions v2
        24 => 3,    // AddPartitionsToTxn: 4 and later are for brokers
        25 => 3,    // AddOffsetsToTxn
        26 => 3,    // EndTxn: 5 returns a new epoch
        28 => 3,    // TxnOffsetCommit
        _ => i16::MAX,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranges(list: &[(i16, i16, i16)]) -> ApiRanges {
        ApiRanges(list.iter().map(|&(k, a, b)| (k, (a, b))).collect())
    }

    #[test]
    fn intersection_drops_what_one_side_lacks() {
        let left = ranges(&[(0, 0, 11), (1, 4, 17), (8, 0, 2), (60, 0, 1)]);
        let right = ranges(&[(0, 3, 13), (1, 4, 18), (8, 3, 9)]);
        assert_eq!(left.intersect(&right), ranges(&[(0, 3, 11), (1, 4, 17)]));
    }
}
