//! The answer to a request that the table does not know: error 35 in the shape of its API, where that shape has a
//! place for one error and the message crate knows the version.

use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::*;

use super::{api_versions, handle};

/// A body that says UNSUPPORTED_VERSION. None where the API or version is unknown, or where an answer could name the
/// error only per topic, group or partition: the connection is closed then.
#[must_use]
pub fn unsupported(api_key: i16, version: i16) -> Option<Bytes> {
    let key = ApiKey::try_from(api_key).ok()?;
    if key == ApiKey::ApiVersions {
        return api_versions::unsupported();
    }
    let known = key.valid_versions();
    if !(known.min..=known.max).contains(&version) {
        return None;
    }
    let code = ResponseError::UnsupportedVersion.code();
    macro_rules! with_error {
        ($response:ident) => {
            handle::encode(&$response::default().with_error_code(code), version).ok()
        };
    }
    match key {
        ApiKey::FindCoordinator if version < 4 => with_error!(FindCoordinatorResponse),
        ApiKey::Fetch if version >= 7 => with_error!(FetchResponse),
        ApiKey::JoinGroup => with_error!(JoinGroupResponse),
        ApiKey::Heartbeat => with_error!(HeartbeatResponse),
        ApiKey::LeaveGroup => with_error!(LeaveGroupResponse),
        ApiKey::SyncGroup => with_error!(SyncGroupResponse),
        ApiKey::ListGroups => with_error!(ListGroupsResponse),
        ApiKey::SaslHandshake => with_error!(SaslHandshakeResponse),
        ApiKey::SaslAuthenticate => with_error!(SaslAuthenticateResponse),
        ApiKey::InitProducerId => with_error!(InitProducerIdResponse),
        ApiKey::AddPartitionsToTxn if version >= 4 => with_error!(AddPartitionsToTxnResponse),
        ApiKey::AddOffsetsToTxn => with_error!(AddOffsetsToTxnResponse),
        ApiKey::EndTxn => with_error!(EndTxnResponse),
        ApiKey::DescribeAcls => with_error!(DescribeAclsResponse),
        ApiKey::ElectLeaders if version >= 1 => with_error!(ElectLeadersResponse),
        ApiKey::AlterPartitionReassignments => with_error!(AlterPartitionReassignmentsResponse),
        ApiKey::ListPartitionReassignments => with_error!(ListPartitionReassignmentsResponse),
        ApiKey::OffsetDelete => with_error!(OffsetDeleteResponse),
        ApiKey::DescribeClientQuotas => with_error!(DescribeClientQuotasResponse),
        ApiKey::DescribeUserScramCredentials => with_error!(DescribeUserScramCredentialsResponse),
        ApiKey::DescribeQuorum => with_error!(DescribeQuorumResponse),
        ApiKey::UpdateFeatures => with_error!(UpdateFeaturesResponse),
        ApiKey::DescribeCluster => with_error!(DescribeClusterResponse),
        ApiKey::UnregisterBroker => with_error!(UnregisterBrokerResponse),
        ApiKey::ListTransactions => with_error!(ListTransactionsResponse),
        ApiKey::ConsumerGroupHeartbeat => with_error!(ConsumerGroupHeartbeatResponse),
        ApiKey::GetTelemetrySubscriptions => with_error!(GetTelemetrySubscriptionsResponse),
        ApiKey::PushTelemetry => with_error!(PushTelemetryResponse),
        ApiKey::ShareGroupHeartbeat => with_error!(ShareGroupHeartbeatResponse),
        ApiKey::ShareFetch => with_error!(ShareFetchResponse),
        ApiKey::ShareAcknowledge => with_error!(ShareAcknowledgeResponse),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kafka_protocol::protocol::Decodable;

    #[test]
    fn the_error_stands_in_the_shape_of_the_api() {
        let mut body = unsupported(ApiKey::ConsumerGroupHeartbeat as i16, 0).unwrap();
        let answer = ConsumerGroupHeartbeatResponse::decode(&mut body, 0).unwrap();
        assert_eq!(answer.error_code, 35);
        // Produce names errors per partition only; 999 is no API; 77 is no version of Heartbeat.
        assert_eq!(unsupported(0, 9), None);
        assert_eq!(unsupported(999, 0), None);
        assert_eq!(unsupported(12, 77), None);
    }

    #[test]
    fn no_known_api_and_version_fails_to_encode() {
        for key in ApiKey::iter() {
            let known = key.valid_versions();
            for version in known.min..=known.max {
                let _ = unsupported(key as i16, version);
            }
        }
        for version in 0..=9 {
            assert!(unsupported(ApiKey::JoinGroup as i16, version).is_some());
        }
    }
}
