//! A connection against a broker made of a few lines: order, loss, hostile answers.

use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::{ApiVersionsResponse, HeartbeatRequest, MetadataRequest};
use kafka_protocol::protocol::Encodable;
use tokio::net::TcpListener;

use super::*;

/// What the broker does with each request after the version exchange.
#[derive(Clone, Copy)]
enum Behaviour {
    /// Answers Heartbeats.
    Answer,
    /// Reads and never answers.
    Silent,
    /// Closes at the first request.
    Close,
    /// Answers with another correlation id.
    WrongId,
    /// Reads nothing after the version exchange.
    Deaf,
    /// Announces a frame of two gigabytes.
    HugeFrame,
}

async fn broker(behaviour: Behaviour) -> BrokerAddress {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            tokio::spawn(async move {
                let _ = serve(&mut socket, behaviour).await;
            });
        }
    });
    BrokerAddress {
        host: address.ip().to_string(),
        port: address.port(),
    }
}

async fn serve(socket: &mut TcpStream, behaviour: Behaviour) -> std::io::Result<()> {
    loop {
        let size = socket.read_i32().await?;
        let mut frame = vec![0; usize::try_from(size).unwrap()];
        socket.read_exact(&mut frame).await?;
        let header = RequestHeader::peek(&frame).unwrap();
        if let (Behaviour::Deaf, 12) = (behaviour, header.api_key) {
            std::future::pending::<()>().await;
        }
        let mut answer = BytesMut::new();
        answer.put_i32(header.correlation_id);
        if header.api_key == 18 {
            let keys = [(12, 0, 4), (3, 0, 12), (18, 0, 3)].map(|(key, min, max)| {
                ApiVersion::default()
                    .with_api_key(key)
                    .with_min_version(min)
                    .with_max_version(max)
            });
            let body = ApiVersionsResponse::default().with_api_keys(keys.to_vec());
            body.encode(&mut answer, header.api_version).unwrap();
        } else {
            match behaviour {
                Behaviour::Silent => continue,
                Behaviour::Close => return Ok(()),
                Behaviour::WrongId => answer[3] ^= 1,
                Behaviour::HugeFrame => return socket.write_i32(i32::MAX).await,
                Behaviour::Answer | Behaviour::Deaf => {}
            }
            // Heartbeat version 4: tagged header, throttle time, error code, tagged body. The client's correlation
            // id comes back as the throttle time, so that a test sees which answer it got.
            answer.put_u8(0);
            answer.put_i32(header.correlation_id);
            answer.put_i16(0);
            answer.put_u8(0);
        }
        socket
            .write_i32(i32::try_from(answer.len()).unwrap())
            .await?;
        socket.write_all(&answer).await?;
    }
}

async fn open(behaviour: Behaviour) -> Connection {
    let address = broker(behaviour).await;
    Connection::open(Side::Source, UpstreamNode(1), &address)
        .await
        .unwrap()
}

fn kind<T>(result: Result<T>) -> Kind {
    match result {
        Ok(_) => panic!("this call cannot succeed"),
        Err(error) => error.kind,
    }
}

#[tokio::test]
async fn answers_come_back_in_the_order_of_the_calls() {
    let connection = open(Behaviour::Answer).await;
    let mut answers = Vec::new();
    for _ in 0..50 {
        let raw = RawRequest {
            api_key: 12,
            version: 4,
            client_id: None,
            body: vec![codec::encode_request(&HeartbeatRequest::default(), 4).unwrap()],
        };
        answers.push(connection.send_raw(raw).await.unwrap());
    }
    let mut last = 0;
    for answer in answers {
        let body = answer.await.unwrap().unwrap();
        let throttle = i32::from_be_bytes(*body.first_chunk().unwrap());
        assert!(throttle > last, "{throttle} came after {last}");
        last = throttle;
    }
}

#[tokio::test]
async fn a_lost_connection_fails_every_caller_as_ambiguous() {
    let connection = open(Behaviour::Close).await;
    let error = connection
        .call(&HeartbeatRequest::default())
        .await
        .unwrap_err();
    assert_eq!(error.kind, Kind::Disconnected);
    assert!(error.is_ambiguous());
    assert_eq!(
        kind(connection.call(&HeartbeatRequest::default()).await),
        Kind::Disconnected
    );
    assert!(connection.is_closed());
}

#[tokio::test]
async fn a_silent_broker_ends_in_a_timeout() {
    let connection = open(Behaviour::Silent).await;
    let answer = connection
        .call_within(&HeartbeatRequest::default(), Duration::from_millis(20))
        .await;
    assert_eq!(kind(answer), Kind::TimedOut);
}

#[tokio::test]
async fn behind_a_broker_that_does_not_read_a_call_still_ends_in_time() {
    let connection = open(Behaviour::Deaf).await;
    let raw = || RawRequest {
        api_key: 12,
        version: 4,
        client_id: None,
        body: vec![Bytes::from(vec![0; 1 << 20])],
    };
    let mut unanswered = Vec::new();
    let fill = async {
        loop {
            unanswered.push(connection.send_raw(raw()).await.unwrap());
        }
    };
    let full = tokio::time::timeout(Duration::from_millis(500), fill).await;
    assert!(full.is_err());
    let call = connection.call_raw(raw(), Duration::from_millis(20));
    let ended = tokio::time::timeout(Duration::from_secs(5), call).await;
    assert_eq!(kind(ended.unwrap()), Kind::TimedOut);
}

#[tokio::test]
async fn bytes_that_are_no_answer_end_the_connection() {
    for behaviour in [Behaviour::WrongId, Behaviour::HugeFrame] {
        let connection = open(behaviour).await;
        assert!(connection.call(&HeartbeatRequest::default()).await.is_err());
        assert_eq!(
            kind(connection.call(&HeartbeatRequest::default()).await),
            Kind::Disconnected
        );
    }
}

#[tokio::test]
async fn a_version_that_the_broker_lacks_is_not_sent() {
    let connection = open(Behaviour::Answer).await;
    let request = kafka_protocol::messages::DescribeClusterRequest::default();
    assert_eq!(
        kind(connection.call(&request).await),
        Kind::UnsupportedVersion
    );
    // The message crate knows Metadata 13, this broker 12.
    let chosen = codec::choose_version::<MetadataRequest>(Side::Source, connection.versions());
    assert_eq!(chosen.unwrap(), 12);
}
