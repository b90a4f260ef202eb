//! The table as a whole: what is true of every API and version.

use bytes::{Buf, Bytes};
use kafka_protocol::messages::*;
use kafka_protocol::protocol::{Decodable, StrBytes};

use super::*;
use crate::api::testing::{Bench, encoded};
use crate::api::{Treatment, apis};
use crate::words::Side;

fn assert_send<T: Send>(future: T) -> T {
    future
}

#[tokio::test]
async fn a_handled_request_may_wait_on_any_thread() {
    let bench = Bench::start().await;
    let exchange = bench.exchange(Side::Source);
    let body = encoded(&ApiVersionsRequest::default(), 0);
    let answer = assert_send(handle(&exchange, 18, 0, None, body)).await;
    assert!(matches!(answer, Outcome::Answer(_)));
}

#[tokio::test]
async fn garbage_closes_and_never_panics() {
    let bench = Bench::start().await;
    let exchange = bench.exchange(Side::Source);
    for api in apis() {
        if api.treatment != Treatment::Handle {
            continue;
        }
        for version in api.min..=api.max {
            for garbage in [&[0xff_u8; 3][..], &[0x01; 1]] {
                let body = Bytes::copy_from_slice(garbage);
                // APIs without fields take nothing; a lone byte may be a whole request.
                let _ = handle(&exchange, api.key, version, None, body).await;
            }
        }
    }
    let closed = handle(&exchange, 3, 9, None, Bytes::new()).await;
    assert!(matches!(closed, Outcome::Close(_)));
}

#[tokio::test]
async fn versions_and_apis_outside_the_table_are_told_so() {
    let bench = Bench::start().await;
    let exchange = bench.exchange(Side::Source);
    // EndTxn 5 is capped, though the message crate knows it.
    let Outcome::Answer(mut body) = handle(&exchange, 26, 5, None, Bytes::new()).await else {
        panic!("closed");
    };
    assert_eq!(EndTxnResponse::decode(&mut body, 5).unwrap().error_code, 35);
    for (key, version) in [(23, 4), (3, 99), (999, 0), (-1, -1)] {
        let outcome = handle(&exchange, key, version, None, Bytes::new()).await;
        assert!(matches!(outcome, Outcome::Close(_)), "{key} v{version}");
    }
    // An unknown version of ApiVersions: a version 0 body with the range to go on from.
    let Outcome::Answer(mut body) = handle(&exchange, 18, 99, None, Bytes::new()).await else {
        panic!("closed");
    };
    let answer = ApiVersionsResponse::decode(&mut body, 0).unwrap();
    assert!(!body.has_remaining());
    let range = &answer.api_keys[0];
    assert_eq!(
        (answer.error_code, range.api_key, range.max_version),
        (35, 18, 4)
    );
}

#[tokio::test]
async fn api_versions_in_every_version() {
    let bench = Bench::start().await;
    for version in 0..=4 {
        let mut request = ApiVersionsRequest::default();
        if version >= 3 {
            request.client_software_name = StrBytes::from_static_str("test");
            request.client_software_version = StrBytes::from_static_str("1");
        }
        let answer = bench.call(Side::Source, version, request).await;
        assert_eq!(answer.error_code, 0);
        assert_eq!(answer.api_keys.len(), apis().len());
        let produce = &answer.api_keys[0];
        assert_eq!((produce.min_version, produce.max_version), (0, 9));
        let zero = answer
            .supported_features
            .iter()
            .any(|known| known.min_version == 0);
        assert_eq!(zero, version == 4);
        assert!(answer.finalized_features.is_empty());
    }
}

#[tokio::test]
async fn unknown_tagged_fields_pass() {
    let bench = Bench::start().await;
    let request = MetadataRequest::default()
        .with_topics(None)
        .with_unknown_tagged_field(77, Bytes::from_static(b"from the future"));
    let answer = bench.call(Side::Source, 12, request).await;
    assert_eq!(answer.topics.len(), 2);
}
