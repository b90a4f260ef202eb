//! ApiVersions (key 18), versions 0 to 4: computed from the table and both clusters' ranges (of an unreachable
//! cluster the remembered ones), so that what is advertised can be served wherever a topic or group is at home.
//!
//! Produce is advertised from 0, as brokers do (KAFKA-18659). A version beyond 4 gets a version 0 body with error 35
//! and the range of this API, from which a client goes on.
//!
//! - v1: throttle time (KIP-124). v3: flexible, but with the old response header; features (KIP-511, KIP-584).
//! - v4: features whose lowest version is 0 may be named (KAFKA-17011); before, they make clients fail.

use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::api_versions_response::{ApiVersion, SupportedFeatureKey};
use kafka_protocol::messages::{ApiKey, ApiVersionsRequest, ApiVersionsResponse};
use kafka_protocol::protocol::StrBytes;

use super::exchange::Exchange;
use super::handle::{self, Call};
use super::table::{self, Api};
use crate::error::Result;
use crate::upstream::{ApiRanges, Clusters};
use crate::words::Side;

pub(super) const API: Api = Api::handled(ApiKey::ApiVersions, 0, 4);
/// From here on features whose lowest version is 0 may be named.
const ZERO_FEATURES: i16 = 4;
/// Features are finalized per cluster; clients of the virtual one never see that change.
const FEATURES_EPOCH: i64 = 0;
/// Transactions v2 (2) would let clients leave out AddPartitionsToTxn (trap 11).
const TRANSACTION_VERSION_MAX: i16 = 1;

pub(super) async fn answer(
    exchange: &Exchange<'_>,
    call: Call<'_>,
    _request: ApiVersionsRequest,
) -> Result<ApiVersionsResponse> {
    Ok(response(exchange.clusters, call.version))
}

fn response(clusters: &Clusters, version: i16) -> ApiVersionsResponse {
    let ranges = Side::BOTH.map(|side| clusters.on(side).versions());
    let api_keys = table::apis()
        .iter()
        .filter_map(|api| advertised(api, [&**ranges[0], &**ranges[1]]))
        .collect();
    let transactions = SupportedFeatureKey::default()
        .with_name(StrBytes::from_static_str("transaction.version"))
        .with_min_version(0)
        .with_max_version(TRANSACTION_VERSION_MAX);
    let features = if version >= ZERO_FEATURES {
        vec![transactions]
    } else {
        Vec::new()
    };
    ApiVersionsResponse::default()
        .with_api_keys(api_keys)
        .with_supported_features(features)
        .with_finalized_features_epoch(FEATURES_EPOCH)
}

/// One API's range: the table's, cut to what both clusters speak. A cluster that was never reached cuts nothing.
fn advertised(api: &Api, clusters: [&ApiRanges; 2]) -> Option<ApiVersion> {
    let (mut min, mut max) = (api.min, api.max);
    // ApiVersions is Lockgate's own answer, whatever the brokers speak.
    if api.key != API.key {
        for ranges in clusters.into_iter().filter(|ranges| !ranges.is_empty()) {
            let (lowest, highest) = ranges.get(api.key)?;
            min = min.max(lowest);
            max = max.min(highest);
        }
    }
    let min = if api.advertised_min() < api.min {
        api.advertised_min()
    } else {
        min
    };
    (min <= max).then(|| range(api.key, min, max))
}

fn range(key: i16, min: i16, max: i16) -> ApiVersion {
    ApiVersion::default()
        .with_api_key(key)
        .with_min_version(min)
        .with_max_version(max)
}

/// The answer to a version of ApiVersions that is not known.
pub(super) fn unsupported() -> Option<Bytes> {
    let response = ApiVersionsResponse::default()
        .with_error_code(ResponseError::UnsupportedVersion.code())
        .with_api_keys(vec![range(API.key, API.min, API.max)]);
    handle::encode(&response, 0).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::testing::ranges;

    fn of(key: ApiKey, source: &ApiRanges, destination: &ApiRanges) -> Option<(i16, i16)> {
        let api = table::lookup(key as i16)?;
        let range = advertised(api, [source, destination])?;
        Some((range.min_version, range.max_version))
    }

    #[test]
    fn ranges_are_what_table_and_both_clusters_share() {
        let source = ranges(&[(0, 0, 11), (1, 0, 17), (3, 0, 12), (8, 0, 8)]);
        let destination = ranges(&[(0, 3, 13), (1, 4, 18), (3, 5, 13), (8, 2, 10)]);
        let both = |key| of(key, &source, &destination);
        assert_eq!(both(ApiKey::Produce), Some((0, 9)));
        assert_eq!(both(ApiKey::Fetch), Some((4, 12)));
        assert_eq!(both(ApiKey::Metadata), Some((5, 12)));
        assert_eq!(both(ApiKey::OffsetCommit), Some((2, 8)));
        assert_eq!(both(ApiKey::ApiVersions), Some((0, 4)));
        // What one cluster lacks is not advertised; a cluster never reached cuts nothing.
        assert_eq!(both(ApiKey::DescribeCluster), None);
        let never = ApiRanges::default();
        let alone = of(ApiKey::OffsetCommit, &source, &never);
        assert_eq!(alone, Some((2, 8)));
        let none = of(ApiKey::OffsetCommit, &never, &never);
        assert_eq!(none, Some((2, 9)));
    }
}
