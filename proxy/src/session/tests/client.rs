//! A client that sends frames and reads answers.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use lockgate_wire::header::{self, RequestHeader};
use lockgate_wire::produce::{self, Part, build_request};
use lockgate_wire::producer_id::ProducerId;
use lockgate_wire::records::{BatchSpec, Codec, NewRecord, Producer, batch};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Longer than anything that is expected to happen.
const SOON: Duration = Duration::from_secs(5);

pub(super) struct Client {
    pub(super) socket: TcpStream,
}

/// One answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) correlation_id: i32,
    pub(super) body: Bytes,
}

pub(super) fn frame(api_key: i16, version: i16, correlation_id: i32, body: &[u8]) -> BytesMut {
    let mut out = BytesMut::new();
    out.put_i32(0);
    let head = RequestHeader {
        api_key,
        api_version: version,
        correlation_id,
        client_id: Some("app"),
        body: 0,
    };
    head.encode(&mut out).unwrap();
    out.extend_from_slice(body);
    let size = i32::try_from(out.len() - 4).unwrap();
    out[..4].copy_from_slice(&size.to_be_bytes());
    out
}

/// One record for each partition, idempotent where a producer id is given.
pub(super) fn produce_body(
    version: i16,
    acks: i16,
    parts: &[(&str, i32)],
    producer_id: Option<ProducerId>,
    value: &[u8],
) -> Vec<u8> {
    let record = NewRecord {
        timestamp: 1,
        key: None,
        value: Some(value),
        headers: &[],
    };
    let spec = BatchSpec {
        producer: producer_id.map(|id| Producer {
            id,
            epoch: 0,
            base_sequence: 0,
        }),
        transactional: false,
        codec: Codec::None,
    };
    let records = batch(&[record], spec).unwrap();
    let parts: Vec<Part<'_>> = parts
        .iter()
        .map(|(topic, partition)| Part {
            topic,
            partition: *partition,
            records: records.clone(),
        })
        .collect();
    let mut out = Vec::new();
    build_request(version, None, acks, 1000, &parts, BytesMut::new(), &mut out).unwrap();
    out.concat()
}

impl Client {
    pub(super) async fn send(&mut self, api_key: i16, version: i16, id: i32, body: &[u8]) {
        let frame = frame(api_key, version, id, body);
        self.socket.write_all(&frame).await.unwrap();
    }

    /// An idempotent Produce of one record to partition 0, version 8.
    pub(super) async fn produce(&mut self, id: i32, acks: i16, topic: &str) {
        let producer = Some(ProducerId::client(5));
        let value = id.to_be_bytes();
        let body = produce_body(8, acks, &[(topic, 0)], producer, &value);
        self.send(produce::API_KEY, 8, id, &body).await;
    }

    pub(super) async fn answer(&mut self, api_key: i16, version: i16) -> Answer {
        let answer = tokio::time::timeout(SOON, self.socket.read_i32()).await;
        let mut frame = vec![0; answer.expect("no answer").unwrap().try_into().unwrap()];
        self.socket.read_exact(&mut frame).await.unwrap();
        let frame = Bytes::from(frame);
        let (correlation_id, length) = header::peek_response(api_key, version, &frame).unwrap();
        Answer {
            correlation_id,
            body: frame.slice(length..),
        }
    }

    /// The correlation id and error codes of a Produce answer, and its throttle time.
    pub(super) async fn produced(&mut self) -> (i32, Vec<i16>, i32) {
        let answer = self.answer(produce::API_KEY, 8).await;
        let mut response = produce::Response::default();
        response.walk(8, &answer.body).unwrap();
        let codes = response.partitions.iter().map(|one| one.error_code);
        (
            answer.correlation_id,
            codes.collect(),
            response.throttle_time_ms,
        )
    }

    pub(super) async fn hears_nothing(&mut self, during: Duration) {
        let mut byte = [0];
        let read = tokio::time::timeout(during, self.socket.read(&mut byte)).await;
        assert!(read.is_err(), "an answer or the end came: {read:?}");
    }

    /// The end, by FIN or by RST.
    pub(super) async fn is_closed(&mut self) {
        let mut byte = [0];
        let read = tokio::time::timeout(SOON, self.socket.read(&mut byte)).await;
        match read.expect("the connection stays open") {
            Ok(read) => assert_eq!(read, 0, "an answer came"),
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
        }
    }
}
